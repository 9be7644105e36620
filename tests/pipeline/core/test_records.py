"""Files of the project's own that hold something else count as missing and are named, and no
command breaks.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import PROJECT, SEALED, finished_record

from pipeline.core import records
from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.runs.run import Run, mlflow_run_of
from pipeline.search.journal import Journal
from pipeline.tasks.classify.recipe import Classify

SECONDS, MEGABYTES = 5, 1000
FOREIGN = [
    b"",
    b"\xef\xbb\xbf{}",
    b"[]",
    b"7",
    b"null",
    b"{",
    b"\xff\xfe{\0",
    b'"text"',
    b"[" * 100_000,
    b'{"run_id": NaN}',
    b"{}",
]


def sealed(folder: Path, **changes: Any) -> Run:
    run = Run("a", "classify", "v", 0, Classify(), folder, folder / "a")
    for name in SEALED:
        (run.folder / name).parent.mkdir(exist_ok=True)
        (run.folder / name).write_bytes(b"weights")
    run.finish(finished_record(**changes), list(SEALED))
    return run


@pytest.mark.parametrize("content", FOREIGN)
def test_json_of_another_kind_counts_as_missing(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    run = sealed(tmp_path)
    names = ("finished.json", "adopted.json", "mlflow/classify.note.json")
    (run.folder / "mlflow").mkdir()
    assert run.finished() is not None
    Journal(tmp_path, "x").write(run, "stopped", [{"run_id": "a", "step": 5, "epoch": 1.0}], {})
    entry = Journal(tmp_path, "x").folder / "a.json"
    for path in (*(run.folder / name for name in names), entry):
        path.write_bytes(content)
    assert run.finished() is None and run.adopted() is None and mlflow_run_of(run) is None
    assert Journal(tmp_path, "x").ending(run) is None
    said = capsys.readouterr().err
    assert (
        all(f"{run.folder / name} is not as it was written" in said for name in names)
        and str(entry) in said
    )


WRONG: list[dict[str, Any]] = [
    {"run_id": "b"},
    {"seed": 1},
    {"final": {}},
    {"final": {"top1": "40"}},
    {"best": None},
    {"history": []},
    {"history": [{"step": 5, "epoch": 1.0}]},
    {"history": [{"step": "5", "epoch": 1.0, "top1": 1.0}]},
    {"history": [[]]},
    {"parameters": True},
    {"wall_time_s": "long"},
    {"world_size": 0},
    {"adopted": []},
    {"per_class": {"n01": 5}},
]


@pytest.mark.parametrize("changes", WRONG)
def test_a_wrong_value_deep_inside_counts_as_missing(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert sealed(tmp_path, **changes).finished() is None


@pytest.mark.parametrize(
    "files", [{}, {"last.safetensors": "0"}, {"../../x": "0"}, {"/dev/zero": "0"}]
)
def test_files_that_a_run_does_not_leave_are_not_read(
    tmp_path: Path, files: dict[str, str]
) -> None:
    run = sealed(tmp_path)
    record = json.loads((run.folder / "finished.json").read_text())
    write_json(
        run.folder / "finished.json",
        {**record, "files": {**record["files"], **files} if files else files},
    )
    assert run.finished() is None


def test_a_folder_in_the_place_of_a_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note.json").mkdir()
    assert records.read(tmp_path / "note.json", records.Noted) is None
    assert "note.json is not as it was written (Is a directory)" in capsys.readouterr().err
    with pytest.raises(
        UserError, match="is a folder where a file of the project belongs; move it away"
    ):
        write_json(tmp_path / "note.json", {})


@pytest.mark.parametrize("count", [120, pytest.param(3000, marks=pytest.mark.faults)])
def test_garbled_params_and_records_end_in_sentences(count: int) -> None:
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("fuzz.py")), "0", str(count)],
        cwd=PROJECT,
        env={"PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout)
    assert not found["failures"], "\n".join(
        f"mutation {number}: {trace}" for number, trace in found["failures"][:3]
    )
    assert sum(found["outcomes"].values()) == count
    assert all(found["outcomes"][kind] > count / 10 for kind in ("passed", "UserError"))
    seconds, number = found["slowest"]
    assert seconds < SECONDS, f"mutation {number} took {seconds} s"
    assert found["rss_mb"] < MEGABYTES
