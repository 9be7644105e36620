"""What tasks and data sets say of themselves holds, and is said nowhere else."""

import ast
import importlib
from pathlib import Path

import pytest
from helpers import PROJECT

from pipeline.datasets.base import LayoutReader, dataset
from pipeline.params import DATASETS, TASKS
from pipeline.params.registry import classifier, datasets, member, metrics, tasks

FOLDERS = ("pipeline/tasks/", "pipeline/datasets/")
WORDS = ("loss",)
"""Names of metrics that mean something else too."""


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_has_a_reader_and_draws_stand_ins(name: str) -> None:
    about = datasets()[name]
    offered = [part for part in LayoutReader.__dict__ if not part.startswith("_")]
    offered += [part for part in LayoutReader.__annotations__ if not part.startswith("_")]
    assert len(offered) > 8
    for part in offered:
        assert hasattr(dataset(name), part), part
    assert callable(importlib.import_module(about.synthetic).files)
    assert about.images.keys() == about.images.keys() & {"train", "val"} != set()


@pytest.mark.parametrize("name", TASKS)
def test_a_task_trains_by_its_main_metric_on_data_that_it_reads(name: str) -> None:
    about = tasks()[name]
    assert member(about.logic).main_metric == about.main_metric
    assert not about.metrics[about.main_metric].lower_is_better
    assert callable(member(about.operations))
    assert about.results_writer is None or callable(member(about.results_writer))
    section = about.section.model_validate({})
    assert datasets()[section.dataset].target == about.target
    assert section.task == name


def test_no_metric_has_two_meanings_and_one_task_classifies() -> None:
    assert len(metrics()) == sum(len(about.metrics) for about in tasks().values())
    assert [name for name, about in tasks().items() if about.classifier] == [classifier()]


def constants(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_names_stand_in_their_own_folders_alone() -> None:
    names = {*TASKS, *DATASETS, *metrics()} - {*WORDS}
    paths = [path.relative_to(PROJECT).as_posix() for path in PROJECT.glob("pipeline/**/*.py")]
    outside = [path for path in paths if not path.startswith(FOLDERS)]
    assert len(outside) > 150
    assert {path: found for path in outside if (found := constants(PROJECT / path) & names)} == {}
