"""A run in a store: whichever machine goes on with it, and whatever befell store and machines, it
ends bit for bit as one that nothing befell.
"""

import json
import os
import pickle
import subprocess
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers import PROJECT
from ranks import train, train_on
from safetensors.torch import load_file
from stores import BUCKET, SECRET, Store, machine, serving

from pipeline.core import failpoints
from pipeline.core.errors import Unreadable
from pipeline.core.files import sha256_file
from pipeline.params import Params
from pipeline.project.call import Call, Folders
from pipeline.runs import checkpoint
from pipeline.runs import stored as stored_module
from pipeline.runs.adopt import adopt
from pipeline.runs.make import make_runs
from pipeline.runs.run import Run, upload_finished
from pipeline.runs.stored import StoredRun
from pipeline.runs.uploads import fetch_chosen, uploads_of
from pipeline.storage.remote import ObjectFolder
from pipeline.tasks.classify.recipe import Classify

CPU = torch.device("cpu")
URL = f"s3://{BUCKET}/runs"
SECTION = yaml.safe_load("""
recipe:
  duration: {steps: 12}
  image_size: 32
  eval_resize: 32
  micro_batch: 8
  micro_batches: 2
  optimizer: {lr: 0.002, lr_batch: null}
  schedule: {warmup: {steps: 3}}
  augment: {rand_augment: null, color_jitter: 0.0, erasing: 0.0}
  evaluate_every: {steps: 4}
  checkpoint_every: {steps: 3}
variants: {v: {mixer: dwnet, size: micro, drop_path_rate: 0.2}}
""")
TRAIN = """
import pickle, sys, torch
from pipeline.loading.micro_batches import Ranks
from pipeline.training.loop import evaluations
torch.set_num_threads(1)
run = pickle.load(open(sys.argv[1], "rb"))
for _ in evaluations(run, Ranks(), torch.device("cpu"), lambda model: model):
    pass
"""
Report = Callable[[dict[str, Any]], None]


def faults(*values: Any) -> Any:
    """Return a row of parameters for the long version."""
    return pytest.param(*values, marks=pytest.mark.faults)


class Stop(Exception):
    """Stands for a machine that goes away."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    stored_module._print_once.cache_clear()
    machine(monkeypatch, tmp_path / "home")
    with serving(monkeypatch) as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(small_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run in a folder, that nothing befell."""
    folder = tmp_path_factory.mktemp("whole") / "id"
    section = Classify.model_validate(SECTION)
    run = Run("id", "classify", "v", 1, section, small_shards, folder)
    finish(run)
    return run


def in_store(shards: Path) -> Run:
    """Return the same run, kept in the store."""
    section, stored = Classify.model_validate(SECTION), StoredRun(URL, "id")
    return Run("id", "classify", "v", 1, section, shards, stored.folder(), stored=stored)


def finish(run: Run, report: Report = lambda row: None) -> None:
    train(run, report)


def until(run: Run, step: int) -> None:
    """Train until the evaluation of a step; what was saved before has gone up."""

    def stop(row: dict[str, Any]) -> None:
        if row["step"] == step:
            raise Stop

    with pytest.raises(Stop):
        finish(run, stop)


def killed(run: Run, fault: str, folder: Path) -> None:
    """Train in a process of its own, which is killed at a named point."""
    (folder / "run").write_bytes(pickle.dumps(run))
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(folder / "run")],
        cwd=PROJECT,
        env={**os.environ, failpoints.VARIABLE: fault},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9, done.stderr[-2000:]


def same(run: Run, other: Run) -> None:
    """Check that two runs ended bit for bit the same."""
    records = [one.here().finished() for one in (run, other)]
    assert records[0] is not None and records[1] is not None
    for name in ("last", "best"):
        mine, theirs = (
            load_file(one.here().folder / f"{name}.safetensors") for one in (run, other)
        )
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    curves = [[{**row, "images_per_second": 0} for row in one["history"]] for one in records if one]
    assert curves[0] == curves[1]


def notes(run: Run) -> list[str]:
    """Return the sentences of this machine's log of a run."""
    lines = run.here().progress.read_text().splitlines()
    return [line["note"] for line in map(json.loads, lines) if "note" in line]


def newest(store: Store, part: str) -> str:
    """Return the newest checkpoint's object of a kind."""
    seal = json.loads(store.read(max(store.names("runs/id/checkpoints"))))
    (file,) = (file for name, file in seal["files"].items() if part in name)
    (key,) = (key for key in store.names("runs/id/objects") if file["sha256"][:32] in key)
    return key


# Another machine goes on


