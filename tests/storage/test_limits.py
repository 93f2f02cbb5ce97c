"""Limits on sessions and bytes: exact, shared by all processes, and healed after crashes."""

from __future__ import annotations

import os
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bits_server.protocol.errors import DiskFull, ServiceUnavailable, SessionNotFound
from bits_server.storage import limits as limits_module
from bits_server.storage.disk import DiskRules
from bits_server.storage.filesystem import FilesystemStore
from bits_server.storage.interface import Sweep
from bits_server.storage.limits import Limits
from bits_server.storage.record import SessionRecord
from tests.storage.stages import new_record, run_at_once


class Place:
    """One virtual directory; each store is as another process has it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sessions = root / "BITS-Sessions"

    def store(self, limits: Limits) -> FilesystemStore:
        store = FilesystemStore(str(self.root), DiskRules(sync_on_close=False), limits=limits)
        store.prepare()
        return store

    def marks(self) -> list[str]:
        """What is kept of owners and reservations, without the sums."""
        found = [*self.sessions.glob(".owners/*/*"), *self.sessions.glob(".quota/*/{*")]
        return sorted(path.name for path in found)


@pytest.fixture
def place(folder: Path) -> Place:
    return Place(folder)


def record_of(user: str = "", address: str = "192.0.2.1") -> SessionRecord:
    return replace(new_record(), owner=user, client_address=address)


def create(store: FilesystemStore, record: SessionRecord) -> SessionRecord:
    store.create(record)
    return record


def delete(store: FilesystemStore, record: SessionRecord) -> None:
    with closing(store.open(record.session_id)) as session, session.locked():
        session.delete()


def reserve(store: FilesystemStore, record: SessionRecord, total: int) -> None:
    with closing(store.open(record.session_id)) as session, session.locked():
        session.reserve(total)
        session.save(replace(session.record, total=total))


def test_without_limits_nothing_is_kept(place: Place) -> None:
    store = place.store(Limits())
    for _ in range(5):
        reserve(store, create(store, record_of("ann")), 10**15)
    assert place.marks() == []


OWNERS = [
    (Limits(session_limit=3), record_of("ann"), record_of("bob")),
    (Limits(session_limit=3), record_of("größe/.."), record_of("größe")),
    (Limits(session_limit_per_address=3), record_of(), record_of(address="192.0.2.2")),
    (Limits(session_limit_per_address=3), record_of(), record_of("ann")),
    (Limits(session_limit=3), record_of("ann"), record_of()),
]


@pytest.mark.parametrize(("limits", "one", "other"), OWNERS, ids=range(len(OWNERS)))
def test_the_next_session_of_one_owner_is_refused_and_not_of_another(
    place: Place, limits: Limits, one: SessionRecord, other: SessionRecord
) -> None:
    def again(record: SessionRecord) -> SessionRecord:
        return replace(record, guid=new_record().guid)

    made = [create(place.store(limits), again(one)) for _ in range(3)]
    for _ in range(2):
        refused = again(one)
        with pytest.raises(ServiceUnavailable, match="session_limit"):
            place.store(limits).create(refused)
        with pytest.raises(SessionNotFound):
            place.store(limits).open(refused.session_id)
    create(place.store(limits), again(other))
    delete(place.store(limits), made[0])
    create(place.store(limits), again(one))
    with pytest.raises(ServiceUnavailable):
        place.store(limits).create(again(one))


@pytest.fixture(params=["links", "no links"])
def counting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second: a file system that does not count the folders in a folder."""
    if request.param == "no links":
        monkeypatch.setattr(limits_module, "_count_folders", lambda _path: None)
        monkeypatch.setattr(limits_module, "COUNT_SECONDS", 0.0)


@pytest.mark.usefixtures("counting")
def test_of_all_sessions_the_next_one_is_refused_and_none_that_exists(place: Place) -> None:
    limits = Limits(sessions_total=4)
    made = [create(place.store(limits), record_of(str(number))) for number in range(4)]
    with pytest.raises(ServiceUnavailable, match="sessions_total"):
        place.store(limits).create(record_of())
    assert {str(each) for each in place.store(limits).session_ids()} == {each.guid for each in made}
    delete(place.store(limits), made[0])
    create(place.store(limits), record_of())


