"""A lease is one machine's, until it is given back or its holder is silent for long."""

import json
import threading
import time
from pathlib import Path

import pytest
from stores import BUCKET, Store

from pipeline.core.errors import UserError
from pipeline.core.locks import Busy
from pipeline.storage import lease
from pipeline.storage.lease import leased
from pipeline.storage.remote import ObjectFolder, Unreachable

RUN = ObjectFolder(f"s3://{BUCKET}/runs/abc")
ELSEWHERE = {"pid": 7, "host": "other", "since": 0.0, "token": "t", "beat": 0, "free": False}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.1)
    monkeypatch.setattr(lease, "LAPSE_S", 1.0)
    monkeypatch.setattr(lease, "POLL_S", 0.05)


def held_elsewhere(store: Store, **changes: object) -> None:
    """Leave the lease of a machine that does not renew it."""
    store.write("runs/abc/lease/000007.json", json.dumps({**ELSEWHERE, **changes}).encode())


def test_who_comes_second_is_told_and_comes_third_when_it_is_free(
    store: Store, tmp_path: Path
) -> None:
    with leased(RUN, tmp_path / "a", "v seed 1"):
        with (
            pytest.raises(Busy, match=r"^v seed 1 is being done by process \d+ on .+ since "),
            leased(RUN, tmp_path / "b", "v seed 1", wait=False),
        ):
            pass
        (name,) = store.names("runs/abc/lease")
        assert set(json.loads(store.read(name))) == ELSEWHERE.keys(), "and no command line"
    with leased(RUN, tmp_path / "b", "v seed 1", wait=False):
        assert store.names("runs/abc/lease") == ["runs/abc/lease/000002.json"]


def test_a_holder_that_lives_is_waited_for_however_long(store: Store, tmp_path: Path) -> None:
    said: list[str] = []
    order: list[str] = []

    def second() -> None:
        with leased(RUN, tmp_path / "b", "v", say=said.append):
            order.append("second")

    waiting = threading.Thread(target=second)
    with leased(RUN, tmp_path / "a", "v"):
        waiting.start()
        time.sleep(2.5)  # two and a half lapses
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]
    assert len(said) == 1 and said[0].endswith("; waiting for it")


def test_a_silent_holder_is_followed_by_one_alone(store: Store, tmp_path: Path) -> None:
    held_elsewhere(store)
    inside: list[int] = []
    most: list[int] = []

    def take(number: int) -> None:
        with leased(RUN, tmp_path / str(number), "v", say=lambda _: None):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.3)
            inside.remove(number)

    begun = time.monotonic()
    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == [1, 1, 1, 1], "never two at once"
    assert time.monotonic() - begun > 1.0, "a holder is given time"


def test_a_killed_process_of_this_machine_is_followed_at_once(store: Store, tmp_path: Path) -> None:
    held_elsewhere(store, token="mine")
    (tmp_path / "note").write_text("mine")
    with leased(RUN, tmp_path / "note", "v", wait=False):
        assert store.names("runs/abc/lease") == ["runs/abc/lease/000008.json"]


def test_a_lease_that_says_nothing_lapses_too(store: Store, tmp_path: Path) -> None:
    store.write("runs/abc/lease/000007.json", b"{")
    with leased(RUN, tmp_path / "note", "v", say=lambda _: None):
        pass


def test_a_store_that_overwrites_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ObjectFolder, "create", lambda self, name, data: self.write(name, data) is None
    )
    with pytest.raises(UserError, match="conditional writes"), leased(RUN, tmp_path / "n", "v"):
        pass


def test_a_bucket_that_goes_meanwhile_ends_nothing(store: Store, tmp_path: Path) -> None:
    with leased(RUN, tmp_path / "note", "v"):
        store.remove_bucket()
        time.sleep(0.3)
    with pytest.raises(Unreachable), leased(RUN, tmp_path / "note", "v"):
        pass
