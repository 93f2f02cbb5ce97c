"""What a Windows client sent and IIS answered, replayed: our answers carry what IIS's carried."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.conftest import ServerMaker
from tests.support.bits_client import SESSION_ID_FORM
from tests.support.wire import Answer, WireSender

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts" / "valid"
OF_THE_SERVER = {"date", "server"}  # these two every server has its own of


class Conversation:
    """Captured requests, sent with path, host and session id of here."""

    def __init__(self, sender: WireSender, target: str) -> None:
        self._sender = sender
        self._target = target
        self.session_id = ""

    def replay(self, name: str, body: bytes = b"", other: frozenset[str] = frozenset()) -> Answer:
        """Send the captured request, and compare with the captured answer.

        ``other``: fields that have a value of their own here.
        """
        head = (TRANSCRIPTS / f"{name}.request.head").read_bytes().decode("latin-1")
        head = re.sub(r"^BITS_POST \S+", f"BITS_POST {self._target}", head)
        head = re.sub(r"\r\nHost: [^\r]*", "\r\nHost: bits.test", head)
        head = re.sub(r"\{[0-9A-F-]{36}\}", self.session_id, head) if self.session_id else head
        answer = self._sender.send_bytes(head.encode("latin-1") + body)
        if "create" in name:
            self.session_id = answer["BITS-Session-Id"]
        self._compare(name, answer, other)
        return answer

    def _compare(self, name: str, answer: Answer, other: frozenset[str]) -> None:
        captured = (TRANSCRIPTS / f"{name}.response.head").read_bytes().decode("latin-1")
        start, *fields = captured.rstrip("\r\n").split("\r\n")
        assert answer.status == int(start.split()[1])
        for field in fields:
            header, _, value = field.partition(": ")
            if header.lower() in OF_THE_SERVER:
                continue
            if header in other:
                assert answer[header]
            elif header == "BITS-Session-Id":
                assert re.fullmatch(SESSION_ID_FORM, value)
                assert re.fullmatch(SESSION_ID_FORM, answer[header])
            else:
                assert answer[header] == value, header


def test_the_upload_of_section_4_1(wire: WireSender, folder: Path) -> None:
    body = os.urandom(4892)
    conversation = Conversation(wire, "/upload/2000mb-rfc2119.txt")
    conversation.replay("4.1-01-create-session")
    conversation.replay("4.1-02-fragment", body)
    conversation.replay("4.1-03-ping")
    assert not (folder / "2000mb-rfc2119.txt").exists()
    conversation.replay("4.1-04-close-session")
    assert (folder / "2000mb-rfc2119.txt").read_bytes() == body


def test_the_host_id_of_section_4_2(make_server: ServerMaker, folder: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
        'host_id = "FRANKCAO8"\nhost_id_fallback_timeout = 110\n'
    )
    options = ["--settings", str(settings)]
    log_file = tmp_path / "server.log"
    with make_server(options=options, log_file=log_file) as server, server.sender() as sender:
        conversation = Conversation(sender, "/upload/2100mb-rfc2119.txt")
        conversation.replay("4.2-01-create-session")
        conversation.replay("4.2-02-ping")


@pytest.mark.parametrize("name", sorted(path.name for path in TRANSCRIPTS.glob("*.head")))
def test_a_sample_is_a_header_block_as_it_was_on_the_wire(name: str) -> None:
    sample = (TRANSCRIPTS / name).read_bytes()
    assert sample.endswith(b"\r\n\r\n")
    assert sample.count(b"\n") == sample.count(b"\r\n")