def test_another_machine_goes_on_and_a_third_finds_it_finished(
    store: Store,
    small_shards: Path,
    undisturbed: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = in_store(small_shards)
    machine(monkeypatch, tmp_path / "a")
    until(run, 8)
    machine(monkeypatch, tmp_path / "b")
    finish(run)
    assert notes(run) == ["continues at step 6 of 12 on 1 rank"]
    same(run, undisturbed)
    machine(monkeypatch, tmp_path / "c")
    same(run, undisturbed)
    assert not run.here().checkpoints.exists() and not run.here().progress.exists()
    assert store.names("runs/id/checkpoints") == []
    assert len(store.names("runs/id/objects")) == 5, "record, weights, picture, what decides it"


def test_no_object_and_no_file_holds_a_secret(
    store: Store, small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = in_store(small_shards)
    machine(monkeypatch, tmp_path / "a")
    until(run, 8)
    held = [store.read(name) for name in store.names()]
    held += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(held) > 10
    assert not [data for data in held if SECRET.encode() in data or b"canary-id" in data]
    assert SECRET not in repr(run)


@pytest.mark.faults
def test_ranks_on_two_machines_go_on_from_the_same_checkpoint(
    store: Store, small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = in_store(small_shards)
    machine(monkeypatch, tmp_path / "plain")
    train_on(2, replace(run, folder=tmp_path / "plain" / "id", stored=None))
    machine(monkeypatch, tmp_path / "a")
    train_on(2, run, stop_at=8)
    machine(monkeypatch, tmp_path / "b")
    train_on(2, run)
    machine(monkeypatch, tmp_path / "c")
    assert run.here().finished() is not None
    for name in ("last", "best"):
        plain = tmp_path / "plain" / "id" / f"{name}.safetensors"
        assert sha256_file(run.here().folder / f"{name}.safetensors") == sha256_file(plain)


def test_a_rank_elsewhere_follows_rank_0_to_the_very_bytes(
    store: Store, small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = in_store(small_shards)
    machine(monkeypatch, tmp_path / "a")
    until(run, 8)
    mine = run.here()
    chosen = uploads_of(mine, print).ensure_uploaded(mine.checkpoints / "000000006")
    assert chosen is not None
    assert fetch_chosen(mine, chosen) == mine.checkpoints / "000000006"
    machine(monkeypatch, tmp_path / "b")
    other = run.here()
    checkpoint.save(other.checkpoints, 6, {"step": 6, "what": "another attempt"})
    assert checkpoint.digest_of(fetch_chosen(other, chosen)) == chosen.sha256
    assert list(other.folder.glob("best-*"))
    machine(monkeypatch, tmp_path / "c")
    store.remove_bucket()
    with pytest.raises(Unreadable, match=r"^v seed 1: checkpoint 000000006 is not on this machine"):
        fetch_chosen(run.here(), chosen)


# Killed while a checkpoint goes up


@pytest.mark.parametrize(
    ("fault", "start"),
    [
        ("store.unsealed seal=000000006", 3),
        faults("store.upload seal=000000006 file=checkpoints/000000006/state.pt", 3),
        faults("store.sealed seal=6", 6),
        faults("store.unsealed seal=finished.json", 12),
    ],
)
def test_a_kill_while_a_checkpoint_goes_up_leaves_the_newest_whole_one(
    store: Store,
    small_shards: Path,
    undisturbed: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    start: int,
) -> None:
    run = in_store(small_shards)
    machine(monkeypatch, tmp_path / "a")
    killed(run, fault, tmp_path)
    machine(monkeypatch, tmp_path / "b")
    finish(run)
    assert notes(run) == [f"continues at step {start} of 12 on 1 rank"]
    same(run, undisturbed)
    machine(monkeypatch, tmp_path / "c")
    same(run, undisturbed)


def test_the_machine_that_was_killed_goes_on_from_what_it_has(
    store: Store,
    small_shards: Path,
    undisturbed: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = in_store(small_shards)
    machine(monkeypatch, tmp_path / "a")
    killed(run, "store.unsealed seal=000000006", tmp_path)
    until(run, 8)
    assert notes(run)[1].split()[3] in ("6", "9", "12")
    assert max(store.names("runs/id/checkpoints")) > "runs/id/checkpoints/000000006"
    machine(monkeypatch, tmp_path / "b")
    finish(run)
    same(run, undisturbed)


# Damage in the store


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("state.pt", "cut"),
        faults("state.pt", "flip"),
        faults("state.pt", "gone"),
        faults("best", "cut"),
        ("best", "flip"),
        faults("best", "gone"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    store: Store,
    small_shards: Path,
    undisturbed: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    how: str,
) -> None:
    run = in_store(small_shards)
    machine(monkeypatch, tmp_path / "a")
    until(run, 8)
    store.harm(newest(store, what), how)
    machine(monkeypatch, tmp_path / "b")
    finish(run)
    said = notes(run)
    assert len(said) == 2 and said[1] == "continues at step 3 of 12 on 1 rank"
    assert said[0].startswith(f"checkpoint 000000006 in {URL}/id is damaged (")
    same(run, undisturbed)
    machine(monkeypatch, tmp_path / "c")
    same(run, undisturbed)


def test_a_damaged_finished_run_is_named_and_trained_again(
    store: Store,
    small_shards: Path,
    undisturbed: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = in_store(small_shards)
    machine(monkeypatch, tmp_path / "a")
    finish(run)
    (weights,) = [name for name in store.names("runs/id/objects") if "last" in name]
    store.harm(weights, "flip")
    machine(monkeypatch, tmp_path / "b")
    finish(run)
    assert capsys.readouterr().err == (
        f"{URL}/id is damaged (the digest of last.safetensors differs from its seal); it counts "
        "as unfinished\n"
    )
    machine(monkeypatch, tmp_path / "c")
    same(run, undisturbed)


# The bucket is gone


def test_a_bucket_that_goes_stops_nothing_and_is_said_once(
    store: Store,
    small_shards: Path,
    undisturbed: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = in_store(small_shards)
    machine(monkeypatch, tmp_path / "a")

    def go(row: dict[str, Any]) -> None:
        if row["step"] == 4:
            store.remove_bucket()

    finish(run, go)
    same(run, undisturbed)
    _, lost, end = notes(run)
    assert lost.startswith("checkpoint 000000006 did not reach s3://bucket/runs/id (there is no ")
    assert end.startswith("s3://bucket/runs/id: there is no such bucket; the finished run is on ")
    store.client.create_bucket(Bucket=BUCKET)
    upload_finished([run.here()])
    machine(monkeypatch, tmp_path / "b")
    same(run, undisturbed)


def test_a_killed_run_goes_on_without_the_bucket_where_it_was(
    store: Store,
    small_shards: Path,
    undisturbed: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = in_store(small_shards)
    machine(monkeypatch, tmp_path / "a")
    until(run, 8)
    store.remove_bucket()
    with run.here().exclusive():
        finish(run)
    gone = f"{URL}/id: there is no such bucket; "
    assert capsys.readouterr().err == f"{gone}going on with what is on this machine\n"
    same(run, undisturbed)
    machine(monkeypatch, tmp_path / "b")
    for refused in (lambda: finish(run), lambda: run.here().exclusive().__enter__()):
        with pytest.raises(Unreadable, match=f"^{gone}nothing of the run is on this machine"):
            refused()


# Where it is kept, and what it is


def test_a_run_in_a_store_lies_in_a_folder_of_its_machine(
    small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, tmp_path)
    params = Params.model_validate({"cluster": {"storage": f"{URL}/"}})
    call = Call(Namespace(set=[]), params, tmp_path, Folders(tmp_path))
    section = Classify.model_validate(SECTION)
    for variant in ("pipeline", "models"):
        (tmp_path / variant).symlink_to(PROJECT / variant)
    (run,) = make_runs(call, "classify", section, "v", (1,), small_shards)
    assert run.stored == StoredRun(URL, run.id) and run.here().folder == run.folder
    assert run.folder.is_relative_to(tmp_path / "demystify-local-attention" / "runs")
    machine(monkeypatch, tmp_path / "other")
    assert run.here().folder.is_relative_to(tmp_path / "other")


def test_mended_code_adopts_a_run_from_the_store(
    store: Store, small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = replace(in_store(small_shards), decides={"seed": 1, "code": {"loop.py": "1"}})
    machine(monkeypatch, tmp_path / "a")
    until(old, 8)
    machine(monkeypatch, tmp_path / "b")
    new = replace(old, id="new", stored=StoredRun(URL, "new"))
    new = replace(new, decides={"seed": 1, "code": {"loop.py": "2"}}).here()
    adopt("id", [new])
    adopt("id", [new])  # once
    machine(monkeypatch, tmp_path / "c")
    finish(new)
    assert notes(new) == ["continues at step 6 of 12 on 1 rank"]
    record = new.here().finished()
    assert record is not None
    assert record["adopted"] == {"from": "id", "changed_code": ["loop.py"]}


# Never on a step's way


def test_steps_do_not_wait_for_an_upload(
    store: Store,
    small_shards: Path,
    undisturbed: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = in_store(small_shards)
    machine(monkeypatch, tmp_path / "a")
    asked, allowed, upload = [], threading.Event(), ObjectFolder.upload

    def slow(self: ObjectFolder, file: Path, name: str) -> None:
        asked.append(name)
        assert allowed.wait(60)
        upload(self, file, name)

    def let(row: dict[str, Any]) -> None:
        if row["step"] == 12:
            assert len(asked) == 1, "the first file of the first checkpoint still goes up"
            allowed.set()

    monkeypatch.setattr(ObjectFolder, "upload", slow)
    finish(run, let)
    assert not (run.here().folder / "outbox").exists()
    same(run, undisturbed)