@pytest.mark.usefixtures("counting")
def test_a_lower_limit_removes_no_session(place: Place) -> None:
    for _ in range(4):
        create(place.store(Limits(session_limit=9)), record_of("ann"))
    lower = place.store(Limits(sessions_total=2, session_limit=2))
    with pytest.raises(ServiceUnavailable):
        lower.create(record_of("ann"))
    assert len(list(lower.session_ids())) == 4


def test_sessions_at_once_never_pass_a_limit_together(place: Place) -> None:
    for limits in (Limits(session_limit=5), Limits(sessions_total=5)):
        for _ in range(3):
            stores = [place.store(limits) for _ in range(12)]
            made: list[SessionRecord] = []

            def attempt(store: FilesystemStore, made: list[SessionRecord] = made) -> None:
                try:
                    made.append(create(store, record_of("ann")))
                except ServiceUnavailable:
                    pass

            run_at_once(*(lambda store=store: attempt(store) for store in stores))
            assert len(made) <= 5
            while len(made) < 5:  # two that met may both have been refused
                made.append(create(place.store(limits), record_of("ann")))
            for each in made:
                delete(place.store(limits), each)
            assert place.marks() == []


def test_marks_of_sessions_that_a_crash_removed_do_not_count(place: Place) -> None:
    limits = Limits(session_limit=2, quota=10, quota_per_user=10)
    for _ in range(2):
        record = create(place.store(limits), record_of("ann"))
        reserve(place.store(limits), record, 5)
        os.rename(place.sessions / record.guid, place.sessions / f".removed-{record.guid}")
    for directory in place.sessions.glob(".quota/*"):
        (directory / "sum").write_text("10 0")
    record = create(place.store(limits), record_of("ann"))
    reserve(place.store(limits), record, 10)
    assert place.marks() == sorted([record.guid, f"{record.guid}.10", f"{record.guid}.10"])


def test_the_clean_up_removes_the_marks_that_crashes_left(place: Place) -> None:
    limits = Limits(session_limit=9, quota=10**6)
    for _ in range(3):
        record = create(place.store(limits), record_of("ann"))
        reserve(place.store(limits), record, 5)
        place.store(limits).remove_wreck(record.session_id)
    alive = create(place.store(limits), record_of("bob"))
    reserve(place.store(limits), alive, 7)
    place.store(limits).note_swept(Sweep.SESSIONS)
    assert place.marks() == [alive.guid, f"{alive.guid}.7"]
    (total,) = place.sessions.glob(".quota/all/sum")
    assert total.read_text().split()[0] == "7"


