"""A forward proxy of our own for what tinyproxy cannot ask for: Digest and Negotiate.

The rule of this file: it passes on what came with credentials that its challenge accepts, tunnels
included, and nothing else; each connection to a server is for one request.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from urllib.parse import urlsplit

from tests.support.challenges import Challenge

BLOCK = 1 << 16


class ChallengingProxy:
    """``passed``: the request lines that it let through. ``asked``: how often it answered 407."""

    def __init__(self, challenge: Challenge, *, host: str = "127.0.0.1") -> None:
        self.challenge = challenge
        self.passed: list[str] = []
        self.asked = 0
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.address: tuple[str, int] = ("127.0.0.1", self._server.server_address[1])
        self.url = f"http://{host}:{self.address[1]}"

    def __enter__(self) -> ChallengingProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks is the end of it."""


class _Handler(socketserver.StreamRequestHandler):
    owner: ChallengingProxy

    def handle(self) -> None:
        while self._serve():
            pass

    def _serve(self) -> bool:
        """One request; whether the connection stays."""
        line = self.rfile.readline().decode("latin-1").split()
        if len(line) != 3:
            return False
        method, target, _ = line
        fields = {}
        while text := self.rfile.readline().rstrip(b"\r\n").decode("latin-1"):
            name, _, value = text.partition(":")
            fields[name.lower()] = value.strip()
        body = self.rfile.read(int(fields.get("content-length", "0")))
        given = fields.pop("proxy-authorization", "")
        if not self.owner.challenge.accepts(given, method, target):
            self.owner.asked += 1
            lines = ["HTTP/1.1 407 Proxy Authentication Required", "Content-Length: 0"]
            lines += [f"Proxy-Authenticate: {each}" for each in self.owner.challenge.ask()]
            self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            return True
        self.owner.passed.append(f"{method} {target}")
        if method == "CONNECT":
            self._tunnel(target)
        else:
            self._pass_on(method, target, fields, body)
        return False

    def _pass_on(self, method: str, target: str, fields: dict[str, str], body: bytes) -> None:
        parts = urlsplit(target)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        fields["connection"] = "close"
        head = [f"{method} {path} HTTP/1.1", *(f"{name}: {each}" for name, each in fields.items())]
        with socket.create_connection((parts.hostname, parts.port or 80), 10) as server:
            server.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + body)
            while block := server.recv(BLOCK):
                self.wfile.write(block)

    def _tunnel(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as server:
            self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=_copy, args=(server, self.connection))
            back.start()
            _copy(self.connection, server)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while block := source.recv(BLOCK):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (source, target):
            each.close()
