"""What one module does for all is done nowhere else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import PROJECT

from pipeline.core.csv import csv_lines, csv_text

ONE = {
    "fcntl.flock": {"core/locks.py"},
    "csv.writer": {"core/csv.py"},
    "csv.DictWriter": set(),
    "MlflowClient": {"tracking/database.py"},
    "sys.stderr.isatty": {"core/progress.py"},
    "shlex.quote": {"core/shell.py"},
}
"""A call, and the modules that may make it."""


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("name", ONE)
def test_what_one_module_does_is_done_nowhere_else(name: str) -> None:
    package = PROJECT / "pipeline"
    callers = {
        str(path.relative_to(package)) for path in package.rglob("*.py") if name in calls(path)
    }
    assert callers == ONE[name]


def test_no_class_is_defined_twice() -> None:
    places: dict[str, list[str]] = {}
    for package in ("pipeline", "models"):
        for path in sorted((PROJECT / package).rglob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(str(path.relative_to(PROJECT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_rows_and_lines_make_the_same_table() -> None:
    rows = [{"a": 1, "b": "x,y"}, {"a": float("nan")}]
    assert csv_text(["a", "b"], rows) == 'a,b\n1,"x,y"\n,\n'
    assert csv_lines(["a", "b"], [[1, "x,y"], ["", ""]]) == csv_text(["a", "b"], rows)
    with pytest.raises(ValueError, match="no column for c"):
        csv_text(["a"], [{"c": 1}])
