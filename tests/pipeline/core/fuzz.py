"""Mutates params files and the project's own JSON files; looks for anything but success or a
sentence.

`PYTHONPATH=.:tests python tests/pipeline/core/fuzz.py FIRST COUNT`: mutation number n is a function of n
alone. Prints one JSON object.
"""

import contextlib
import io
import json
import re
import sys
import tempfile
import time
import traceback
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from helpers import ONE_WEIGHT, PROJECT, SEALED, finished_record, write_shards

from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.datasets.inventory import request
from pipeline.params import load
from pipeline.planning.data import amount_of
from pipeline.planning.speed import Speeds
from pipeline.planning.work import training_of
from pipeline.project.call import Call, Folders
from pipeline.report.results import read_results
from pipeline.runs.adopt import adopt
from pipeline.runs.make import make_runs
from pipeline.runs.publish import publish
from pipeline.runs.run import Run, mlflow_run_of
from pipeline.search.journal import Journal
from pipeline.shards import Manifest, verify
from pipeline.tracking.entry import Entry, digest_of
from pipeline.tracking.seeds import entry_of

LONGEST = 6000
ODD_TEXT = (
    ".inf",
    ".nan",
    "1:30",
    "1e-4",
    "yes",
    "~",
    "null",
    "[]",
    "{}",
    "[[[[]]]]",
    "*a",
    "&a [*a]",
    "!!binary aGk=",
    "'",
    "2012-01-02",
    "0x10",
    "1" + "0" * 400,
    "1" + "0" * 5000,
    "-1",
    "1.5",
    "true",
    "a: b",
    "x" * 50_000,
    "${key}",
    "\\0",
    '"\\0\\ud800"',
    "!!python/name:os.system",
    "<<",
    "? a",
    "- a",
    "|\n  x",
    "https://me:pass@x.org/?a",
    "..",
    "''",
)
ODD_BYTES = (
    b"[" * 20_000,
    b"{a: " * 500,
    b"\xff\xfe",
    b"caf\xe9",
    b"\0",
    b"\xef\xbb\xbf",
    b"\t",
    b"\r",
    b"\xe2\x80\xa8",
    b"---\n",
    b"9" * 5000,
    b"1e999",
    b"NaN",
    b'{"a":' * 2000,
)
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    0.5,
    1e308,
    10**30,
    2**63,
    "text",
    "",
    "\ud800",
    "../../x",
    "/etc/passwd",
    "a\0b",
    [],
    {},
    [[]],
    [1] * 5,
    float("nan"),
    float("inf"),
    {"a": {"b": []}},
    "x" * 50_000,
    [{}],
    10**5000,
)


def spoilt_bytes(data: bytes, random: Random) -> bytes:
    """Flip bits, cut, move a piece, or put in what does not belong there."""
    kind, at = random.randrange(4), random.randrange(len(data))
    if kind == 0:
        return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at]
    piece = data[(begin := random.randrange(len(data))) : begin + random.randrange(1, 200)]
    return data[:at] + (piece if kind == 2 else random.choice(ODD_BYTES)) + data[at:]


def spoilt_yaml(data: bytes, random: Random) -> bytes:
    """Put something odd in place of a value or a key, double a line, or shift it."""
    lines = data.decode(errors="surrogateescape").splitlines() or [""]
    at, kind = random.randrange(len(lines)), random.randrange(5)
    words = list(re.finditer(r"[\w.]+", lines[at]))
    if kind < 3 and words:
        word = random.choice(words)
        lines[at] = lines[at][: word.start()] + random.choice(ODD_TEXT) + lines[at][word.end() :]
    elif kind == 3:
        lines.insert(random.randrange(len(lines)), lines[at])
    else:
        lines[at] = " " * random.randrange(8) + lines[at].strip()
    return "\n".join(lines).encode(errors="surrogateescape")


def spoilt_json(data: bytes, random: Random) -> bytes:
    """Delete, replace, rename or double a value somewhere in the tree, or replace all of it."""
    tree = [json.loads(data)]
    node, key = random.choice(_places(tree))
    kind = random.randrange(5)
    if kind == 0 and node is not tree:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[random.choice(("", "x", "step", "\ud800", "../x"))] = node.pop(key)
    elif kind == 2 and isinstance(node, list) and node is not tree:
        node.append(node[key])
    else:
        node[key] = random.choice(ODD)
    with _long_numbers():
        return json.dumps(tree[0] if tree else None).encode()


@contextlib.contextmanager
def _long_numbers() -> Any:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    keys = (
        list(tree)
        if isinstance(tree, dict)
        else list(range(min(len(tree), 3)))
        if isinstance(tree, list)
        else []
    )
    return [(tree, key) for key in keys] + [place for key in keys for place in _places(tree[key])]


