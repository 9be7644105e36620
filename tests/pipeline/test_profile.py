"""What profiling publishes."""

import json
from argparse import Namespace
from pathlib import Path

import yaml
from helpers import PROJECT

from pipeline.params import load
from pipeline.profile import profile
from pipeline.project.call import Call, Folders
from pipeline.runs.results import ProfileFile, read_json


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(PROJECT / "models")
    tree = {
        "classify": {
            "recipe": {"image_size": 32, "eval_resize": 32},
            "variants": {"thin": {"mixer": "dwnet", "size": "micro", "embed_dim": 16}},
        },
        "profile": {"warmup": 1, "timed": 1, "batch_size": 2},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    args = Namespace(params="params.yaml", set=[], out=None)
    profile(Call(args, load(tmp_path / "params.yaml"), tmp_path, Folders(tmp_path)), "thin")
    path = tmp_path / "results/profile/thin/profile.json"
    tree = json.loads(path.read_text())
    assert read_json(path, ProfileFile).model_dump(exclude_unset=True) == tree
    assert (tree["variant"], tree["overrides"]) == ("thin", {"embed_dim": 16})
    assert isinstance(tree["macs"], int) and tree["image_size"] == 32
