"""docs/adding-a-mixer.md is followed step by step in a copy of the project."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import PROJECT

PAGE = (PROJECT / "docs" / "adding-a-mixer.md").read_text()
STEP = """
import torch
from models import create_model
from pipeline.params import load
from pathlib import Path

variant = load(Path("params.yaml")).classify.variants["cross_micro"]
model = create_model(variant.model_name, num_classes=3, **variant.overrides)
scales = [p for name, p in model.named_parameters() if name.endswith("spatial.scale")]
assert len(scales) == 5 and all(p.eq(0.5).all() for p in scales)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, labels = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 2, 0])
first = torch.nn.functional.cross_entropy(model(x), labels)
first.backward()
assert all(p.grad.abs().sum() > 0 for p in scales)
optimizer.step()
assert torch.nn.functional.cross_entropy(model(x), labels) < first
"""


def fenced(language: str) -> list[str]:
    """Return the page's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [line for fence in fenced("sh") for line in fence.splitlines()]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which steps 1 and 3 of the page were done."""
    folder = tmp_path_factory.mktemp("copied")
    for name in ("models", "pipeline", "tests"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "dvc.yaml", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder)
    (source,) = fenced("python")
    (line,) = fenced("yaml")
    (folder / source.splitlines()[0].removeprefix("# ")).write_text(source)
    params = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(params.replace("  variants:\n", f"  variants:\n{line}", 1))
    return folder


def python(project: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_file_is_a_mixer_and_the_line_trains_it(project: Path) -> None:
    python(project, "-c", STEP)


def test_the_commands_of_the_page_show_and_test_it(project: Path) -> None:
    look, test = (command.split()[1:] for command in commands() if command.startswith("python "))
    rows = python(project, *look).splitlines()
    assert [row.split()[0] for row in rows[1:]] == [
        f"cross_{size}" for size in ("micro", "tiny", "small", "base")
    ]
    assert "passed" in python(
        project, *test, "-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib"
    )


def test_the_stages_of_the_page_are_those_of_the_pipeline(project: Path) -> None:
    (train,) = (command for command in commands() if command.startswith("dvc "))
    stages = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    variants = yaml.safe_load((project / "params.yaml").read_text())["classify"]["variants"]
    for target in train.split()[2:]:
        name, _, key = target.partition("@")
        assert name in stages
        assert not key or key in variants
