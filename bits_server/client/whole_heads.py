"""Connections that take no head of an answer for whole that was cut.

The standard library takes the end of a connection for the end of the header fields: half a session
id, or a 200 without its fields, would count. Here it is a connection that broke.
"""

from __future__ import annotations

import http.client
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from bits_server.client.open_lines import OpenLines
from bits_server.client.proxy_login import ProxyLogin


class _Head:
    """The stream of a response, for the time of its head. ``is_cut``: it ended too early."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.is_cut = False

    def readline(self, limit: int = -1) -> bytes:
        line: bytes = self.stream.readline(limit)
        self.is_cut = self.is_cut or (not line.endswith(b"\n") and len(line) != limit)
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _Response(http.client.HTTPResponse):
    def begin(self) -> None:
        head = _Head(self.fp)
        self.fp: Any = head
        try:
            super().begin()
        finally:
            if self.fp is head:
                self.fp = head.stream
        if head.is_cut:
            self.close()
            raise http.client.RemoteDisconnected("the connection ended in the head of an answer")


class _Connection(HTTPConnection):
    response_class = _Response
    lines: OpenLines

    def connect(self) -> None:
        super().connect()
        self.lines.opened(self.sock)

    def request(self, *arguments: Any, **keys: Any) -> None:
        if self.sock is not None:
            self.lines.begins(self.sock)
        super().request(*arguments, **keys)

    def getresponse(self) -> Any:
        with self.lines.awaiting():
            return super().getresponse()


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    login: ProxyLogin

    def urlopen(  # type: ignore[override] # as requests calls it
        self, method: str, url: str, body: Any = None, headers: Any = None, **keys: Any
    ) -> Any:
        value = self.login.value(method, url) if self.proxy is not None else None
        if value is not None:
            headers = {**(headers or {}), "Proxy-Authorization": value}
        return super().urlopen(method, url, body, headers, **keys)


class _TlsPool(HTTPSConnectionPool):
    login: ProxyLogin

    def _prepare_proxy(self, conn: Any) -> None:
        value = self.login.value("CONNECT", f"{self._tunnel_host}:{self.port}")
        if value is not None:
            self.proxy_headers = {**self.proxy_headers, "Proxy-Authorization": value}
        super()._prepare_proxy(conn)


class WholeHeads(HTTPAdapter):
    """For ``Session.mount``; it sends a body in blocks of ``block_bytes``, logs in at a proxy with
    what ``login`` has, and tells ``lines`` of each connection."""

    def __init__(self, block_bytes: int, login: ProxyLogin, lines: OpenLines) -> None:
        self._block_bytes = block_bytes

        def pool(kind: type, connection: type) -> type:
            made = type(connection.__name__, (connection,), {"lines": lines})
            return type(kind.__name__, (kind,), {"login": login, "ConnectionCls": made})

        self._pools = {"http": pool(_Pool, _Connection), "https": pool(_TlsPool, _TlsConnection)}
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **keys: Any) -> None:
        super().init_poolmanager(*arguments, **keys, blocksize=self._block_bytes)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: Any, **keys: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **keys, blocksize=self._block_bytes)
        manager.pool_classes_by_scheme = self._pools
        return manager
