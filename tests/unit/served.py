"""A server of one file on this machine, and the ways in which servers fail."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves `content`; each request is answered as the next of `answers` says, then well.

    An answer is a method of `Handler`, by name, and its arguments.
    """

    def __init__(self, content):
        self.content, self.answers = content, []
        self.paths, self.ranges = [], []
        self.released = threading.Event()

    @property
    def requests(self):
        return len(self.ranges)


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        known = self.server.known
        known.ranges.append(self.headers["Range"])
        known.paths.append(self.path)
        name, *arguments = known.answers.pop(0) if known.answers else ("well",)
        with suppress(ConnectionError):  # who asked has heard enough
            getattr(self, name)(known.content, *arguments)

    def head(self, code, length=None, **headers):
        self.send_response(code)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def well(self, content):
        """As good servers do."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        start = int(asked[1]) if asked else 0
        if start >= len(content):
            return self.head(416, 0)
        rest = content[start:]
        if asked:
            self.head(206, len(rest), Content_Range=self.range_of(start, content))
        else:
            self.head(200, len(rest))
        self.wfile.write(rest)

    def range_of(self, start, content):
        return f"bytes {start}-{len(content) - 1}/{len(content)}"

    def cut(self, content, n):
        """The connection ends after so many bytes of what was promised."""
        self.wfile, kept = Cut(self.wfile, n), self.wfile
        self.well(content)
        self.wfile = kept
        self.close_connection = True

    def whole(self, content):
        """All of it, whatever range was asked for."""
        self.head(200, len(content))
        self.wfile.write(content)

    def whole_but(self, content, n):
        """All of it is promised, so many bytes come, whatever range was asked for."""
        self.head(200, len(content))
        self.wfile.write(content[:n])

    def partial(self, content, start, stated):
        """A part from a byte on, under a stated range."""
        self.head(206, len(content) - start, Content_Range=stated)
        self.wfile.write(content[start:])

    def other(self, _, content):
        """Another file."""
        self.head(200, len(content))
        self.wfile.write(content)

    def unmeasured(self, content, n=None):
        """No length is told, and the connection ends after so many bytes."""
        self.head(200)
        self.wfile.write(content[:n])

    def page(self, _):
        """A web page, as dead links often give."""
        self.head(200, Content_Type="text/html; charset=utf-8")
        self.wfile.write(b"<html>it moved</html>")

    def stall(self, content, n):
        """So many bytes, then nothing, with the connection open."""
        self.head(200, len(content))
        self.wfile.write(content[:n])
        self.wfile.flush()
        self.server.known.released.wait(20)
        self.close_connection = True

    def silent(self, _):
        """Not even an answer."""
        self.server.known.released.wait(20)
        self.close_connection = True

    def error(self, _, code):
        self.head(code, 0)

    def redirect(self, _, place):
        self.head(302, 0, Location=place)


class Cut:
    """A stream that swallows all but the first bytes of a body; a head passes."""

    def __init__(self, file, n):
        self.file, self.left = file, n
        self.headed = False

    def write(self, data):
        if not self.headed:  # http.server writes a head at once
            self.headed = True
            return self.file.write(data)
        self.file.write(data[: self.left])
        self.left = 0
        return len(data)

    def flush(self):
        self.file.flush()


@contextmanager
def serving(content):
    """A server of these bytes: a `Server` with its `url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    known = server.known = Server(content)
    known.url = f"http://127.0.0.1:{server.server_address[1]}/data.bin"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield known
    finally:
        known.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
