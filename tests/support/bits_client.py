"""A client that sends any packet, well formed or not, over any Sender."""

from __future__ import annotations

from tests.support.wire import Answer, Sender

PROTOCOL = "{7df0354d-249b-430f-820d-3d2a9bef4931}"
SESSION_ID_FORM = r"\{[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}\}"


class BitsClient:
    """One upload to ``target``. ``changes`` of a packet: header fields to set, or None to omit."""

    def __init__(self, sender: Sender, target: str = "/upload/f.bin") -> None:
        self.sender = sender
        self.target = target
        self.session_id = ""
        self.method = "BITS_POST"

    def packet(
        self, kind: str, fields: dict[str, str], body: bytes, changes: dict[str, str | None]
    ) -> Answer:
        merged: dict[str, str | None] = {
            "BITS-Packet-Type": kind,
            **fields,
            "Content-Length": str(len(body)),
        }
        merged |= {name.replace("_", "-"): value for name, value in changes.items()}
        headers = [(name, value) for name, value in merged.items() if value is not None]
        return self.sender.send(self.method, self.target, headers, body)

    def create(self, **changes: str | None) -> Answer:
        answer = self.packet("Create-Session", {"BITS-Supported-Protocols": PROTOCOL}, b"", changes)
        if answer.status in (200, 201):
            self.session_id = answer["BITS-Session-Id"]
        return answer

    def fragment(self, body: bytes, first: int, total: int, **changes: str | None) -> Answer:
        content_range = f"bytes {first}-{first + len(body) - 1}/{total}"
        fields = {"BITS-Session-Id": self.session_id, "Content-Range": content_range}
        return self.packet("Fragment", fields, body, changes)

    def fragment_head(self, length: int) -> bytes:
        """The head of one Fragment with the whole file of ``length`` bytes, as on the wire."""
        lines = [
            f"BITS_POST {self.target} HTTP/1.1",
            "Host: bits.test",
            "BITS-Packet-Type: Fragment",
            f"BITS-Session-Id: {self.session_id}",
            f"Content-Range: bytes 0-{length - 1}/{length}",
            f"Content-Length: {length}",
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    def close(self, **changes: str | None) -> Answer:
        return self.packet("Close-Session", {"BITS-Session-Id": self.session_id}, b"", changes)

    def cancel(self, **changes: str | None) -> Answer:
        return self.packet("Cancel-Session", {"BITS-Session-Id": self.session_id}, b"", changes)

    def ping(self, **changes: str | None) -> Answer:
        return self.packet("Ping", {}, b"", changes)

    def send_all(self, content: bytes, size: int, start: int = 0) -> Answer:
        """Fragments of ``size`` bytes from ``start`` on; each must be taken."""
        answer = None
        for first in range(start, max(len(content), 1), size):
            answer = self.fragment(content[first : first + size], first, len(content))
            expected = min(first + size, len(content))
            assert answer.status == 200, answer
            assert answer["BITS-Received-Content-Range"] == str(expected)
        assert answer is not None
        return answer

    def upload(self, content: bytes, size: int = 1 << 20) -> None:
        """A whole upload; each packet must be acknowledged."""
        assert self.create().status in (200, 201)
        self.send_all(content, size)
        assert self.close().status == 200


def assert_success(answer: Answer, *, status: int = 200) -> None:
    """A success is an Ack without any error header, and without a body."""
    assert answer.status == status, answer
    assert answer["BITS-Packet-Type"] == "Ack"
    assert answer["Content-Length"] == "0"
    assert answer.body == b""
    for name in ("BITS-Error-Code", "BITS-Error", "BITS-Error-Context"):
        assert answer.get(name) is None, name


def assert_refused(
    answer: Answer, status: int, hresult: str | None, session_id: str | None = None
) -> None:
    """An error's Ack: the three error headers or none of them, no body, the session id echoed."""
    assert answer.status == status, answer
    assert answer["BITS-Packet-Type"] == "Ack"
    assert answer["Pragma"] == "no-cache"
    assert answer["Content-Length"] == "0"
    assert answer.body == b""
    assert answer.get("BITS-Error-Code") == hresult
    assert answer.get("BITS-Error") == hresult
    assert answer.get("BITS-Error-Context") == (None if hresult is None else "0x5")
    assert answer.get("BITS-Session-Id") == session_id