class TestQuota:
    @pytest.fixture(params=[Limits(quota=100), Limits(quota_per_user=100)])
    def limits(self, request: pytest.FixtureRequest) -> Limits:
        limits: Limits = request.param
        return limits

    def test_what_sessions_hold_together_is_never_more(self, place: Place, limits: Limits) -> None:
        store = place.store(limits)
        first, second, third = (create(store, record_of("ann")) for _ in range(3))
        reserve(store, first, 60)
        with pytest.raises(DiskFull, match="quota"):
            reserve(store, second, 41)
        reserve(store, third, 40)
        delete(store, first)
        reserve(store, second, 60)
        with pytest.raises(DiskFull):
            reserve(store, create(store, record_of("ann")), 1)

    def test_reserving_again_reserves_nothing_more(self, place: Place, limits: Limits) -> None:
        """A server that died before it noted the total gets the first Fragment again."""
        store = place.store(limits)
        record = create(store, record_of("ann"))
        for _ in range(3):
            reserve(store, record, 60)
        reserve(store, create(store, record_of("ann")), 40)

    def test_a_whole_file_that_is_larger_is_refused(self, place: Place, limits: Limits) -> None:
        store = place.store(limits)
        record = create(store, record_of("ann"))
        with pytest.raises(DiskFull):
            reserve(store, record, 101)
        reserve(store, record, 100)

    def test_an_empty_file_needs_no_room(self, place: Place, limits: Limits) -> None:
        store = place.store(limits)
        reserve(store, create(store, record_of("ann")), 100)
        reserve(store, create(store, record_of("ann")), 0)

    def test_reservations_at_once_never_pass_it_together(
        self, place: Place, limits: Limits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever has read the sum takes his time, so that the others could read it too."""
        real = limits_module._read_sum

        def slow(folder: int) -> tuple[int, float]:
            found = real(folder)
            threading.Event().wait(0.005)
            return found

        monkeypatch.setattr(limits_module, "_read_sum", slow)
        stores = [place.store(limits) for _ in range(16)]
        records = [create(stores[0], record_of("ann")) for _ in stores]
        reserved: list[int] = []

        def attempt(store: FilesystemStore, record: SessionRecord) -> None:
            try:
                reserve(store, record, 15)
            except DiskFull:
                return
            reserved.append(15)

        run_at_once(
            *(
                lambda store=store, record=record: attempt(store, record)
                for store, record in zip(stores, records, strict=True)
            )
        )
        assert sum(reserved) == 90


def test_another_user_has_a_quota_of_his_own(place: Place) -> None:
    store = place.store(Limits(quota=150, quota_per_user=100))
    reserve(store, create(store, record_of("ann")), 100)
    with pytest.raises(DiskFull, match="quota is 150"):
        reserve(store, create(store, record_of("bob")), 60)
    reserve(store, create(store, record_of("bob")), 50)
    with pytest.raises(DiskFull):
        reserve(store, create(store, record_of()), 1)


def test_a_refusal_by_one_quota_gives_back_what_the_other_had_reserved(place: Place) -> None:
    store = place.store(Limits(quota=150, quota_per_user=10))
    with pytest.raises(DiskFull, match="quota_per_user"):
        reserve(store, create(store, record_of("ann")), 100)
    reserve(store, create(store, record_of()), 150)


@pytest.mark.parametrize("content", ["", "nonsense", "5", "1 2 3"])
def test_a_sum_that_cannot_be_read_is_counted_anew(place: Place, content: str) -> None:
    store = place.store(Limits(quota=100))
    reserve(store, create(store, record_of()), 60)
    (place.sessions / ".quota" / "all" / "sum").write_text(content)
    with pytest.raises(DiskFull):
        reserve(store, create(store, record_of()), 41)
    reserve(store, create(store, record_of()), 40)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What the disk has left, in blocks of 10 bytes."""
    found = {"blocks": 100}

    class Status:
        f_frsize = 10

        @property
        def f_bavail(self) -> int:
            return found["blocks"]

    monkeypatch.setattr(os, "statvfs", lambda _path: Status())
    return found


def test_a_disk_close_to_full_takes_no_new_session_and_goes_on_with_the_others(
    place: Place, free: dict[str, int]
) -> None:
    store = place.store(Limits(minimum_free_space=1000))
    record = create(store, record_of())
    free["blocks"] = 99
    with pytest.raises(DiskFull, match="990 bytes are free, minimum_free_space is 1000"):
        store.create(record_of())
    with closing(store.open(record.session_id)) as session:
        assert session.append(b"on", 0) == 2
    free["blocks"] = 100
    create(store, record_of())


def test_no_limit_makes_a_session_cost_more_when_there_are_many(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in looks at the disk: no folder is listed, nothing is asked once for each session."""
    limits = Limits(sessions_total=9_999, session_limit=9_999, minimum_free_space=1, quota=1 << 40)
    store = place.store(limits)
    looks: list[str] = []

    def counted(name: str) -> None:
        real = getattr(os, name)

        def look(*arguments: object, **options: object) -> object:
            looks.append(name)
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, look)

    for name in ("stat", "listdir", "scandir", "open", "mkdir", "rmdir", "statvfs", "unlink"):
        counted(name)
    costs = []
    for _ in range(300):
        looks.clear()
        record = create(store, record_of("ann"))
        reserve(store, record, 5)
        costs.append(sorted(looks))
    assert costs[1] == costs[-1]
    assert not {"listdir", "scandir"} & set(costs[-1])
