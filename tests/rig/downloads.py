"""A web server for installers that can have bad days: cut transfers, missing files, wrong checksums."""

import hashlib
import re
import threading
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BLOCK = 1 << 16


class Downloads(ThreadingHTTPServer):
    """Serve the files of some folders by name; every attribute may be changed while it runs."""

    daemon_threads = True

    def __init__(self, folders: list, address: str) -> None:
        super().__init__((address, 0), Request)
        self.folders = [Path(folder) for folder in folders]
        self.url = f"http://{address}:{self.server_port}"
        self.seen: list[tuple[str, str, int]] = []  # method, file name, first byte asked for
        self.cuts: list[int] = []  # the next transfers of a file end after so many bytes
        self.missing: set[str] = set()  # names answered with 404; "*" for all
        self.wrong_checksum = False

    def count(self, name: str = "") -> int:
        """Count the requests for one file, or all."""
        return sum(name in ("", seen) for _, seen, _ in self.seen)

    def file(self, name: str) -> Path | None:
        """Find a file by its plain name."""
        if "/" in name or name in self.missing or "*" in self.missing:
            return None
        return next((folder / name for folder in self.folders if (folder / name).is_file()), None)

    def handle_error(self, request, client_address) -> None:
        """Say nothing about clients that hang up."""


@contextmanager
def serve(*folders: Path, address: str = "127.0.0.1"):
    """Serve folders until the block ends; the server's `url` is the mirror."""
    server = Downloads(folders, address)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@lru_cache(maxsize=32)
def digest(path: Path, _changed: float) -> str:
    """Hash a file, once as long as it does not change."""
    with path.open("rb") as data:
        found = hashlib.sha256()
        for block in iter(lambda: data.read(BLOCK), b""):
            found.update(block)
    return found.hexdigest()


class Request(BaseHTTPRequestHandler):
    """Answer one connection."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    server: Downloads

    def do_GET(self) -> None:
        """Answer with a file, a part of it, or its checksum."""
        name = self.path.split("?")[0].lstrip("/")
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked.group(1)) if asked else 0
        self.server.seen.append((self.command, name, start))
        path = self.server.file(name)
        if path:
            self.send_file(path, start, bool(asked))
        elif (
            name.endswith(".sha256")
            and name not in self.server.missing
            and (path := self.server.file(name[: -len(".sha256")]))
        ):
            self.send_checksum(path)
        else:
            self.reply(404, b"not found\n")

    do_HEAD = do_GET

    def send_checksum(self, path: Path) -> None:
        """Answer the way Miniforge publishes it: the hash, two blanks, ./ and the name."""
        found = digest(path, path.stat().st_mtime)
        found = found[::-1] if self.server.wrong_checksum else found
        self.reply(200, f"{found}  ./{path.name}\n".encode())

    def send_file(self, path: Path, start: int, partly: bool) -> None:
        """Send a file from one byte on, or break off where the test wants it."""
        size = path.stat().st_size
        if partly and start >= size:
            return self.reply(416, b"", {"Content-Range": f"bytes */{size}"})
        extra = {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if partly else {}
        self.head(206 if partly else 200, size - start, {"Accept-Ranges": "bytes", **extra})
        if self.command == "HEAD":
            return None
        left = self.server.cuts.pop(0) if self.server.cuts else size
        with path.open("rb") as data:
            data.seek(start)
            while left > 0 and (block := data.read(min(BLOCK, left))):
                self.wfile.write(block)
                left -= len(block)
            self.close_connection = left <= 0 or self.close_connection
        return None

    def reply(self, status: int, body: bytes, headers: dict | None = None) -> None:
        """Send a small answer whole."""
        self.head(status, len(body), headers or {})
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(self, status: int, length: int, headers: dict) -> None:
        """Send the status line and headers."""
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(length),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_) -> None:
        """Keep the test's output clean."""
