"""What profiling publishes."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import PROJECT

from models.counting import speed
from models.counting.speed import doubts
from pipeline.params import load
from pipeline.profile import profile
from pipeline.project.call import Call, Folders
from pipeline.runs.results.files import read_json
from pipeline.runs.results.profile import ProfileFile


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """A call in a project with one small variant."""
    (tmp_path / "models").symlink_to(PROJECT / "models")
    tree = {
        "classify": {
            "recipe": {"image_size": 32, "eval_resize": 32},
            "variants": {"thin": {"mixer": "dwnet", "size": "micro", "embed_dim": 16}},
        },
        "profile": {"warmup": 1, "timed": 4, "batch_size": 2},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    args = Namespace(params="params.yaml", set=[], out=None)
    return Call(args, load(tmp_path / "params.yaml"), tmp_path, Folders(tmp_path))


def test_a_profile_is_read_as_it_was_written(call: Call) -> None:
    profile(call, "thin")
    path = call.project / "results/profile/thin/profile.json"
    tree = json.loads(path.read_text())
    assert read_json(path, ProfileFile).model_dump(exclude_unset=True) == tree
    assert (tree["variant"], tree["overrides"]) == ("thin", {"embed_dim": 16})
    assert isinstance(tree["macs"], int) and tree["image_size"] == 32
    assert tree["inference_quartiles"][0] <= tree["inference_images_per_second"]
    assert tree["train_images_per_second"] <= tree["train_quartiles"][1]
    assert tree["inference_macs_per_second"] == pytest.approx(
        tree["macs"] * tree["inference_images_per_second"], rel=1e-6
    )
    assert tree["load_average"] >= 0 and tree["threads"] >= 1 and tree["classes"] == 1000


FAIR = {"macs": 100, "inference_images_per_second": 50.0, "train_images_per_second": 20.0}


def test_what_cannot_be_is_said() -> None:
    assert doubts(FAIR, []) == []
    assert doubts({**FAIR, "train_images_per_second": 51.0}, []) == [
        "training was faster than inference"
    ]
    larger = {**FAIR, "variant": "large", "macs": 100, "inference_images_per_second": 150.0}
    assert doubts(FAIR, [larger]) == ["it was 3.0 times slower than large, which has no fewer MACs"]
    assert doubts(FAIR, [{**larger, "macs": 99}]) == []
    assert doubts(FAIR, [{**larger, "inference_images_per_second": 149.0}]) == []


def test_a_profile_that_contradicts_itself_is_taken_again_and_marked(
    call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another process holds the machine for the first profile, and for both."""
    real, times, slowed = speed.measure, [], set[int]()

    def slow(*args: Any) -> dict[str, Any]:
        times.append(1)
        measured = real(*args)
        if len(times) in slowed:
            measured["inference_images_per_second"] = 1.0
        return measured

    monkeypatch.setattr(speed, "measure", slow)
    for held, taken, marked in (({1}, 2, False), ({1, 2}, 2, True), (set(), 1, False)):
        times.clear()
        slowed.clear()
        slowed |= held
        profile(call, "thin")
        tree = json.loads((call.project / "results/profile/thin/profile.json").read_text())
        assert len(times) == taken
        assert tree["doubts"] == (["training was faster than inference"] if marked else [])
        assert ("this cannot be" in capsys.readouterr().out) == marked
