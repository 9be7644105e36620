"""Runs that could see nothing are refused before anything starts."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import make_project, one_by_one, run_stage

from pipeline.core.errors import UserError
from pipeline.datasets.base import list_folder
from pipeline.params import Params, Shard
from pipeline.project.call import Call, Folders
from pipeline.runs.make import refuse_empty
from pipeline.shards.build import build
from tests.cases import ade20k, coco

Tree = dict[str, list[dict[str, object]]]


def call_with(folder: Path, **options: Any) -> Call:
    args = Namespace(**{"params": None, "set": [], "out": None, **options})
    return Call(args, Params(), folder, Folders(folder))


def none_in(folder: str) -> Callable[[Tree, str], object]:
    return lambda tree, split: split == folder and tree.update(annotations=[])


def shards(name: str, draw: Callable[[Path], None], folder: Path) -> Path:
    """Draw a data set and write its shards, whatever is lost on the way."""
    draw(folder / "source")
    listing = list_folder(name, folder / "source", {})
    target = folder / "data" / "shards" / name
    target.parent.mkdir(parents=True)
    build(name, listing, Shard(max_dropped_annotations=1), target, listing.digest(), run=one_by_one)
    return target


@pytest.mark.parametrize(
    ("draw", "split", "words"),
    [
        (coco.folder(change=none_in("train2017")), "train", "0 annotations: 0 seen"),
        (coco.folder(change=none_in("val2017")), "val", "0 annotations: 0 seen"),
        (
            coco.folder({"bbox": [0.1, 0.1, 0.3, 0.4]}),
            "train",
            "6 for judging only (looks_like_fractions 6)",
        ),
        (coco.folder({"iscrowd": 1}), "train", "6 for judging only (crowd 6)"),
    ],
)
def test_training_and_evaluation_refuse_a_split_in_which_nothing_is_seen(
    draw: Callable[[Path], None], split: str, words: str, tmp_path: Path
) -> None:
    """From the command line: no Ray starts, no run is recorded."""
    project = make_project(tmp_path / "project")
    settings = {
        "data": {"coco": {"source": "source"}},
        "detect": {
            "recipe": {"init_from": None},
            "variants": {"v": {"mixer": "dwnet", "size": "micro"}},
        },
    }
    (project / "params.yaml").write_text(json.dumps(settings))
    draw(project / "source")
    run_stage(project, "pipeline.fetch", "coco")
    shards("coco", draw, project)
    with pytest.raises(
        UserError, match=rf"nothing in {split} can be seen or judged.*python -m pipeline.fetch coco"
    ) as caught:
        run_stage(project, "pipeline.train", "detect", "v")
    assert words in str(caught.value)
    assert not (project / "mlflow.db").exists()
    weights = project / "weights.safetensors"
    if split == "val":
        with pytest.raises(UserError, match="nothing in val can be seen or judged"):
            run_stage(project, "pipeline.evaluate", "detect", "v", "--weights", str(weights))


def test_masks_in_which_nothing_is_labelled_are_refused(tmp_path: Path) -> None:
    folder = shards(
        "ade20k", ade20k.folder(lambda n: ade20k.mask(change=lambda v: 0 * v)), tmp_path
    )
    call = call_with(tmp_path)
    for used in ("train", "val", "held_out"):
        with pytest.raises(UserError, match="3,072 pixels: 0 seen, 3,072 dropped"):
            refuse_empty(call, folder, [used])
    refuse_empty(
        call, shards("ade20k", ade20k.folder(), tmp_path / "sound"), ["train", "val", "held_out"]
    )


def test_the_advice_keeps_the_options_of_the_call(tmp_path: Path) -> None:
    folder = shards(
        "ade20k", ade20k.folder(lambda n: ade20k.mask(change=lambda v: 0 * v)), tmp_path
    )
    options = "--params mine.yaml --set shard.seed=3 --out my/out"
    with pytest.raises(UserError) as caught:
        refuse_empty(
            call_with(tmp_path, params="mine.yaml", set=["shard.seed=3"], out="my/out"),
            folder,
            ["train"],
        )
    assert str(caught.value).endswith(
        f"then run: python -m pipeline.fetch ade20k {options} && "
        f"python -m pipeline.shard ade20k {options}"
    )
