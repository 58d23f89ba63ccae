"""Serves the report of a run on this machine, made anew for each request.

The browser asks again while the run is unfinished, by the `Refresh` header of the answer. So the
page needs no script of its own for that, and its Content-Security-Policy stays as strict as in a
file.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ckptkit.errors import CheckpointError
from ckptkit.report.document import Document
from ckptkit.report.html_page import render_page

LOOPBACK = "127.0.0.1"
_OVER = frozenset({"finished"})


class LiveReport(ThreadingHTTPServer):
    """A server on the loopback address, for one run.

    Args:
        port: the port; 0 for a free one.
        make: makes the document of the run as it is now.
        every_secs: the seconds between two requests of the page.

    Raises:
        OSError: If the port is taken.
    """

    daemon_threads = True

    def __init__(self, port: int, make: Callable[[], Document], every_secs: int) -> None:
        super().__init__((LOOPBACK, port), _Page)
        self.make, self.every_secs = make, every_secs

    @property
    def names(self) -> set[str]:
        """The hosts for which a browser on this machine may ask."""
        return {f"{host}:{self.server_port}" for host in (LOOPBACK, "localhost")}


class _Page(BaseHTTPRequestHandler):
    server: LiveReport

    def do_GET(self) -> None:
        # A page of the internet may let the browser ask for its own name, which then leads here.
        if self.headers.get("Host") not in self.server.names:
            self.send_error(HTTPStatus.FORBIDDEN, "Only for a browser on this machine")
            return
        if self.path != "/":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            document = self.server.make()
        except CheckpointError as error:
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "The run cannot be read", str(error))
            return
        page = render_page(document)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Cache-Control", "no-store")
        if document.run.state not in _OVER:
            self.send_header("Refresh", str(self.server.every_secs))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing for each request."""
