"""What is published appears whole or not at all, wherever its writer is killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PROJECT

from models.aggregate.native import library
from pipeline.core import failpoints
from pipeline.core.csv import csv_text
from pipeline.core.errors import UserError
from pipeline.core.files import user_cache, whole_folder, write_json, write_text
from pipeline.core.pixels import native

WRITE = """
import sys
from pathlib import Path
from pipeline.core.files import whole_folder, write_text
with whole_folder(Path(sys.argv[1]) / "made") as folder:
    write_text(folder / "a", "new")
    write_text(folder / "b", "new")
"""


def killed_at(point: str, folder: Path) -> None:
    environment = {**os.environ, failpoints.VARIABLE: point}
    done = subprocess.run([sys.executable, "-c", WRITE, str(folder)], cwd=PROJECT, env=environment)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("point", ["file.written name=a", "file.written name=b", "folder.moved"])
def test_a_killed_writer_leaves_the_old_or_nothing(tmp_path: Path, point: str) -> None:
    killed_at(point, tmp_path)
    assert not (tmp_path / "made").exists()
    with whole_folder(tmp_path / "made") as folder:
        write_text(folder / "a", "old")
    killed_at(point, tmp_path)
    made = tmp_path / "made"
    assert not made.exists() or [path.name for path in made.iterdir()] == ["a"]
    with pytest.raises(ValueError, match="stop"), whole_folder(made):
        raise ValueError("stop")
    assert (made / "a").read_text() == "old", "what was moved aside is put back"
    assert [path.name for path in tmp_path.iterdir()] == ["made"], (
        "what the killed ones left is cleared away"
    )


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    code = (
        "import sys, pathlib, pipeline.core.files; "
        "pipeline.core.files.write_text(pathlib.Path(sys.argv[1]), 'new')"
    )
    for fault, left in (("file.written name=a", "old"), ("nowhere", "new")):
        environment = {**os.environ, failpoints.VARIABLE: fault}
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "a")], cwd=PROJECT, env=environment
        )
        assert (tmp_path / "a").read_text() == left


def test_a_fault_happens_where_and_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "met"
    monkeypatch.setenv(failpoints.VARIABLE, f"here step=3 do=fail once={marker}; there do=fail")
    failpoints.reach("here", step=2)
    failpoints.reach("elsewhere", step=3)
    with pytest.raises(OSError, match="fault at here"):
        failpoints.reach("here", step=3)
    assert int(marker.read_text()) == os.getpid()
    failpoints.reach("here", step=3)
    with pytest.raises(OSError, match="fault at there"):
        failpoints.reach("there")


def test_what_is_not_finite_is_null_in_json_and_empty_in_csv(tmp_path: Path) -> None:
    nan, infinity = float("nan"), float("inf")
    write_json(
        tmp_path / "a.json", {"a": [1.5, nan, (infinity, {"b": -infinity})], "c": None, "d": "NaN"}
    )
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "a": [1.5, None, [None, {"b": None}]],
        "c": None,
        "d": "NaN",
    }
    rows: list[dict[str, object]] = [{"x": nan, "y": 2}, {"y": infinity}, {"x": None, "y": "a,b"}]
    assert csv_text(["x", "y"], rows) == 'x,y\n,2\n,\n,"a,b"\n'


FILL = """
import sys
from pathlib import Path
from pipeline.project import cli
from pipeline.core.files import whole_folder, write_bytes
folder = Path(sys.argv[1])
def run():
    write_bytes(folder / "kept", b"old")
    if sys.argv[2] == "file":
        write_bytes(folder / "kept", bytes(10**6))
    with whole_folder(folder / "report") as made:
        (made / "picture.png").write_bytes(bytes(10**6))
try:
    cli.main(run)
finally:
    print({path.name: path.read_bytes() for path in folder.rglob("*")})
"""


@pytest.mark.parametrize(
    ("what", "named"), [("file", "kept, which needs 1,000,000 bytes"), ("folder", "")]
)
@pytest.mark.parametrize("how", ["disk", "limit"])
def test_a_full_disk_is_a_sentence_and_leaves_what_was_there(
    tmp_path: Path, how: str, what: str, named: str
) -> None:
    command = [sys.executable, "-c", FILL, str(tmp_path), what]
    before = 'ulimit -f 100; exec "$@"'
    if how == "disk":
        before = f"mount -t tmpfs -o size=200k none '{tmp_path}'; exec \"$@\""
        if subprocess.run(["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"]).returncode:
            pytest.skip("no disk of its own size can be mounted here (unshare -rm)")
    apart = ["unshare", "-rm"] if how == "disk" else []
    done = subprocess.run(
        [*apart, "sh", "-c", before, "sh", *command], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stdout == "{'kept': b'old'}\n", done.stderr
    assert (
        done.stderr.startswith("error: no room for ")
        and named in done.stderr
        and done.stderr.count("\n") == 1
    )
    assert "Traceback" not in done.stderr


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user stands in no list; XDG_CACHE_HOME is enough."""

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"has no home folder; name .* XDG_CACHE_HOME"):
        user_cache("shards")
    assert native.kernels.__wrapped__() is None
    assert library.library.__wrapped__() is None
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert user_cache("shards") == Path("/somewhere/demystify-local-attention/shards")
