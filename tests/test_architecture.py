"""The cut of the project: no circle of imports, commands that only call, few rooms.

Which room may import which is said in pyproject.toml, and `make lint` holds it.
"""

import re
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest
from helpers import PROJECT

PACKAGES = ("models", "pipeline")
Arrows = dict[str, set[str]]

COMMANDS = sorted(
    path for path in (PROJECT / "pipeline").glob("*.py") if path.name != "__init__.py"
)


@pytest.fixture(scope="module")
def imports() -> Arrows:
    """Return what each module imports of the project, lazily or not."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def circle(arrows: Arrows) -> list[str]:
    """Return one circle, its first name again at its end; empty where there is none."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def between_neighbours(imports: Arrows) -> dict[str, Arrows]:
    """Return for each folder which of the files and folders in it import which others."""
    arrows: dict[str, Arrows] = defaultdict(lambda: defaultdict(set))
    for importer, imported in imports.items():
        for module in imported:
            start, end = importer.split("."), module.split(".")
            pairs = zip(start, end, strict=False)
            depth = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
            if depth is not None:
                arrows[".".join(start[:depth])][start[depth]].add(end[depth])
    return arrows


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})
    assert not circle({"a": {"b", "c"}, "b": {"c"}})

    arrows = between_neighbours({"p.a.x": {"p.b.y"}, "p.b.z": {"p.a.w"}, "p.a.w": {"p.a.v"}})
    assert circle(arrows["p"]) and not circle(arrows["p.a"])


def test_no_modules_import_in_a_circle(imports: Arrows) -> None:
    assert len(imports) > 200
    assert circle(imports) == []


def test_no_folders_import_in_a_circle(imports: Arrows) -> None:
    neighbours = between_neighbours(imports)
    assert {"models", "pipeline", "pipeline.search"} <= neighbours.keys()
    assert {folder: circle(arrows) for folder, arrows in neighbours.items() if circle(arrows)} == {}


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_command_parses_calls_and_prints(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines < 100, f"{path.name} has {lines} lines; what it does belongs into a room"


def test_programs_in_texts_import_modules_that_exist(imports: Arrows) -> None:
    """Tests hold programs as text, where no tool follows a module that moves."""
    missing = {
        f"{path.name}: {module}"
        for path in (PROJECT / "tests").rglob("*.py")
        for module in re.findall(
            r"^ *from ((?:models|pipeline)(?:\.\w+)*) import", path.read_text(), re.M
        )
        if module not in imports
    }
    assert missing == set()


def test_the_stages_fit_on_a_screen() -> None:
    lines = len((PROJECT / "dvc.yaml").read_text().splitlines())
    assert lines <= 140, f"dvc.yaml has {lines} lines"


def test_the_rooms_are_few() -> None:
    inside = (PROJECT / "pipeline").iterdir()
    rooms = sorted(
        path.stem for path in inside if path.suffix == ".py" or (path / "__init__.py").exists()
    )
    rooms.remove("__init__")
    assert len(rooms) <= 39, f"pipeline/ has {len(rooms)} rooms: {', '.join(rooms)}"
