"""docs/adding-a-mixer.md is followed step by step in a copy of the project; every page names files,
commands and pages that exist.
"""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import AS_HERE, PROJECT

from tests import pictures

PAGE = (PROJECT / "docs" / "adding-a-mixer.md").read_text()
PAGES = [*sorted(PROJECT.glob("*.md")), *sorted((PROJECT / "docs").glob("*.md"))]
OURS = ("benchmarks/", "deploy/", "docs/", "models/", "params/", "pipeline/", "tests/")
"""Folders that hold nothing but files of the project."""
PLACEHOLDER = re.compile(r"[<{*]")
TO_BE_WRITTEN = {"models/mixers/mine.py"}
"""Files that a reader is told to make."""
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


def missing_files(page: str) -> list[str]:
    """Return the files of the project that a page names in backticks and that are not there."""
    names = re.findall(r"`([^`\s]+)`", page)
    ours = [name for name in names if name.startswith(OURS) and not PLACEHOLDER.search(name)]
    return [name for name in ours if name not in TO_BE_WRITTEN and not (PROJECT / name).exists()]


def missing_pages(page: str, folder: Path) -> list[str]:
    """Return the files that a page links to and that are not there."""
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", page) if "://" not in link]
    return [link for link in links if not (folder / link).exists()]


def missing_modules(page: str) -> list[str]:
    """Return the modules of the project that a page runs and that cannot be run."""
    names = re.findall(r"python -m ((?:models|pipeline|tests)[\w.]*)", page)
    paths = [PROJECT.joinpath(*name.split(".")) for name in names]
    return [
        name
        for name, path in zip(names, paths, strict=True)
        if not path.with_suffix(".py").exists() and not (path / "__main__.py").exists()
    ]


def test_what_is_not_there_is_found() -> None:
    page = (
        "`models/nothing.py`, `pipeline/<verb>.py`, `models/`, [a](b.md), `python -m pipeline.no`"
    )
    assert missing_files(page) == ["models/nothing.py"]
    assert missing_pages(page, PROJECT) == ["b.md"]
    assert missing_modules(page) == ["pipeline.no"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_names_what_exists(path: Path) -> None:
    page = path.read_text()
    assert missing_files(page) == []
    assert missing_pages(page, path.parent) == []
    assert missing_modules(page) == []


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
    assert "passed" in python(project, *test, *AS_HERE)


def test_the_stages_of_the_page_are_those_of_the_pipeline(project: Path) -> None:
    (train,) = (command for command in commands() if command.startswith("dvc "))
    stages = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    variants = yaml.safe_load((project / "params.yaml").read_text())["classify"]["variants"]
    for target in train.split()[2:]:
        name, _, key = target.partition("@")
        assert name in stages
        assert not key or key in variants


def printed(node: ast.AST) -> str:
    """Return a text of the code, with `...` for each part that is computed."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(printed(part) for part in parts)
        case _:
            return "..."


def pattern(sentence: str) -> str:
    """Return a sentence as an expression in which `...` is anything."""
    return ".*".join(map(re.escape, re.split(r"(?:\.\.\.|…)+", " ".join(sentence.split()))))


def test_the_sentences_of_troubleshooting_are_those_of_the_code() -> None:
    page = (PROJECT / "docs" / "troubleshooting.md").read_text()
    sentences = re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)
    trees = [ast.parse(path.read_text()) for path in (PROJECT / "pipeline").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    kinds = (ast.Constant, ast.JoinedStr)
    texts = {" ".join(printed(node).split()) for node in nodes if isinstance(node, kinds)}
    texts.add(" ".join((PROJECT / "Makefile").read_text().split()))
    unknown = [
        sentence
        for sentence in sentences
        if sentence not in OF_OTHERS
        and not any(re.search(pattern(sentence), text) for text in texts)
    ]
    assert len(sentences) > 40
    assert unknown == []


OF_OTHERS = {"No module named", "zsh: no matches found", "out of memory"}
"""Sentences of Python, the shell and torch."""


def test_every_page_is_in_the_readme() -> None:
    readme = (PROJECT / "README.md").read_text()
    pages = {f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md")}
    assert pages - set(re.findall(r"\]\((docs/[\w-]+\.md)\)", readme)) == set()


def test_links_to_headings_lead_to_headings() -> None:
    for path in PAGES:
        for page, heading in re.findall(r"\]\(([\w./-]*\.md)?#([\w-]+)\)", path.read_text()):
            text = (path.parent / page if page else path).read_text()
            titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in anchors, f"{path.name}: {page}#{heading}"


def test_the_readme_is_read_in_minutes() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 200


def test_pictures_are_small_and_shown() -> None:
    pages = "".join(path.read_text() for path in PAGES)
    shown = sorted((PROJECT / "docs" / "pictures").iterdir())
    assert len(shown) >= 3
    for path in shown:
        assert path.stat().st_size < 150_000
        assert f"pictures/{path.name})" in pages


def test_pictures_without_a_browser_or_a_report_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for browser, lacking in ((None, "not on PATH"), ("chromium", "`make repro` writes it")):
        monkeypatch.setattr(pictures, "CHROMIUM", browser)
        with pytest.raises(SystemExit, match=lacking):
            pictures.main()
