"""The plan of params/paper.yaml on a fresh clone; docs/reproducing.md, the sizes of docs/cluster.md
and the comments against it.
"""

import re
import shutil
from argparse import Namespace

import pytest
import torch
from helpers import PROJECT, make_project

from models import create_model
from models.counting.macs import count_parameters
from pipeline.params import TASKS, load
from pipeline.planning.estimate import Plan, plan
from pipeline.planning.rows import ExpectedRow, as_markdown, comment, expected_rows
from pipeline.project.call import Call, Folders

PAGE = (PROJECT / "docs" / "reproducing.md").read_text()
CLUSTER_PAGE = (PROJECT / "docs" / "cluster.md").read_text()
PAPER = PROJECT / "params" / "paper.yaml"
COUNTS = {
    "swin_small": 49_606_258,
    "local_mlp_base": 78_485_032,
    "swin_tiny_no_shift": 28_288_354,
    "swin_tiny_no_position_bias": 28_288_354 - 169 * (2 * 3 + 2 * 6 + 6 * 12 + 2 * 24),
    "mixer_b16": 59_880_472,
}
"""Parameters of variants, of the official code or from it."""


SIZES = {
    "classify, tiny": "classify@dwnet_tiny",
    "classify, base; inhomogeneous tiny": "classify@dwnet_base",
    "detect": "detect@dwnet_tiny",
    "segment": "segment@dwnet_tiny",
    "`tune`, 75 trials of 100 epochs": "tune",
    "`factorial`, 138 runs of 100 or 300 epochs": "factorial",
}
"""Rows of docs/cluster.md, each with a stage that it is true of."""


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Call:
    """A call with the paper's parameters, in a project where nothing was measured."""
    project = make_project(tmp_path_factory.mktemp("paper"))
    shutil.copy(PROJECT / "dvc.yaml", project)
    args = Namespace(params=str(PAPER), set=[], out=None)
    return Call(args, load(PAPER), project, Folders(project / "adhoc" / "paper"))


@pytest.fixture(scope="module")
def planned(call: Call) -> Plan:
    """What that would cost."""
    return plan(call)


@pytest.fixture(scope="module")
def rows(call: Call, planned: Plan) -> list[ExpectedRow]:
    """The published rows beside it."""
    return expected_rows(call, planned)


def test_no_stage_of_the_paper_is_without_a_price(planned: Plan) -> None:
    data = ("fetch", "shard", "compare")
    for row in planned.rows:
        assert row.times is not None and row.disk is not None, row.stage.name
        assert bool(row.busy("GPU")) == row.rounded == (row.stage.verb not in data), row.stage.name
    assert planned.busy("CPU") == 0
    assert sum(planned.verbs("GPU").values()) == pytest.approx(planned.busy("GPU"))
    assert next(iter(planned.verbs("GPU"))) in ("classify", "factorial")


def test_the_page_is_what_the_command_prints(rows: list[ExpectedRow]) -> None:
    assert PAGE.endswith(as_markdown(rows)), "python -m pipeline.plan --params ... --rows"


def test_the_sizes_of_the_cluster_page_are_the_plans(planned: Plan) -> None:
    stages = {row.stage.name: row for row in planned.rows}
    for line, name in SIZES.items():
        (cells,) = re.findall(rf"^\| {re.escape(line)} \| (.*) \|$", CLUSTER_PAGE, re.MULTILINE)
        images, steps, *_, hours = cells.split(" | ")
        exact = stages[name].images
        assert exact is not None and f"{stages[name].steps:,}" == steps
        shown = f"{exact / 1e6:,.0f} M" if exact > 1e7 else f"{exact / 1e6:.1f} M"
        assert shown == images
        a_second = 10 if name.startswith(("detect", "segment")) else 1000
        assert f"{exact / a_second / 3600:,.0f}" == hours.removesuffix(" in all")


def test_a_row_has_a_variant_or_a_reason(call: Call, rows: list[ExpectedRow]) -> None:
    reasons = PAGE.partition("## Rows without a variant")[2].partition("\n## ")[0]
    without = {row.row.id for row in rows if not row.name}
    assert without == set(re.findall(r"`([a-z0-9_]+-[a-z0-9_]+)`", reasons))
    trained = {(row.row.task, row.name) for row in rows}
    for task in TASKS:
        assert {(task, name) for name in getattr(call.params, task).variants} <= trained


def test_each_variant_says_its_published_number_and_hours(
    call: Call, rows: list[ExpectedRow]
) -> None:
    text = PAPER.read_text()
    for task in TASKS:
        section = text.partition(f"\n{task}:\n")[2].partition("\n\n")[0]
        for name in getattr(call.params, task).variants:
            (said,) = re.findall(rf"^    {name}:.*?  # (.*)$", section, re.MULTILINE)
            assert said == comment(rows, task, name), name


@pytest.mark.parametrize(("name", "parameters"), COUNTS.items())
def test_a_variant_is_as_large_as_the_official_network(
    call: Call, name: str, parameters: int
) -> None:
    variant = call.params.classify.variants[name]
    with torch.device("meta"):
        model = create_model(variant.model_name, num_classes=1000, **variant.overrides)
    assert count_parameters(model) == parameters
