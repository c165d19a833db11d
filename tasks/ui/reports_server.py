"""A web server on loopback for the reports, so that the scheduler's pages can link to them."""

from __future__ import annotations

import html
import io
import os
import shutil
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

from tasks.core.errors import PipelineError

ADDRESS = "127.0.0.1"

# CSV and Markdown as plain text: browsers show that, and would only store the files otherwise.
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".csv": "text/plain",
    ".md": "text/plain",
    ".txt": "text/plain",
    ".log": "text/plain",
}
_BINARY_TYPES = {".png": "image/png", ".ico": "image/x-icon"}


def find_file(folders: Mapping[str, Path], path: str) -> Path | None:
    """The file or folder that the path of an address means; None if it means none to be shown.

    Args:
        folders: Beginning of a path, such as "/quarantine/", to the folder below it. The longest
            beginning counts.
        path: As it stands in the address.
    """
    wanted = os.fsdecode(urllib.parse.unquote_to_bytes(path.partition("?")[0]))
    start = max((start for start in folders if wanted.startswith(start)), key=len, default=None)
    if start is None or "\0" in wanted:
        return None
    below = wanted.removeprefix(start)
    # Names that begin with a dot are files that are being written, or the way up.
    if "\\" in below or any(name.startswith(".") for name in below.split("/")):
        return None
    root = folders[start].resolve()
    found = (root / below).resolve()
    return found if found.is_relative_to(root) and found.exists() else None


@contextmanager
def serve_files(folders: Mapping[str, Path], port: int) -> Iterator[None]:
    """Serve the files of some folders at 127.0.0.1 meanwhile.

    Args:
        folders: Beginning of a path to the folder below it; "/" is needed.
        port: Where to listen.

    Raises:
        PipelineError: The port is in use, or may not be used.
    """

    class Handler(_FilesHandler):
        served = folders

    try:
        server = ThreadingHTTPServer((ADDRESS, port), Handler)
    except OSError as error:
        raise PipelineError(
            f"The reports cannot be served at {ADDRESS}:{port}: {error.strerror}.",
            remedy="Choose another port: --reports-port",
        ) from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _FilesHandler(BaseHTTPRequestHandler):
    served: Mapping[str, Path]

    def do_GET(self) -> None:  # noqa: N802 (http.server's name)
        """Send a file, or the list of a folder's files."""
        found = find_file(self.served, self.path) if self._is_meant() else None
        if found is None and self._is_meant() and self.path.partition("?")[0] == "/index.html":
            found = self.served["/"]  # Before a first run has made it.
        if found is None or (found.is_dir() and not self._at_folder()):
            self.send_error(HTTPStatus.NOT_FOUND)
        elif found.is_dir() and not (found / "index.html").is_file():
            listed = _list_files(found).encode(errors="replace")
            self._send(io.BytesIO(listed), len(listed), "text/html; charset=utf-8")
        else:
            self._send_file(found / "index.html" if found.is_dir() else found)

    do_HEAD = do_GET  # noqa: N815 (http.server's name)

    def _is_meant(self) -> bool:
        """Whether the address was that of this machine: pages of others may not read here."""
        host = self.headers.get("Host", ADDRESS).partition(":")[0]
        return host in (ADDRESS, "localhost")

    def _at_folder(self) -> bool:
        """Whether links relative to the folder work from this address."""
        path = self.path.partition("?")[0]
        return path.endswith("/") or path == "/index.html"

    def _send_file(self, path: Path) -> None:
        text = _TYPES.get(path.suffix)
        binary = _BINARY_TYPES.get(path.suffix, "application/octet-stream")
        try:
            stream = path.open("rb")
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with stream:
            size = os.fstat(stream.fileno()).st_size
            self._send(stream, size, f"{text}; charset=utf-8" if text else binary)

    def _send(self, stream: BinaryIO, size: int, content_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(size))
        self.send_header("X-Content-Type-Options", "nosniff")
        # The next run writes the reports anew.
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            shutil.copyfileobj(stream, self.wfile)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (http.server's name)
        """Nothing: the console belongs to the run."""


def _list_files(folder: Path) -> str:
    names = sorted(
        f"{path.name}/" if path.is_dir() else path.name
        for path in folder.iterdir()
        if not path.name.startswith(".")
    )
    links = "\n".join(
        f'<li><a href="{urllib.parse.quote(os.fsencode(name))}">{html.escape(name)}</a></li>'
        for name in names
    )
    title = html.escape(folder.name)
    return f"<!DOCTYPE html>\n<meta charset=utf-8><title>{title}</title>\n<ul>\n{links}\n</ul>\n"
