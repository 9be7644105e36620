"""docs/using-a-model.md is followed line by line in a project whose networks are trained, and so
are the README's lines of Python.
"""

import json
import re
import shlex
from pathlib import Path

import pytest
from helpers import PROJECT, run_stage
from PIL import Image

from pipeline.core.errors import UserError

PAGE = (PROJECT / "docs" / "using-a-model.md").read_text()
README = (PROJECT / "README.md").read_text()


def fenced(language: str, page: str = PAGE) -> str:
    """Return all of a page's blocks in a language, with the name of the network that is trained
    here.
    """
    blocks = re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return "".join(blocks).replace("/dwnet_micro", "/dwnet")


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the results and photographs that the page names."""
    (tmp_path / "results").symlink_to(trained / "results")
    (tmp_path / "holidays").mkdir()
    for name in ("photo.jpg", "holidays/one.png"):
        Image.effect_noise((90, 60), 90).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_lines_of_python_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(fenced("python"), "using-a-model.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "[16, 32, 64, 128] [4, 8, 16, 32]" in printed
    assert "square 2 cells above of disc" in printed


def test_the_readmes_lines_of_python_run(folder: Path) -> None:
    exec(compile(fenced("python", README), "README.md", "exec"), {})


def test_the_commands_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in fenced("sh").replace(" dwnet_micro ", " dwnet ").splitlines():
        python, _, module, *words = shlex.split(command)
        assert python == "python"
        capsys.readouterr()
        run_stage(folder, module, *words)
        printed = capsys.readouterr().out
        assert "photo.jpg" in printed
        if "--json" in words:
            (record,) = json.loads(printed)
            assert {"picture", "width", "height"} <= record.keys()
            assert ("drawn" in record) == ("--out" in words)
    assert {path.name for path in (folder / "seen").rglob("*.png")} == {
        "photo.jpg.png",
        "one.png.png",
    }
    assert (folder / "predictions" / "photo.jpg.png").exists()


def test_the_limits_on_the_page_are_those_of_the_code(folder: Path) -> None:
    from pipeline.prediction.reading import LEAST_SIDE, MOST_PIXELS, MOST_RATIO

    assert f"below {LEAST_SIDE}\npixels, more than {MOST_PIXELS // 10**6} million" in PAGE
    assert MOST_RATIO == 100
    (folder / "photo.jpg").write_text("hello")
    with pytest.raises(UserError, match="1 of 1 pictures could not be used"):
        run_stage(folder, "pipeline.predict", "classify", "dwnet", "photo.jpg")