class Place:
    """A project with shards, a finished run, what was noted of it, and results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("pipeline", "models"):
            (folder / name).symlink_to(PROJECT / name)
        params = load(PROJECT / "params.yaml")
        self.call = Call(
            Namespace(params="p.yaml", set=[], out=None), params, folder, Folders(folder)
        )
        shards = write_shards(folder / "data/shards/imagenet", [5, 3])
        split = {"samples": 8, "bytes": 800}
        inventory = {
            "request": request("imagenet", params),
            "digest": "d",
            "splits": {"train": split, "val": split},
        }
        write_json(folder / "data/raw/imagenet.json", inventory)
        self.runs = make_runs(self.call, "classify", params.classify, "dwnet_micro", (0,), shards)
        (run,) = self.runs
        for name in SEALED:
            (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (run.folder / name).write_bytes(ONE_WEIGHT)
        write_json(
            run.folder / "adopted.json",
            {"from": "0" * 16, "changed_code": ["pipeline/training/loop.py"]},
        )
        run.finish(finished_record(run.id, adopted=run.adopted()), list(SEALED))
        self.entry = entry_of(run)
        self._note(run)
        write_json(run.folder / "decides.json", run.decides)
        self.book = Journal(folder / "runs", "x")
        rows = [{"run_id": run.id, "step": 5, "epoch": 1.0, "top1": 40.0}]
        self.book.write(run, "stopped", rows, {"macs": 3})
        publish(self.call, self.runs)
        profile = {
            "variant": "dwnet_micro",
            "mixer": "dwnet",
            "size": "micro",
            "model": "dwnet_micro",
            "overrides": {},
            "macs": 1e6,
            "parameters": 7,
            "train_images_per_second": 9.0,
            "inference_images_per_second": 9.0,
            "macs_rule": "a multiply-add",
            "batch_size": 4,
            "warmup": 1,
            "timed": 1,
            "precision": "fp32",
            "layout": "channels_last",
            "device": "cpu",
            "threads": 2,
            "image_size": 64,
        }
        write_json(folder / "results/profile/dwnet_micro/profile.json", profile)

    def _note(self, run: Run) -> None:
        """Say that MLflow has the run."""
        place = {"store": "project", "run_id": run.id}
        about = {"experiment": "classify", "name": "v", "status": "FINISHED"}
        entry = Entry.model_validate({**place, **about, "tags": {}, "params": {}})
        self.entry.write(entry)
        write_json(self.entry.note_path, {**place, "offset": 0, "entry": digest_of(entry)})

    def files(self) -> dict[Path, Callable[[], object]]:
        """Return the project's own files, each with what reads it."""
        (run,), folder = self.runs, self.folder
        return {
            run.folder / "finished.json": lambda: publish(self.call, self.runs),
            run.folder / "adopted.json": run.adopted,
            self.entry.note_path: lambda: self.entry.settled() and mlflow_run_of(run),
            self.entry.path: self.entry.settled,
            run.folder / "decides.json": lambda: self._adopt(run),
            self.book.folder / f"{run.id}.json": lambda: self._ending(run),
            folder / "data/raw/imagenet.json": lambda: (
                self.call.shards("imagenet"),
                amount_of(self.call, "imagenet"),
            ),
            folder / "data/shards/imagenet/manifest.json": self._manifest,
            folder / "results/classify/dwnet_micro/metrics.json": self._plan,
            folder / "results/profile/dwnet_micro/profile.json": self._plan,
        }

    def _adopt(self, run: Run) -> None:
        run.checkpoints.mkdir(exist_ok=True)
        try:
            adopt(run.id, self.runs)
        finally:
            run.checkpoints.rmdir()

    def _ending(self, run: Run) -> None:
        ending = Journal(self.folder / "runs", "x").ending(run)
        assert ending is not None and ending.rows[-1]["step"] >= 0

    def _manifest(self) -> None:
        shards = self.call.shards("imagenet")
        Manifest.load(shards)
        verify(shards)

    def _plan(self) -> None:
        Speeds(self.call).of(training_of(self.call.params, "classify", "dwnet_micro"))
        read_results(self.call)


def run_own_file(place: Place, random: Random) -> None:
    """Spoil one of the project's files, have it read, and put it back."""
    path, reads = random.choice(list(place.files().items()))
    sound = path.read_bytes()
    try:
        if random.random() < 0.02:
            path.unlink()
            path.mkdir()
        else:
            path.write_bytes(random.choice((spoilt_bytes, spoilt_json, spoilt_json))(sound, random))
        reads()
    finally:
        if path.is_dir():
            path.rmdir()
        path.write_bytes(sound)


def run_params(folder: Path, random: Random) -> None:
    """Spoil a params file, and load it."""
    source = PROJECT / random.choice(("params.yaml", "params/paper.yaml", "params/real.yaml"))
    data = source.read_bytes()
    for _ in range(random.choice((1, 1, 2, 5))):
        data = random.choice((spoilt_bytes, spoilt_yaml, spoilt_yaml))(data, random) or b"\n"
    (folder / "spoilt.yaml").write_bytes(data)
    names = (
        "data.imagenet.source",
        "classify.recipe.optimizer.lr",
        "tune.space",
        "cluster.shards",
        "a.b",
    )
    changes = [f"{random.choice(names)}={random.choice(ODD_TEXT)}"] if random.random() < 0.2 else []
    load(folder / "spoilt.yaml", changes)


def main() -> None:
    first, count = map(int, sys.argv[1:])
    outcomes: Counter[str] = Counter()
    failures: list[tuple[int, str]] = []
    slowest = (0.0, -1)
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        place = Place(Path(scratch))
        for number in range(first, first + count):
            random, begin = Random(number), time.process_time()
            try:
                if number % 2:
                    run_params(Path(scratch), random)
                else:
                    run_own_file(place, random)
                outcomes["passed"] += 1
            except UserError as error:
                outcomes["UserError"] += 1
                if len(str(error)) > LONGEST or "pass@" in str(error):
                    failures.append(
                        (number, f"a sentence of {len(str(error))} letters: {str(error)[:300]}")
                    )
            except BaseException:
                failures.append((number, traceback.format_exc()))
            slowest = max(slowest, (time.process_time() - begin, number))
    peak = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    result = {
        "outcomes": outcomes,
        "failures": failures,
        "slowest": slowest,
        "rss_mb": int(peak.split()[1]) / 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
