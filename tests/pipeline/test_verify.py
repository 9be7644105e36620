"""One changed byte in any kind of file that is kept is named, and nothing else is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PROJECT

STAGES = """
stages:
  make:
    cmd: mkdir -p shards/train results && head -c 5000 /dev/urandom > shards/train/0.tar
      && echo '{}' > shards/manifest.json && echo w > results/model.safetensors
      && echo page > report.html
    outs: [shards, results, report.html]
"""
KINDS = {
    "a shard": "shards/train/0.tar",
    "a manifest": "shards/manifest.json",
    "weights": "results/model.safetensors",
    "a report": "report.html",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which DVC made folders and a file."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "dvc.yaml").write_text(STAGES)
    dvc = str(Path(sys.executable).with_name("dvc"))
    for words in (["init", "--no-scm", "--quiet"], ["repro", "--quiet"]):
        subprocess.run([dvc, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project"))


def verify(project: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.verify"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def flip(path: Path) -> None:
    """Change one bit, and neither size nor time."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_is_whole_is_not_named(project: Path) -> None:
    code, printed = verify(project)
    assert (code, "every byte as it was" in printed) == (0, True), printed


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_named(project: Path, kind: str) -> None:
    flip(project / KINDS[kind])
    code, printed = verify(project)
    assert code == 2 and f"{KINDS[kind]} is not what it was" in printed
    assert printed.count("is not what it was") == 1


def test_every_file_of_the_cache_is_looked_at(project: Path) -> None:
    cached = sorted((project / ".dvc/cache/files/md5").glob("??/*"))
    assert len(cached) == len(KINDS) + 2  # two folders' listings
    for path in cached:
        whole = path.read_bytes()
        flip(path)
        code, printed = verify(project)
        assert code == 2 and f"{path.relative_to(project)} is not what it was" in printed
        path.write_bytes(whole)


def test_missing_and_foreign_files_are_named_and_absent_outputs_are_told(project: Path) -> None:
    (project / "shards/train/0.tar").unlink()
    (project / "results/more").write_text("x")
    (project / "report.html").unlink()
    code, printed = verify(project)
    assert code == 2
    assert "shards/train/0.tar is missing" in printed
    assert "results/more belongs to no stage" in printed
    assert "not here, and not looked at: report.html" in printed
