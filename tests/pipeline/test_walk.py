"""Walking a params file: everything in it takes two steps of its own recipe, and what cannot is
named.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PROJECT

from pipeline import walk

pytestmark = pytest.mark.heads

SMALL = """
classify:
  recipe: {image_size: 32, eval_resize: 32, on_non_finite: skip}
  variants:
    first: {mixer: dwnet, size: micro}
    second: {mixer: timm, timm_name: vit_tiny_patch16_224}
    third: {mixer: swin, size: micro, recipe: {optimizer: {lr: 1.0e+30}, schedule: {warmup_lr: 1.0e+30}}}
    fourth: {mixer: local_mlp, size: micro}
segment:
  recipe: {augment: {resize: [256, 64], crop: [64, 64]}, upernet: {channels: 16, test_sides: [256, 64]}}
  variants: {first: {mixer: dwnet, size: micro}}
tune:
  space: {mixer: [dwnet], kernel_size: [3, 11]}
  base: {size: micro}
factorial:
  group_channels: [1, 4]
  base: {size: micro}
  budgets: {long: {duration: {epochs: 2}}, short: {duration: {epochs: 1}}}
cluster: {workers: 1}
"""


def walked(monkeypatch: pytest.MonkeyPatch, folder: Path, *args: str) -> int | str | None:
    """Run the command in the project with files of its own in `folder`; return its exit code."""
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr("sys.argv", ["walk", *args])
    try:
        walk.main()
    except SystemExit as error:
        return error.code
    return 0


def test_what_can_be_trained_is_told_from_what_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.yaml").write_text(SMALL)
    parts = (
        "--params",
        str(tmp_path / "p.yaml"),
        "--only",
        "classify",
        "segment",
        "tune",
        "factorial",
    )
    assert (
        walked(
            monkeypatch,
            tmp_path,
            *parts,
            "--names",
            "first",
            "second",
            "third",
            "kernel_size=3",
            "shared_channel_static",
            "kernel_size=11",
        )
        == 1
    )
    table = capfd.readouterr().out.split("\n\n")[1]
    rows = {line.split("  ")[0]: line for line in table.splitlines()}
    assert {name for name, row in rows.items() if row.endswith(" ok")} == {
        "classify first",
        "segment first",
        "tune mixer=dwnet kernel_size=3",
        "factorial long shared_channel_static",
    }
    assert "cannot take images of 32 pixels" in rows["classify second"]
    assert rows["classify third"].endswith("1 of 2 steps were passed over")
    assert "larger than the largest map" in rows["tune mixer=dwnet kernel_size=11"]
    assert "the same training as factorial long" in rows["factorial short shared_channel_static"]
    assert "classify fourth" not in rows and rows["4 ok, 2 failed, 2 not trained"]
    assert not list(tmp_path.glob("walk-*"))


def test_the_papers_own_recipe_takes_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        walked(
            monkeypatch,
            tmp_path,
            "--params",
            "params/paper.yaml",
            "--only",
            "classify",
            "--sample",
            "1",
        )
        == 0
    )
    assert "1 ok, 0 failed" in capfd.readouterr().out


@pytest.mark.faults
def test_the_whole_of_the_papers_experiment_takes_its_steps() -> None:
    command = [sys.executable, "-m", "pipeline.walk", "--params", "params/paper.yaml"]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr[-5_000:]
