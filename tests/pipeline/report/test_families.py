"""The questions choose mixers by what their files say, so that a new file stands in the answers."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from helpers import PROJECT

from models import mixers
from pipeline.core.errors import UserError
from pipeline.params import variants
from pipeline.report import families

FILE = """
SWITCHES = Switches(
    neighbourhood="{}", shared_positions={}, shared_channels="no", dynamic={}
)
"""
LIKE = {
    "static": ("sliding", True, False),
    "dynamic": ("sliding", True, True),
    "unshared": ("window", False, False),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mixers' folder, and room for another one."""
    copied = tmp_path / "mixers"
    shutil.copytree(PROJECT / "models" / "mixers", copied)
    monkeypatch.setattr(variants, "MIXERS", copied)
    return copied


def test_the_papers_networks_are_where_the_paper_has_them() -> None:
    assert families.static() == ("dwnet",)
    assert families.dynamic() == ("dynamic_dwnet", "i_dynamic_dwnet")
    assert families.unshared() == ("locally_connected", "local_mlp")


@pytest.mark.parametrize("name", mixers.names())
def test_a_file_is_read_as_it_is_imported(name: str) -> None:
    said = families.declared(variants.MIXERS / f"{name}.py")
    attention = name in ("global_attention", "sliding_attention", "swin")
    assert said == {**asdict(mixers.load(name).switches), "attention": attention}


@pytest.mark.parametrize(
    ("family", "questions"), [("static", (1, 2, 3, 5)), ("dynamic", (2, 3)), ("unshared", (1,))]
)
def test_a_new_mixer_stands_in_the_answers(
    project: Any, folder: Path, family: str, questions: tuple[int, ...]
) -> None:
    (folder / "cross.py").write_text(FILE.format(*LIKE[family]))
    for mixer in ("cross", "dwnet", "dynamic_dwnet", "locally_connected", "swin"):
        project.run("classify", f"{mixer}_micro", mixer, values=[40.0, 41.0])
    text = project.text()
    five = text[text.index("\n## Five questions") :].split("\n## ")[1].split("\n### ")
    named = {number for number in (1, 2, 3, 5) if "`cross_micro` minus" in five[number]}
    beside = {number for number in (1, 2, 3, 5) if "minus `cross_micro`" in five[number]}
    assert named | beside == set(questions)


def test_attention_is_no_depthwise_network(folder: Path) -> None:
    (folder / "cross.py").write_text(FILE.format(*LIKE["dynamic"]) + "ATTENTION = True\n")
    assert families.dynamic() == ("dynamic_dwnet", "i_dynamic_dwnet")


def test_a_file_that_is_no_python_is_named(folder: Path) -> None:
    (folder / "cross.py").write_text("SWITCHES = (")
    with pytest.raises(UserError, match=r"cross\.py, line 1, is not Python"):
        families.static()
