"""A recipe says by itself what its network is built for: no engine looks for a task's own field."""

import re

import pytest
from helpers import PROJECT

from pipeline.params import TASKS, Params


@pytest.mark.parametrize(("task", "size"), [("classify", 96), ("detect", None), ("segment", None)])
def test_a_recipe_knows_the_size_of_its_network(task: str, size: int | None) -> None:
    sections = {"classify": {"recipe": {"image_size": 96, "eval_resize": 96}}}
    assert task in TASKS
    assert getattr(Params.model_validate(sections), task).recipe.network_size == size


def test_no_module_asks_a_recipe_for_a_field_that_it_may_lack() -> None:
    code = (PROJECT / "pipeline").rglob("*.py")
    asking = [path for path in code if re.search(r"recipe, \"image_size\"", path.read_text())]
    assert asking == []
