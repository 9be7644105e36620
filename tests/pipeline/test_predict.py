"""Predictions are those of the evaluation, for any picture, from the file of weights alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import PROJECT, run_stage
from photographs import UNREADABLE, scene
from PIL import Image
from pycocotools import mask as coco_mask
from safetensors.torch import load_file, save_file

from pipeline.core.errors import UserError
from pipeline.loading.hold_out import open_split
from pipeline.loading.images import photograph
from pipeline.loading.micro_batches import EvalSamples
from pipeline.params import load as load_params
from pipeline.shards.manifest import Manifest
from pipeline.tasks.base import create
from tests.golden.record import FOLDER


def expected(trained: Path, task: str, folder: Path) -> tuple[list[Any], list[str], list[Path]]:
    """Return what evaluation finds in a validation split, its classes, and its pictures as files."""
    params = load_params(FOLDER / "params.yaml")
    section = getattr(params, task)
    shards = trained / "data" / "shards" / section.dataset
    manifest = Manifest.load(shards)
    logic = create(task, section, "dwnet", manifest)
    model = logic.build().eval()
    model.load_state_dict(load_file(trained / "results" / task / "dwnet" / "model.safetensors"))
    reader = open_split(shards, "val", 0.0, None)
    samples = EvalSamples(reader, logic.sampling, 1)
    outputs, files = [], []
    for index in range(len(samples)):
        sampled = samples[index]
        assert isinstance(sampled, dict)
        batch = logic.prepare(sampled, torch.device("cpu"))
        with torch.inference_mode():
            outputs.append(logic.predict(model, batch)[0])
        sample = reader.read(*samples.places(index)[0])
        files.append(folder / f"{index}.jpg")
        files[-1].write_bytes(photograph(sample))
    return outputs, [entry.name for entry in manifest.classes], files


def predicted(
    trained: Path, task: str, files: list[Path], capsys: pytest.CaptureFixture[str], *more: str
) -> list[dict[str, Any]]:
    capsys.readouterr()
    words = [task, "dwnet", *map(str, files), "--json", *more]
    run_stage(trained, "pipeline.predict", *words)
    records: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [record["picture"] for record in records] == [str(file) for file in files]
    return records


def test_classes_are_those_of_the_evaluation(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs, names, files = expected(trained, "classify", tmp_path)
    for logits, record in zip(outputs, predicted(trained, "classify", files, capsys), strict=True):
        chances = logits.softmax(dim=0)
        order = chances.argsort(descending=True)[:5].tolist()
        assert [row["class"] for row in record["top"]] == [names[index] for index in order]
        assert [row["confidence"] for row in record["top"]] == pytest.approx(
            chances[order].tolist(), abs=1e-5
        )


def test_objects_are_those_of_the_evaluation(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs, names, files = expected(trained, "detect", tmp_path)
    records = predicted(trained, "detect", files, capsys, "--confidence", "0.0")
    assert sum(len(record["objects"]) for record in records) > 10
    for found, record in zip(outputs, records, strict=True):
        objects = record["objects"]
        assert [one["class"] for one in objects] == [names[i] for i in found["labels"].tolist()]
        for name, key in (("scores", "confidence"), ("boxes", "box")):
            values = torch.tensor([one[key] for one in objects])
            torch.testing.assert_close(values, found[name], atol=0.006, rtol=0)
        masks = [one["mask"] for one in objects]
        assert all(mask["size"] == [record["height"], record["width"]] for mask in masks)
        assert np.array_equal(coco_mask.decode(masks), coco_mask.decode(found["masks"]))


def test_label_maps_are_those_of_the_evaluation(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs, names, files = expected(trained, "segment", tmp_path)
    records = predicted(trained, "segment", files, capsys, "--out", str(tmp_path / "out"))
    for labels, record in zip(outputs, records, strict=True):
        assert np.array_equal(np.asarray(Image.open(record["labels"])), labels.numpy())
        shares = {row["class"]: row["share"] for row in record["classes"]}
        assert shares == pytest.approx(
            {names[label]: float((labels == label).float().mean()) for label in labels.unique()},
            abs=1e-5,
        )
        assert Image.open(record["drawn"]).width > 600


@pytest.mark.parametrize(
    ("task", "apart"), [("classify", False), ("detect", True), ("segment", False)]
)
def test_outside_the_project_what_cannot_be_used_is_named_and_the_rest_is_done(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, apart: bool
) -> None:
    """The weights' file alone, in a folder of their own; once in a process of its own too."""
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes((trained / "results" / task / "dwnet" / "model.safetensors").read_bytes())
    holidays = tmp_path / "holidays"
    holidays.mkdir()
    for name, (content, _) in UNREADABLE.items():
        (holidays / name).write_bytes(content)
    for name, size in (("tall.jpg", (30, 90)), ("usual.png", (320, 240)), ("wide.tif", (900, 40))):
        scene().resize(size).save(holidays / name)

    words = ("--weights", str(weights), "holidays")
    said, left_out = process(tmp_path, *words) if apart else command(tmp_path, capsys, *words)
    assert left_out.pop() == f"{len(UNREADABLE)} of 11 pictures could not be used, as said above"
    for name, (_, reason) in UNREADABLE.items():
        assert any(f"left out: holidays/{name}: " in line and reason in line for line in left_out)
    assert [line.partition(":")[0] for line in said] == [
        f"holidays/{name}" for name in ("tall.jpg", "usual.png", "wide.tif")
    ]
    drawn = {path.name for path in (tmp_path / "predictions").iterdir()}
    assert {"tall.jpg.png", "usual.png.png", "wide.tif.png"} <= drawn
    assert "Traceback" not in "".join(left_out)


def process(folder: Path, *words: str) -> tuple[list[str], list[str]]:
    """Predict in a process of its own; return the lines of its output and of its errors."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.predict", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    *lines, last = done.stderr.splitlines()
    return done.stdout.splitlines(), [*lines, last.removeprefix("error: ")]


def command(
    folder: Path, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[list[str], list[str]]:
    """Predict in this process; return the same."""
    capsys.readouterr()
    with pytest.raises(UserError) as raised:
        run_stage(folder, "pipeline.predict", *words)
    said, left_out = capsys.readouterr()
    return said.splitlines(), [*left_out.splitlines(), str(raised.value)]


def test_what_cannot_be_done_at_all_is_one_sentence(trained: Path, tmp_path: Path) -> None:
    def error(*words: str) -> str:
        with pytest.raises(UserError) as caught:
            run_stage(trained, "pipeline.predict", *words)
        return str(caught.value)

    assert "name a task (classify, detect, segment)" in error("holidays")
    assert "dvc repro detect@none" in error("detect", "none", "a.jpg")
    (tmp_path / "empty").mkdir()
    assert "there are no pictures in" in error("classify", "dwnet", str(tmp_path / "empty"))
    save_file({"w": torch.zeros(1)}, tmp_path / "mute.safetensors")
    weights = ("--weights", str(tmp_path / "mute.safetensors"))
    assert "does not say what it is" in error(*weights, "a.jpg")
    assert "is not there" in error("--weights", str(tmp_path / "none"), "a.jpg")
