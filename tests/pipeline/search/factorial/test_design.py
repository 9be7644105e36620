"""The factorial design: twelve cells that are what their switches say, controls as large as the
cells, named pairs.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import PROJECT

import models
from models.network.spec import declared_switches
from pipeline.core.errors import UserError
from pipeline.params import Params, load
from pipeline.search.factorial.design import SAME, Design, count, designs_of


def params(tmp_path: Path, **factorial: Any) -> Params:
    section = {
        "group_channels": [1, 4, "all"],
        "base": {"size": "micro", "kernel_size": 3},
        **factorial,
    }
    tree = {
        "cluster": {"workers": 1},
        "classify": {"recipe": {"image_size": 32, "eval_resize": 32}},
        "factorial": section,
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    return load(tmp_path / "params.yaml")


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> Design:
    return designs_of(params(tmp_path_factory.mktemp("design")))["full"]


def test_every_combination_is_a_cell(design: Design) -> None:
    crossed = {
        (cell.shared_positions, cell.channel_groups, cell.dynamic) for cell in design.cells.values()
    }
    assert len(design.cells) == len(crossed) == 12 and not design.left_out


def test_a_cell_is_what_its_switches_say(design: Design) -> None:
    by_name = {setting.name: setting for setting in design.settings}
    shares = {"channel": "no", "group": "groups", "all": "yes"}
    for name, cell in design.cells.items():
        variant = by_name[name].variant
        model = models.create_model(variant.model_name, 10, image_size=32, **variant.overrides)
        switches = declared_switches(model)
        assert (switches.shared_positions, switches.dynamic) == (
            cell.shared_positions,
            cell.dynamic,
        )
        assert (
            switches.shared_channels == shares[cell.channel_groups]
            and switches.neighbourhood == "sliding"
        )


def test_a_control_is_the_static_convolution_made_as_large_as_its_cell(design: Design) -> None:
    by_name = {setting.name: setting for setting in design.settings}
    reference = count(by_name["shared_channel_static"])
    large = {name for name in design.cells if count(by_name[name]) > reference * (1 + SAME)}
    assert large and set(design.controls) == large
    for name, control in design.controls.items():
        variant = by_name[control].variant
        assert (variant.mixer, variant.kernel_size, variant.group_channels) == ("dwnet", 3, 1)
        assert count(by_name[control]) == pytest.approx(count(by_name[name]), rel=SAME)


def test_budgets_differ_in_their_recipe_alone(tmp_path: Path) -> None:
    budgets = designs_of(
        params(tmp_path, budgets={"short": {"duration": {"epochs": 100}}, "full": {}})
    )
    short, full = (
        {
            setting.name: (setting.variant.overrides, setting.recipe.duration.epochs)
            for setting in budgets[budget].settings
        }
        for budget in ("short", "full")
    )
    assert {name: overrides for name, (overrides, _) in short.items()} == {
        n: o for n, (o, _) in full.items()
    }
    assert {epochs for _, epochs in short.values()} == {100} and {
        epochs for _, epochs in full.values()
    } == {300}


def test_what_cannot_be_run_is_left_out_and_its_pairs_with_it(tmp_path: Path) -> None:
    wide = {"mixer": "swin", "size": "micro", "kernel_size": 9}
    made = designs_of(
        params(
            tmp_path,
            group_channels=[1, 5],
            controls=False,
            settings={"wide": wide},
            contrasts={"kernel": [["wide", "shared_channel_static"]]},
        )
    )["full"]
    assert (
        len(made.cells) == 4 and len(made.left_out) == 5 and "9 is larger" in made.left_out["wide"]
    )
    assert made.contrasted() == {"kernel": []}


@pytest.mark.parametrize(
    ("factorial", "sentence"),
    [
        ({"group_channels": []}, "factorial is empty"),
        ({"contrasts": {"x": [["a", "shared_all_static"]]}}, "there is no setting 'a'"),
        (
            {"settings": {"shared_all_static": {"mixer": "dwnet", "size": "micro"}}},
            "a cell has this name",
        ),
        ({"base": {"size": "huge"}}, "factorial.size"),
        (
            {"recipe": {"duratoin": 1}},
            "factorial.recipe.duratoin: unknown key; did you mean 'duration'",
        ),
        ({"group_channels": [1, 1]}, "names a level twice"),
        ({"budgets": {}}, "budgets is empty"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, factorial: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        designs_of(params(tmp_path, **factorial))


@pytest.mark.parametrize("name", ["params.yaml", "params/paper.yaml"])
def test_the_shipped_designs_are_whole(name: str) -> None:
    for design in designs_of(load(PROJECT / name)).values():
        assert len(design.cells) == 12 and design.controls and not design.left_out
        assert {"neighbourhood", "weights", "bridge"} <= design.contrasted().keys()
        assert design.contrasted() == design.contrasts
