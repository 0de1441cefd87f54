"""Downloads: a `.part` beside the file, gone on with after any interruption, checked, then named.

Some of the servers that data sets lie on are slow, and some are gone: an hour's transfer is never
lost, and what has the file's name is always the published bytes.
"""

from __future__ import annotations

import logging
import os
import re
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPException, InvalidURL
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from soteacher.core import files
from soteacher.core.errors import UserError
from soteacher.core.version import VERSION
from soteacher.data.archives import ADDRESS, Archive

log = logging.getLogger("soteacher")

STALL_SECONDS = 60.0
"""Without a byte for so long, a connection is given up."""
TRIES = 4
"""In a row without a new byte, before a download is given up."""
PAUSE_SECONDS = 5.0
"""Between two tries."""
PROGRESS_SECONDS = 5.0
"""Between two lines that say how far a download is."""
CHUNK = 1 << 18
PASSING = (408, 425, 429)
"""What a server answers, beside all from 500 on, that may be otherwise a little later."""
MB = 1e6


def fetch(archive: Archive, url: str, folder: Path) -> Path:
    """Return the archive's place in a folder; download it from `url` unless it is there.

    One process downloads, others wait for it. Any failure is a `UserError`; all but a wrong hash
    leave what was received, and the next call goes on from there.
    """
    path = folder / archive.name
    if not re.fullmatch(ADDRESS, url):
        raise UserError(
            f"cannot download {archive.name} from {url!r}: expected an address that begins with "
            "http://, https:// or file:// and has no spaces; mend `url`"
        )
    with files.locked(folder, archive.name):
        if path.is_file() and (unlike := archive.unlike(path)) is None:
            return path
        if path.is_file():
            log.warning("%s is no longer what it was: %s; it is fetched anew", path, unlike)
        part = folder / f"{archive.name}.part"
        _Transfer(archive, url, part).complete()
        if (unlike := archive.unlike(part)) is not None:
            part.unlink()
            raise UserError(
                f"what {url} sent is not {archive.name}: {unlike}; it was deleted: try again, set "
                "`url` to a mirror of the same bytes, or `path` to a copy of your own"
            )
        files.into_place(part, path)
    return path


class _Interrupted(Exception):
    """A transfer ended early, for a reason that may pass."""


@dataclass(frozen=True)
class _Transfer:
    """An archive on its way from a server into a `.part` file."""

    archive: Archive
    url: str
    part: Path

    def complete(self) -> None:
        """Try until the part has the archive's size, or no byte comes any more."""
        most, failed = self._received(), 0
        while self._received() != self.archive.size:
            try:
                self._go_on(self._received())
            except _Interrupted as error:
                failed = 0 if self._received() > most else failed + 1
                most = max(most, self._received())
                if failed == TRIES:
                    raise self._refusal(f"{error} ({TRIES} times)") from None
                log.warning("%s: %s; trying again", self.archive.name, error)
                time.sleep(PAUSE_SECONDS)

    def _received(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _go_on(self, start: int) -> None:
        """Ask for all from byte `start` on, and write what comes behind what is there."""
        response, start = self._answer(start if start < self.archive.size else 0)
        with response:
            if response.headers.get_content_type() == "text/html":
                raise self._refusal("the answer is a web page")
            offered = response.headers.get("Content-Length", "")
            if start == 0 and offered.isdigit() and int(offered) != self.archive.size:
                raise self._refusal(
                    f"it has {offered} bytes there, {self.archive.size} expected: another file, or "
                    "one cut short"
                )
            self._write(response, start)

    def _answer(self, start: int) -> tuple[Any, int]:
        """A server's answer, and the byte it begins with: 0 if it cannot begin with `start`."""
        response = self._asked(start)
        if start == 0 or getattr(response, "status", 200) != 206:
            return response, 0
        stated = response.headers.get("Content-Range", "")
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", stated.strip())
        if found and int(found[1]) == start and found[2] in ("*", str(self.archive.size)):
            return response, start
        response.close()
        return self._asked(0), 0

    def _asked(self, start: int) -> Any:
        headers = {"User-Agent": f"soteacher/{VERSION}"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            request = urllib.request.Request(self.url, headers=headers)
            return urllib.request.urlopen(request, timeout=STALL_SECONDS)
        except HTTPError as error:
            if error.code == 416 and start:  # no such range
                return self._asked(0)
            why = f"the server answered {error.code} {error.reason}".rstrip()
            if error.code in PASSING or error.code >= 500:
                raise _Interrupted(why) from None
            raise self._refusal(why) from None
        except (ValueError, InvalidURL) as error:
            raise self._refusal(f"no valid address: {error}") from None
        except (OSError, HTTPException) as error:
            why = _why(error.reason if isinstance(error, URLError) else error)
            if self.url.startswith("file:"):
                raise self._refusal(why) from None
            raise _Interrupted(why) from None

    def _write(self, response: Any, start: int) -> None:
        """Write the body of an answer that begins with byte `start`, until its end."""
        size, received = self.archive.size, start
        began = said = time.monotonic()
        log.info(
            "%s: downloading %.1f MB from %s%s",
            self.archive.name,
            size / MB,
            self.url,
            f", {start / MB:.1f} of them are here" if start else "",
        )
        try:
            with self.part.open("ab" if start else "wb") as file:
                for chunk in _chunks(response):
                    file.write(chunk)
                    received += len(chunk)
                    if received > size:
                        break
                    now = time.monotonic()
                    if now - said >= PROGRESS_SECONDS:
                        said = now
                        self._say(received, (received - start) / (now - began))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"cannot write {self.part}: {error.strerror or error}; {self._kept()}make room or "
                "allow it and run the same command again"
            ) from error
        if received > size:
            self.part.unlink()
            raise self._refusal(f"more than {size} bytes came: another file")
        if received < size:
            raise _Interrupted(f"the connection ended after {received} of {size} bytes")

    def _say(self, received: int, rate: float) -> None:
        left = (self.archive.size - received) / rate
        log.info(
            "%s: %.1f of %.1f MB, %.2f MB/s, %s left",
            self.archive.name,
            received / MB,
            self.archive.size / MB,
            rate / MB,
            timedelta(seconds=round(left)),
        )

    def _kept(self) -> str:
        received = self._received()
        kept = f"{received} of {self.archive.size} bytes are kept in {self.part}; "
        return kept if received else ""

    def _refusal(self, why: str) -> UserError:
        return UserError(
            f"cannot download {self.archive.name} from {self.url}: {why}; {self._kept()}try again, "
            "set `url` to a mirror of the same bytes, or `path` to a copy of your own"
        )


def _chunks(response: Any) -> Iterator[bytes]:
    """What comes, as it comes; a connection that breaks or stalls is `_Interrupted`."""
    while True:
        try:
            chunk = response.read1(CHUNK)
        except (OSError, HTTPException) as error:
            raise _Interrupted(_why(error)) from None
        if not chunk:
            return
        yield chunk


def _why(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came for {STALL_SECONDS:g} seconds"
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return " ".join(str(text).split())
