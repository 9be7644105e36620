"""What a search remembers: how each trial ended, whatever happened in between."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import SEALED, finished_record

from pipeline.runs.run import Run
from pipeline.search.journal import Journal
from pipeline.tasks.classify.recipe import Classify

ROWS = [{"run_id": "a", "step": 5, "epoch": 1.0, "top1": 40.0}]


def run(storage: Path, name: str) -> Run:
    folder = storage / name
    folder.mkdir(parents=True, exist_ok=True)
    return Run(name, "classify", "v", 0, Classify(), storage, folder)


def finish(one: Run) -> None:
    for name in SEALED:
        (one.folder / name).write_bytes(b"weights")
    history = [{key: value for key, value in row.items() if key != "run_id"} for row in ROWS]
    one.finish(finished_record(one.id, history=history, parameters=7), list(SEALED))


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_an_ending_is_there_in_the_next_command(tmp_path: Path, state: Any) -> None:
    Journal(tmp_path, "x").write(run(tmp_path, "a"), state, ROWS, {"macs": 3}, "why")
    ending = Journal(tmp_path, "x").ending(run(tmp_path, "a"))
    assert ending is not None
    assert (ending.state, ending.rows, ending.costs, ending.error) == (
        state,
        ROWS,
        {"macs": 3},
        "why",
    )
    assert Journal(tmp_path, "another search").ending(run(tmp_path, "a")) is None


def test_what_is_finished_is_so_by_its_own_record_alone(tmp_path: Path) -> None:
    book, one = Journal(tmp_path, "x"), run(tmp_path, "a")
    finish(one)
    assert (ending := book.ending(one)) is not None and (ending.state, ending.rows) == (
        "finished",
        ROWS,
    )
    book.write(one, "finished", ROWS, {"macs": 3})
    assert (ending := book.ending(one)) is not None and ending.costs == {
        "macs": 3,
        "parameters": 7,
    }
    (one.folder / "last.safetensors").write_bytes(b"damaged")
    assert Journal(tmp_path, "x").ending(one) is None  # trained again


def test_only_failures_are_tried_again(tmp_path: Path) -> None:
    runs = {state: run(tmp_path, state) for state in ("finished", "stopped", "failed")}
    finish(runs["finished"])
    states: tuple[Any, ...] = ("stopped", "failed")
    for state in states:
        Journal(tmp_path, "x").write(runs[state], state, ROWS, {})
    book = Journal(tmp_path, "x")
    book.forget_failures()
    for again in (book, Journal(tmp_path, "x")):
        assert {state for state in runs if again.ending(runs[state]) is None} == {"failed"}


def test_endings_keep_their_order(tmp_path: Path) -> None:
    for name in ("c", "a", "b"):
        Journal(tmp_path, "x").write(run(tmp_path, name), "stopped", ROWS, {})
    endings = [
        ending for name in "abc" if (ending := Journal(tmp_path, "x").ending(run(tmp_path, name)))
    ]
    assert "".join(one.run_id for one in sorted(endings, key=lambda one: one.order)) == "cab"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", json.dumps({"run_id": "a", "state": "stopped", "new": 1}).encode()],
)
def test_a_damaged_entry_is_as_none(tmp_path: Path, content: bytes) -> None:
    book = Journal(tmp_path, "x")
    book.write(run(tmp_path, "a"), "stopped", ROWS, {})
    (book.folder / "a.json").write_bytes(content)
    assert Journal(tmp_path, "x").ending(run(tmp_path, "a")) is None
