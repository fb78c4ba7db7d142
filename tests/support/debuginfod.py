"""A debuginfod server on the loopback, with every bad habit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeServer:
    """`files` are given by "BUILDID/KIND"; a request for /HABIT/buildid/… shows the habit."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.leaving = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.asked.append(self.path)
                with suppress(OSError):  # they hang up
                    owner.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self.server.server_port}"

    def url(self, habit: str = "good") -> str:
        """The server's URL in one of its moods."""
        return f"{self.origin}/{habit}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        habit, _, name = request.path.lstrip("/").partition("/buildid/")
        data = self.files.get(name)
        act = getattr(self, f"_{habit}", None)
        if act is not None:
            act(request, name, data or b"")
        elif data is None:
            request.send_error(404)
        else:
            self._send(request, data, len(data))

    def _send(self, request: BaseHTTPRequestHandler, data: bytes, length: int) -> None:
        request.close_connection = True
        request.send_response(200)
        request.send_header("Content-Length", str(length))
        request.end_headers()
        request.wfile.write(data)

    def _truncated(self, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        self._send(request, data[: len(data) // 2], len(data))

    def _shorter(self, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        self._send(request, data[: len(data) // 2], len(data) // 2)

    def _oversized(self, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        self._send(request, data, 1 << 40)

    def _endless(self, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        request.send_response(200)
        request.end_headers()
        while not self.leaving.is_set():
            request.wfile.write(bytes(1 << 16))

    def _slow(self, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        request.send_response(200)
        request.end_headers()
        self.leaving.wait()

    def _broken(self, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        request.send_error(500)

    def _garbage(self, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        request.close_connection = True
        request.wfile.write(b"\xff\x00 nothing of HTTP\r\n\r\n" * 50)

    def _text(self, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        self._send(request, b"no ELF file", 11)

    def _redirect(self, request: BaseHTTPRequestHandler, name: str, where: str) -> None:
        request.send_response(302)
        request.send_header("Location", where)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _elsewhere(self, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        self._redirect(request, name, f"http://localhost:{self.server.server_port}/good/{name}")

    def _file(self, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        self._redirect(request, name, "file:///etc/passwd")

    def _moved(self, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        self._redirect(request, name, f"/good/buildid/{name}")

    def _loop(self, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        self._redirect(request, name, f"/loop/buildid/{name}")


@contextmanager
def debuginfod() -> Iterator[FakeServer]:
    """Such a server, as long as it is needed."""
    fake = FakeServer()
    thread = threading.Thread(target=fake.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield fake
    finally:
        fake.leaving.set()
        fake.server.shutdown()
        thread.join()
        fake.server.server_close()
