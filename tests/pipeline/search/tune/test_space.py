"""The space of the search: every combination once, the impossible ones named, bad input one
sentence.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import PROJECT

from pipeline.core.errors import UserError
from pipeline.params import Params, load
from pipeline.params.registry import tasks
from pipeline.search.tune.space import settings_of
from pipeline.tasks.classify.accuracy import Accuracy

SPACE = {"mixer": ["dwnet", "i_dynamic_dwnet"], "kernel_size": [3, 5], "group_channels": [1, 4]}

RANDOM = {"searcher": "random", "samples": 2}


def params(tmp_path: Path, **tune: Any) -> Params:
    section = {"space": SPACE, "base": {"size": "micro"}, **tune}
    tree = {
        "cluster": {"workers": 1},
        "classify": {"recipe": {"image_size": 32, "eval_resize": 32}},
        "tune": section,
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    return load(tmp_path / "params.yaml")


def test_the_grid_is_every_combination_once(tmp_path: Path) -> None:
    kept, left_out = settings_of(params(tmp_path))
    assert len({str(setting.values) for setting in kept}) == len(kept) == 8 and not left_out
    one = next(
        s for s in kept if s.values == {"mixer": "dwnet", "kernel_size": 5, "group_channels": 4}
    )
    assert (
        one.variant.mixer,
        one.variant.kernel_size,
        one.variant.group_channels,
        one.variant.size,
    ) == ("dwnet", 5, 4, "micro")
    assert (one.recipe.hold_out, one.recipe.evaluate_on, one.recipe.image_size) == (
        0.1,
        "held_out",
        32,
    )


def test_settings_differ_in_nothing_but_the_space(tmp_path: Path) -> None:
    kept, _ = settings_of(params(tmp_path, space=SPACE | {"recipe.optimizer.lr": [0.1, 0.2]}))
    recipes = {setting.recipe.model_dump_json() for setting in kept}
    assert len(kept) == 16 and len(recipes) == 2
    assert {setting.recipe.optimizer.lr for setting in kept} == {0.1, 0.2}


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        ({"group_channels": [4, 5]}, "group_channels 5 does not divide"),
        ({"groups": [2, 7]}, "groups 7 does not divide"),
        ({"kernel_size": [7, 9]}, "kernel_size 9 is larger than the largest map, 8x8"),
        ({"kernel_size": [3, 4]}, "kernel_size 4 is even"),
        ({"mixer": ["dwnet", "swin"], "shift": [True]}, "dwnet has no option shift"),
    ],
)
def test_what_cannot_be_run_is_left_out_by_name(
    tmp_path: Path, space: dict[str, Any], reason: str
) -> None:
    kept, left_out = settings_of(params(tmp_path, space={"mixer": ["dwnet"], **space}))
    assert len(kept) == 1 and len(left_out) == 1 and reason in left_out[0].reason


@pytest.mark.parametrize(
    ("tune", "sentence"),
    [
        ({"space": {}}, "tune.space is empty"),
        ({"space": {"kernel_sise": [3]}}, "unknown parameter; did you mean 'kernel_size'"),
        (
            {"space": {"recipe.optimizer.lrr": [3]}},
            "unknown parameter; did you mean 'recipe.optimizer.lr'",
        ),
        ({"space": {"kernel_size": ["big"]}}, "tune.kernel_size: .*integer"),
        ({"space": {"recipe.optimizer.lr": [-1]}}, "tune.recipe.optimizer.lr: .*greater than 0"),
        (
            {"space": {"mixer": ["dwnet"], "group_channels": [5]}},
            "no setting that can be run: group_channels 5",
        ),
        ({"space": {"kernel_size": []}}, "tune.space.kernel_size"),
        (
            {"space": {"recipe.optimizer.lr": {"low": "a", "high": 1}}, **RANDOM},
            "low: should be a number",
        ),
        ({"space": {"recipe.optimizer.lr": {"low": 2, "high": 1}}, **RANDOM}, "low < high"),
        ({"space": {"recipe.optimizer.lr": {"low": 0, "high": 1}}}, "is a range; list its values"),
        ({"searcher": "random"}, "samples goes with"),
        ({"metric": "top7"}, "no trial of classify reports it; one of top1"),
        (
            {"scheduler": "asha", "asha": {"time_attribute": "epochs"}},
            "tune.asha.time_attribute: .*'epoch' or 'step'",
        ),
        ({"scheduler": "hyper"}, "tune.scheduler"),
        ({"seeds": [1, 1]}, "names a seed twice"),
        ({"task": "detect"}, "tune.recipe.init_from: a setting has no classification weights"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, tune: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        settings_of(params(tmp_path, **{"base": {"mixer": "dwnet", "size": "micro"}, **tune}))


def test_random_settings_are_distinct_in_range_and_the_same_every_time(tmp_path: Path) -> None:
    space = {
        "mixer": ["dwnet", "swin"],
        "recipe.optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True},
        "recipe.micro_batch": {"low": 2, "high": 5},
    }
    drawn = params(tmp_path, space=space, searcher="random", samples=200)
    kept, _ = settings_of(drawn)
    rates = [setting.values["recipe.optimizer.lr"] for setting in kept]
    assert len({str(setting.values) for setting in kept}) == 200
    assert min(rates) >= 1e-4 and max(rates) <= 1e-1
    assert (
        0.35 < sum(rate < 10**-2.5 for rate in rates) / 200 < 0.65
    )  # evenly by order of magnitude
    assert {setting.values["recipe.micro_batch"] for setting in kept} == {2, 3, 4, 5}
    assert [setting.values for setting in settings_of(drawn)[0]] == [
        setting.values for setting in kept
    ]
    few, _ = settings_of(params(tmp_path, searcher="random", samples=50))
    assert len(few) == 8  # a small space has no more


@pytest.mark.parametrize("name", ["params.yaml", "params/paper.yaml"])
def test_the_shipped_spaces_hold_kernels_groups_and_mixers(name: str) -> None:
    kept, left_out = settings_of(load(PROJECT / name))
    for axis, least in (("mixer", 2), ("kernel_size", 3), ("group_channels", 3)):
        assert len({setting.values[axis] for setting in kept}) >= least
    assert len(kept) >= 18 and not left_out


def test_the_metrics_are_those_that_evaluators_report() -> None:
    import torch

    accuracy = Accuracy(["a", "b", "c"])
    accuracy.update(torch.zeros(2, 3), {"labels": torch.zeros(2, dtype=torch.long)})
    assert set(tasks()["classify"].in_trials) == set(accuracy.result([accuracy.state()]).metrics)
