"""``bits-client`` as it is typed: what it prints, how it ends, and that it goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import PROGRAM, Command
from tests.support.challenges import BasicChallenge
from tests.support.fake_iis import FakeIis
from tests.support.faults import Fault
from tests.support.waiting import wait_until


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "local.bin"
    path.write_bytes(os.urandom(400_000))
    return path


def url_of(iis: FakeIis) -> str:
    return f"{iis.url}/upload/f.bin"


def jobs_of(bits_client: Command) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = json.loads(bits_client("list", "--all", "--json").stdout)
    return jobs


class TestTransfer:
    def test_it_does_it_all(self, bits_client: Command, file: Path) -> None:
        with FakeIis() as iis:
            done = bits_client("transfer", file, url_of(iis))
            assert iis.files == {"/upload/f.bin": file.read_bytes()}
        assert done.returncode == 0, done.stderr
        assert jobs_of(bits_client)[0]["state"] == "ACKNOWLEDGED"
        assert bits_client("list").stdout == "There are no jobs.\n"

    def test_with_json_nothing_else_is_printed(self, bits_client: Command, file: Path) -> None:
        with FakeIis() as iis:
            done = bits_client("transfer", file, url_of(iis), "--json")
        job = json.loads(done.stdout)
        assert (done.returncode, done.stderr) == (0, "")
        assert job["state"] == "ACKNOWLEDGED"
        assert job["progress"]["transferred"] == 400_000
        assert re.fullmatch(r"\{[0-9A-F-]{36}\}", job["id"])

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
    def test_what_was_stopped_goes_on_with_the_same_command(
        self, bits_client: Command, environment: dict[str, str], file: Path, number: int
    ) -> None:
        with FakeIis() as iis:
            arguments = ("transfer", str(file), url_of(iis), "--fragment-size-limit", "100kB")
            slow = subprocess.Popen(
                [*PROGRAM, *arguments, "--limit", "100kB"],
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
            wait_until(lambda: iis.count("Fragment") >= 1)
            slow.send_signal(number)
            said = slow.communicate(timeout=30)[1]
            code = {signal.SIGINT: 130, signal.SIGTERM: 3}.get(signal.Signals(number), -number)
            assert slow.returncode == code
            assert number == signal.SIGKILL or "the same command goes on" in said
            assert "Traceback" not in said
            done = bits_client(*arguments)
            assert done.returncode == 0, done.stderr
            assert iis.files == {"/upload/f.bin": file.read_bytes()}
            assert iis.count("Create-Session") == 1
        assert len(jobs_of(bits_client)) == 1

    def test_a_file_that_has_changed_begins_anew(self, bits_client: Command, file: Path) -> None:
        with FakeIis() as iis:
            iis.script("Fragment", Fault(status=503))
            assert bits_client("transfer", file, url_of(iis), "--no-wait").returncode == 3
            file.write_bytes(b"another one")
            assert bits_client("transfer", file, url_of(iis)).returncode == 0
            assert iis.files == {"/upload/f.bin": b"another one"}
        assert [job["state"] for job in jobs_of(bits_client)] == ["CANCELLED", "ACKNOWLEDGED"]

    def test_json_has_the_words_that_are_typed_and_shown(
        self, bits_client: Command, file: Path
    ) -> None:
        with FakeIis() as iis:
            iis.script("Create-Session", Fault(status=403, hresult="0x80070005"))
            done = bits_client("transfer", file, url_of(iis), "--priority", "high", "--json")
        assert done.returncode == 1
        assert done.stderr == ""
        job = json.loads(done.stdout)
        assert job["priority"] == "high"
        text = job["error"].pop("text")
        assert "exists there already" in text
        assert job["error"] == {
            "hresult": "0x80070005",
            "name": "E_ACCESSDENIED",
            "context": "REMOTE_FILE",
            "http_status": 403,
        }

    def test_a_refusal_ends_with_1_and_says_why(self, bits_client: Command, file: Path) -> None:
        with FakeIis() as iis:
            iis.script("Create-Session", Fault(status=403, hresult="0x80070005"))
            done = bits_client("transfer", file, url_of(iis))
        assert done.returncode == 1
        assert "0x80070005 E_ACCESSDENIED" in done.stderr
        assert "exists there already" in done.stderr

    def test_nobody_there_ends_with_3_where_nobody_waits(
        self, bits_client: Command, file: Path
    ) -> None:
        done = bits_client("transfer", file, "http://127.0.0.1:9/upload/f", "--no-wait")
        assert done.returncode == 3
        assert "see whether the server runs" in done.stderr

    def test_a_reply(self, bits_client: Command, file: Path, tmp_path: Path) -> None:
        with FakeIis(reply=b"the reply") as iis:
            done = bits_client("transfer", file, url_of(iis), "--reply", tmp_path / "reply")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "reply").read_bytes() == b"the reply"


class TestTheQueue:
    def test_from_create_to_complete(self, bits_client: Command, file: Path) -> None:
        with FakeIis() as iis:
            made = bits_client("create", file, url_of(iis), "--name", "weekly", "--priority", "low")
            job_id = made.stdout.strip()
            assert re.fullmatch(r"\{[0-9A-F-]{36}\}", job_id)
            assert "QUEUED" in bits_client("list").stdout
            assert bits_client("suspend", "weekly").stdout.split()[1] == "SUSPENDED"
            assert bits_client("run").returncode == 0
            assert iis.requests == []
            assert bits_client("resume", job_id[1:9]).stdout.split()[1] == "QUEUED"
            assert bits_client("run", "--parallel", "2").returncode == 0
            assert iis.files == {"/upload/f.bin": file.read_bytes()}
            shown = bits_client("info", job_id).stdout
            for text in ("TRANSFERRED", "weekly", "low", "400000 of 400000 bytes, 100 %"):
                assert text in shown
            assert bits_client("complete", job_id).stdout.split()[1] == "ACKNOWLEDGED"
            late = bits_client("cancel", job_id)
            assert late.returncode == 1
            assert "ACKNOWLEDGED" in late.stderr

    def test_run_says_how_it_ended(self, bits_client: Command, file: Path) -> None:
        with FakeIis() as iis:
            iis.script("Create-Session", Fault(status=503), Fault(status=404))
            bits_client("create", file, url_of(iis))
            assert bits_client("run", "--no-wait").returncode == 3
            bits_client("resume", "local.bin")
            failed = bits_client("run")
            assert failed.returncode == 1
            assert "ERROR  local.bin" in failed.stderr
            bits_client("resume", "local.bin")
            assert bits_client("run", "--complete").returncode == 0
        assert [job["state"] for job in jobs_of(bits_client)] == ["ACKNOWLEDGED"]

    def test_reset_cancels_all_after_a_question(self, bits_client: Command, file: Path) -> None:
        bits_client("create", file, "http://127.0.0.1:9/f")
        assert bits_client("reset").returncode != 0
        assert bits_client("reset", "--yes").stdout == "1 jobs cancelled\n"
        assert [job["state"] for job in jobs_of(bits_client)] == ["CANCELLED"]

    def test_run_as_a_service_completes_what_is_there(
        self, bits_client: Command, environment: dict[str, str], file: Path
    ) -> None:
        def state() -> str:
            return str(jobs_of(bits_client)[0]["state"])

        with FakeIis() as iis:
            bits_client("create", file, url_of(iis))
            service = subprocess.Popen(
                [*PROGRAM, "run", "--forever", "--complete"],
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
            try:
                wait_until(lambda: state() == "ACKNOWLEDGED")
            finally:
                service.send_signal(signal.SIGTERM)
                said = service.communicate(timeout=30)[1]
            assert service.returncode == 0
            assert "ACKNOWLEDGED  local.bin" in said

    def test_a_reply_that_cannot_get_its_name(
        self, bits_client: Command, file: Path, tmp_path: Path
    ) -> None:
        place = tmp_path / "reply"
        with FakeIis(reply=b"a reply") as iis:
            bits_client("create", file, url_of(iis), "--reply", place)
            place.mkdir()
            failed = bits_client("run", "--complete")
        assert failed.returncode == 1
        assert "directory" in failed.stderr
        assert "Traceback" not in failed.stderr
        assert jobs_of(bits_client)[0]["state"] == "TRANSFERRED"
        place.rmdir()
        assert bits_client("run", "--complete").returncode == 0
        assert place.read_bytes() == b"a reply"

    def test_run_and_reset_for_scripts(self, bits_client: Command, file: Path) -> None:
        with FakeIis() as iis:
            job_id = bits_client("create", file, url_of(iis)).stdout.strip()
            done = bits_client("run", "--json")
        assert done.stderr == ""
        assert [(job["id"], job["state"]) for job in json.loads(done.stdout)] == [
            (job_id, "TRANSFERRED")
        ]
        (job,) = json.loads(bits_client("reset", "--yes", "--json").stdout)
        assert (job["id"], job["state"]) == (job_id, "CANCELLED")
        assert json.loads(bits_client("run", "--json").stdout) == []

    def test_a_job_that_is_not_there(self, bits_client: Command) -> None:
        done = bits_client("info", "nobody")
        assert done.returncode == 1
        assert "no job of the id or name 'nobody'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["http://alice:secret@h/f"], "BITS_CLIENT_PASSWORD"),
        (["ftp://h/f"], "no URL of http or https"),
        (["http://h:x/f"], "no URL"),
        (["http://h/f", "--limit", "fast"], "no size"),
        (["http://h/f", "--retry-delay", "1s"], "5 seconds at least"),
        (["http://h/f", "--fragment-size-limit", "1kB"], "5120 bytes at least"),
        (["http://h/f", "--fragment-size-limit", "14MB"], "13000000 at most"),
        (["http://h/f", "--proxy", "http://u:p@h"], "BITS_CLIENT_PROXY_USER"),
        (["http://h/f", "--ca", "/nowhere"], "does not exist"),
        (["http://h/f", "--auth", "ntlm"], "negotiate"),
    ],
)
def test_a_wrong_word_ends_with_2_and_says_what_to_write(
    bits_client: Command, file: Path, arguments: list[str], said: str
) -> None:
    done = bits_client("transfer", file, *arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert jobs_of(bits_client) == []


@pytest.mark.parametrize("command", ["transfer", "create"])
def test_what_cannot_go_up_is_told_before_anything_is_sent(
    bits_client: Command, file: Path, tmp_path: Path, command: str
) -> None:
    with FakeIis() as iis:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        for path, options, said in (
            (pipe, [], f"{pipe}: is no regular file"),
            ("/dev/zero", [], "/dev/zero: is no regular file"),
            (file, ["--reply", tmp_path / "missing" / "reply"], "missing: No such file"),
        ):
            done = bits_client(command, path, url_of(iis), *options)
            assert done.returncode == 1
            assert said in done.stderr
            assert "Traceback" not in done.stderr
        assert iis.requests == []
    assert jobs_of(bits_client) == []


def test_a_disk_that_gets_full_on_the_way_is_told_and_nothing_is_lost(
    bits_client: Command, file: Path, small_disk: Path
) -> None:
    """That of the jobs, which need to be written down."""
    state = {"BITS_CLIENT_STATE": str(small_disk / "state")}
    filled = small_disk / "filled"

    def fill() -> None:
        with suppress(OSError), open(filled, "wb", 0) as stream:
            while True:
                stream.write(bytes(1 << 10))

    with FakeIis() as iis:
        iis.script("Fragment", None, Fault(before=fill))
        arguments = ["transfer", file, url_of(iis), "--fragment-size-limit", "100kB"]
        full = bits_client(*arguments, **state)
        assert full.returncode == 3
        assert "database or disk is full" in full.stderr
        assert "Traceback" not in full.stderr
        assert "local.bin" in bits_client("list", **state).stdout
        filled.unlink()
        assert bits_client(*arguments, **state).returncode == 0
        assert iis.files == {"/upload/f.bin": file.read_bytes()}
        assert iis.count("Create-Session") == 1


class TestPasswords:
    def test_from_the_environment_and_nowhere_else(
        self, bits_client: Command, file: Path, tmp_path: Path
    ) -> None:
        with FakeIis(challenge=BasicChallenge("alice", "Passw0rd")) as iis:
            login = {"BITS_CLIENT_USER": "alice", "BITS_CLIENT_PASSWORD": "Passw0rd"}
            done = bits_client("transfer", file, url_of(iis), **login)
            assert done.returncode == 0, done.stderr
            wrong = {**login, "BITS_CLIENT_PASSWORD": "Wr0ng-one"}
            refused = bits_client("transfer", file, url_of(iis), **wrong)
            assert refused.returncode == 1
            nobody = bits_client("transfer", file, url_of(iis))
            assert nobody.returncode == 1
            assert "there are no user and password" in nobody.stderr
        kept = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
        told = kept.decode("latin-1") + "".join(
            each.stdout + each.stderr for each in (done, refused, nobody)
        )
        assert "Passw0rd" not in told
        assert "Wr0ng" not in told

    def test_from_a_netrc_file_that_nobody_else_reads(
        self, bits_client: Command, file: Path, tmp_path: Path
    ) -> None:
        netrc = tmp_path / ".netrc"
        netrc.write_text("machine 127.0.0.1 login alice password Passw0rd\n")
        with FakeIis(challenge=BasicChallenge("alice", "Passw0rd")) as iis:
            netrc.chmod(0o644)
            refused = bits_client("transfer", file, url_of(iis))
            assert refused.returncode == 1
            assert f"chmod 600 {netrc}" in refused.stderr
            netrc.chmod(0o600)
            assert bits_client("transfer", file, url_of(iis)).returncode == 0
