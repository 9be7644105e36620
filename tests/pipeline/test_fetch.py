"""The fetch command: an inventory of what is there, and one sentence where it is not."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import PROJECT, make_project, run_stage
from pydantic import ValidationError

from pipeline.core.errors import UserError
from pipeline.datasets.imagenet.about import ImageNet


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def inventory(project: Path, name: str = "imagenet") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project / "data" / "raw" / f"{name}.json").read_text())
    return found


def test_the_inventory_of_stand_ins(project: Path) -> None:
    run_stage(project, "pipeline.fetch", "imagenet")
    found = inventory(project)
    assert (
        found["request"]["source"] == "synthetic" and found["request"]["synthetic"]["train"] == 160
    )
    assert (found["classes"], found["listed"], found["refused"], found["ignored"]) == (
        10,
        198,
        [],
        [],
    )
    train = found["splits"]["train"]
    folder = next((project / "data" / "raw" / "synthetic").glob("imagenet-*/train"))
    sizes = [path.stat().st_size for path in folder.rglob("*.JPEG")]
    assert train == {"samples": 160, "files": 160, "bytes": sum(sizes), "classes": 10}


def test_the_same_folder_gives_the_same_inventory(project: Path) -> None:
    run_stage(project, "pipeline.fetch", "imagenet")
    before = (project / "data" / "raw" / "imagenet.json").read_bytes()
    shutil.rmtree(project / "data" / "raw" / "synthetic")
    run_stage(project, "pipeline.fetch", "imagenet")
    assert (project / "data" / "raw" / "imagenet.json").read_bytes() == before


def use_folder(project: Path) -> Path:
    """Point the params at a folder of synthetic images, given relative to the project."""
    run_stage(project, "pipeline.fetch", "imagenet")
    next((project / "data" / "raw" / "synthetic").glob("imagenet-*/")).rename(project / "photos")
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(
        params.replace("data: {imagenet: {", "data: {imagenet: {source: photos, ")
    )
    return project / "photos"


def test_what_a_killed_fetch_left_goes_with_the_next(project: Path) -> None:
    left = project / "data/raw/.imagenet.json.12345.tmp"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_text("{")
    run_stage(project, "pipeline.fetch", "imagenet")
    assert not left.exists()


def test_a_folder_is_named_as_the_user_typed_it(project: Path) -> None:
    photos = use_folder(project)
    (photos / "val" / "n00000001" / "empty.JPEG").touch()
    run_stage(project, "pipeline.fetch", "imagenet")
    text = (project / "data" / "raw" / "imagenet.json").read_text()
    assert str(project) not in text and inventory(project)["request"]["source"] == "photos"
    assert inventory(project)["refused"] == [
        {"path": "val/n00000001/empty.JPEG", "reason": "empty"}
    ]


def test_a_source_that_moved_or_was_copied_was_not_written_over(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = use_folder(project)
    run_stage(project, "pipeline.fetch", "imagenet")
    shutil.copytree(photos, project / "copy", copy_function=shutil.copyfile)
    params = project / "params.yaml"
    for folder in ("copy", "moved"):
        if folder == "moved":
            photos.rename(project / "moved")
        params.write_text(re.sub("source: [a-z]+,", f"source: {folder},", params.read_text()))
        run_stage(project, "pipeline.fetch", "imagenet")
        assert "warning" not in capsys.readouterr().out
    os.utime(next((project / "moved" / "val").rglob("*.JPEG")))
    run_stage(project, "pipeline.fetch", "imagenet")
    assert "were written since they were fetched last" in capsys.readouterr().out


def test_warnings_name_what_no_terminal_can_show(project: Path) -> None:
    photos = use_folder(project)
    (photos / "train" / "n00000001").rename(photos / "train" / "猫")
    shutil.rmtree(photos / "val" / "n00000001")
    command = [sys.executable, "-m", "pipeline.fetch", "imagenet"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and r"val/ lacks 1 of 10 classes: \u732b" in done.stdout, (
        done.stderr
    )
    assert "val/ lacks 1 of 10 classes: 猫" in inventory(project)["warnings"]


def test_a_source_in_no_encoding_stops(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"caf\\xe9 is not UTF-8 text"):
        ImageNet(source=os.fsdecode(b"caf\xe9"))
    with pytest.raises(ValidationError, match="hold_out is for data without a validation split"):
        ImageNet(hold_out=0.1)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere", "data.imagenet.source: the folder .* does not exist"),
        (
            "params.yaml",
            "is a file, but none of the archives that are read: ILSVRC2012_img_train.tar",
        ),
        ("https://example.org/a.tar", "a URL needs its checksum"),
        (
            "{url: 'https://example.org/a.tar', md5: 0123456789abcdef0123456789abcdef}",
            r"a\.tar is not read; the archives",
        ),
        (".", "class folders with images in train/"),
    ],
)
def test_wrong_sources_stop(project: Path, source: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        run_stage(project, "pipeline.fetch", "imagenet", "--set", f"data.imagenet.source={source}")


def test_an_adhoc_call_leaves_the_published_inventory_alone(project: Path) -> None:
    run_stage(
        project,
        "pipeline.fetch",
        "coco",
        "--set",
        "data.coco.synthetic={train: 8, val: 4, image_size: 32}",
    )
    assert not (project / "data" / "raw" / "coco.json").exists()
    assert inventory(project / "adhoc" / "params", "coco")["splits"]["val"]["samples"] == 4


def test_fetch_starts_without_the_heavy_libraries() -> None:
    heavy = "{'torch', 'ray', 'webdataset'}"
    code = f"import sys, pipeline.fetch, pipeline.shard; print(sorted({heavy} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
