"""Downloads: they go into a `.part` file, resume after an interruption, are checked, then renamed.

Some servers of data sets are slow or fail: the received bytes are kept, and a file with the
archive's name always holds the published bytes.
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
"""Time without a byte after which a connection is given up."""
TRIES = 4
"""Number of tries in a row without a new byte after which a download is given up."""
PAUSE_SECONDS = 5.0
"""Pause between two tries."""
PROGRESS_SECONDS = 5.0
"""Time between two log lines about the progress."""
CHUNK = 1 << 18
PASSING = (408, 425, 429)
"""Status codes, besides those from 500 on, after which a later try may succeed."""
MB = 1e6


def fetch(archive: Archive, url: str, folder: Path) -> Path:
    """Return the path of the archive in a folder; download it from `url` if it is missing.

    One process downloads, others wait for it. Any failure raises `UserError`. The received bytes
    are kept unless their hash is wrong, and the next call resumes from them.
    """
    path = folder / archive.name
    if not re.fullmatch(ADDRESS, url):
        raise UserError(
            f"cannot download {archive.name} from {url!r}: expected an address that begins with "
            "http://, https:// or file:// and has no spaces; correct `url`"
        )
    with files.locked(folder, archive.name):
        if path.is_file() and (unlike := archive.unlike(path)) is None:
            return path
        if path.is_file():
            log.warning("%s has changed: %s; downloading it again", path, unlike)
        part = folder / f"{archive.name}.part"
        _Transfer(archive, url, part).complete()
        if (unlike := archive.unlike(part)) is not None:
            part.unlink()
            raise UserError(
                f"{url} sent a file that is not {archive.name}: {unlike}; the download was "
                "deleted: try again, set `url` to a mirror of the same file, or set `path` to a "
                "local copy"
            )
        files.into_place(part, path)
    return path


class _Interrupted(Exception):
    """A transfer ended early, for a reason that may pass."""


@dataclass(frozen=True)
class _Transfer:
    """The transfer of an archive from a server into a `.part` file."""

    archive: Archive
    url: str
    part: Path

    def complete(self) -> None:
        """Try until the part has the archive's size, or `TRIES` tries in a row bring no byte."""
        most, failed = self._received(), 0
        while self._received() != self.archive.size:
            try:
                self._resume(self._received())
            except _Interrupted as error:
                failed = 0 if self._received() > most else failed + 1
                most = max(most, self._received())
                if failed == TRIES:
                    raise self._refusal(f"{error} ({TRIES} times)") from None
                log.warning("%s: %s; trying again", self.archive.name, error)
                time.sleep(PAUSE_SECONDS)

    def _received(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _resume(self, start: int) -> None:
        """Request all bytes from `start` on, and append them to the part."""
        response, start = self._answer(start if start < self.archive.size else 0)
        with response:
            if response.headers.get_content_type() == "text/html":
                raise self._refusal("the answer is a web page")
            offered = response.headers.get("Content-Length", "")
            if start == 0 and offered.isdigit() and int(offered) != self.archive.size:
                raise self._refusal(
                    f"the server's file has {offered} bytes, expected {self.archive.size}: it is "
                    "another file, or it is truncated"
                )
            self._write(response, start)

    def _answer(self, start: int) -> tuple[Any, int]:
        """Return the server's answer and its first byte: 0 if it does not begin at `start`."""
        response = self._request(start)
        if start == 0 or getattr(response, "status", 200) != 206:
            return response, 0
        stated = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", stated.strip())
        if match and int(match[1]) == start and match[2] in ("*", str(self.archive.size)):
            return response, start
        response.close()
        return self._request(0), 0

    def _request(self, start: int) -> Any:
        headers = {"User-Agent": f"soteacher/{VERSION}"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            request = urllib.request.Request(self.url, headers=headers)
            return urllib.request.urlopen(request, timeout=STALL_SECONDS)
        except HTTPError as error:
            if error.code == 416 and start:  # no such range
                return self._request(0)
            why = f"the server answered {error.code} {error.reason}".rstrip()
            if error.code in PASSING or error.code >= 500:
                raise _Interrupted(why) from None
            raise self._refusal(why) from None
        except (ValueError, InvalidURL) as error:
            raise self._refusal(f"the address is not valid: {error}") from None
        except (OSError, HTTPException) as error:
            why = _why(error.reason if isinstance(error, URLError) else error)
            if self.url.startswith("file:"):
                raise self._refusal(why) from None
            raise _Interrupted(why) from None

    def _write(self, response: Any, start: int) -> None:
        """Write the body of an answer that begins with byte `start`, until its end."""
        size, received = self.archive.size, start
        began = logged = time.monotonic()
        log.info(
            "%s: downloading %.1f MB from %s%s",
            self.archive.name,
            size / MB,
            self.url,
            f", resuming at {start / MB:.1f} MB" if start else "",
        )
        try:
            with self.part.open("ab" if start else "wb") as file:
                for chunk in _chunks(response):
                    file.write(chunk)
                    received += len(chunk)
                    if received > size:
                        break
                    now = time.monotonic()
                    if now - logged >= PROGRESS_SECONDS:
                        logged = now
                        self._log_progress(received, (received - start) / (now - began))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"cannot write {self.part}: {error.strerror or error}; {self._kept()}free disk "
                "space or fix the folder's permissions, then rerun the same command"
            ) from error
        if received > size:
            self.part.unlink()
            raise self._refusal(f"the server sent more than {size} bytes: it is another file")
        if received < size:
            raise _Interrupted(f"the connection ended after {received} of {size} bytes")

    def _log_progress(self, received: int, rate: float) -> None:
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
            "set `url` to a mirror of the same file, or set `path` to a local copy"
        )


def _chunks(response: Any) -> Iterator[bytes]:
    """Yield chunks as they arrive; raise `_Interrupted` if the connection breaks or stalls."""
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
        return f"the server sent nothing for {STALL_SECONDS:g} seconds"
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return " ".join(str(text).split())
