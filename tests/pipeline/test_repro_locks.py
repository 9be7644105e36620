"""`make repro` around DVC: what a kill left in DVC's files is mended, and who is at work is waited
for.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers import PROJECT

from pipeline.core.errors import UserError
from pipeline.project.dvclock import free_stages, keep_lock_file, mend_lock_file

LOCK = (PROJECT / "dvc.lock").read_bytes()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_bytes(LOCK)
    keep_lock_file(tmp_path)
    return tmp_path


@pytest.mark.parametrize("bytes_left", [0, 1, 40, 1000, len(LOCK) // 2, len(LOCK) - 1])
def test_a_lock_file_that_was_cut_off_is_what_it_was(
    project: Path, bytes_left: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "dvc.lock").write_bytes(LOCK[:bytes_left])
    mend_lock_file(project)
    assert (
        project / "dvc.lock"
    ).read_bytes() == LOCK and "dvc.lock was damaged" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"[]", b"stages: {a: 1}\nschema: '2.0'", b"<<<<<<< HEAD\n", b"a: [" * 9],
)
def test_a_damaged_lock_file_without_a_copy_is_named_with_what_helps(
    project: Path, content: bytes
) -> None:
    (project / "runs" / "dvc.lock").unlink()
    (project / "dvc.lock").write_bytes(content)
    with pytest.raises(
        UserError, match=r"^dvc\.lock is damaged \(.*\); restore it \(git checkout dvc\.lock\), or"
    ):
        mend_lock_file(project)


def test_a_lock_file_that_somebody_changed_stays(project: Path) -> None:
    changed = LOCK.replace(b"fetch@coco", b"fetch@mine")
    (project / "dvc.lock").write_bytes(changed)
    mend_lock_file(project)
    assert (
        (project / "dvc.lock").read_bytes()
        == changed
        == (project / "runs" / "dvc.lock").read_bytes()
    )


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"write": {"/x": {"pi',
        "[]",
        json.dumps({"write": {"/x": {"pid": 1, "cmd": "repro"}}}),
        json.dumps(
            {
                "read": {
                    "/x": [{"pid": os.getpid(), "cmd": "repro"}, {"pid": 2**22 + 1, "cmd": "repro"}]
                }
            }
        ),
    ],
    ids=[
        "empty",
        "cut off",
        "no mapping",
        "a writer of another program",
        "readers of other programs",
    ],
)
def test_a_lock_of_nobody_is_removed(
    project: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cut off, or naming a number that another program has by now: DVC would be busy for ever."""
    rwlock = project / ".dvc/tmp/rwlock"
    rwlock.write_text(content)
    free_stages(project)
    assert not rwlock.exists() and "left by a dvc that is gone" in capsys.readouterr().out


@pytest.mark.parametrize("readable", [True, False])
def test_a_dvc_at_work_is_waited_for(
    project: Path, readable: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    script = project / "dvc"
    script.write_text("import sys; print('up', flush=True); sys.stdin.read()")
    at_work = subprocess.Popen(
        [sys.executable, str(script), "repro"],
        cwd=project,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert at_work.stdout is not None and at_work.stdin is not None and at_work.stdout.readline()
    entry = json.dumps({"write": {"/x": {"pid": at_work.pid, "cmd": "repro"}}})
    rwlock = project / ".dvc/tmp/rwlock"
    rwlock.write_text(entry if readable else entry[:20])
    ended = threading.Timer(1, at_work.stdin.close)
    ended.start()
    free_stages(project)
    assert at_work.wait(10) == 0 and not rwlock.exists()
    assert f"dvc is at work here, process {at_work.pid} since" in capsys.readouterr().out
