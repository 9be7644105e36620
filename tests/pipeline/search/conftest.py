"""A project with a search and a factorial design, on shards that hold no pictures."""

from argparse import Namespace
from pathlib import Path

import pytest
import yaml
from helpers import PROJECT, write_shards

from pipeline.params import load
from pipeline.project.call import Call, Folders

RECIPE = {"image_size": 64, "eval_resize": 64, "micro_batch": 2, "micro_batches": 1}
VARIED = {
    "tune": {
        "base": {"mixer": "dwnet", "size": "micro"},
        "space": {
            "kernel_size": [3, 7],
            "recipe.optimizer.lr": {"low": 0.001, "high": 0.1, "log": True},
        },
        "searcher": "random",
        "samples": 3,
        "seeds": [0, 1],
        "hold_out": 0.4,
    },
    "factorial": {
        "base": {"size": "micro"},
        "group_channels": [1],
        "controls": False,
        "seeds": [0, 1],
    },
}


@pytest.fixture
def call(tmp_path: Path) -> Call:
    for name in ("pipeline", "models"):
        (tmp_path / name).symlink_to(PROJECT / name)
    tree = {"classify": {"recipe": RECIPE, "variants": {}}, **VARIED}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    write_shards(tmp_path / "data/shards/imagenet", [5, 3])
    args = Namespace(params="params.yaml", set=[], out=None)
    return Call(args, load(tmp_path / "params.yaml"), tmp_path, Folders(tmp_path))
