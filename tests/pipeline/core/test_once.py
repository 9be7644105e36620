"""What one module does for all is done nowhere else."""

import ast

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


@pytest.fixture(scope="module")
def calls() -> dict[str, set[str]]:
    """What each module of the pipeline calls, by its path."""
    package = PROJECT / "pipeline"
    return {
        str(path.relative_to(package)): {
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        }
        for path in package.rglob("*.py")
    }


@pytest.mark.parametrize("name", ONE)
def test_what_one_module_does_is_done_nowhere_else(calls: dict[str, set[str]], name: str) -> None:
    assert {path for path, called in calls.items() if name in called} == ONE[name]


def test_no_class_is_defined_twice() -> None:
    places: dict[str, list[str]] = {}
    for package in ("pipeline", "models"):
        for path in sorted((PROJECT / package).rglob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(str(path.relative_to(PROJECT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_rows_and_lines_make_the_same_table() -> None:
    rows: list[dict[str, object]] = [{"a": 1, "b": "x,y"}, {"a": float("nan")}]
    assert csv_text(["a", "b"], rows) == 'a,b\n1,"x,y"\n,\n'
    assert csv_lines(["a", "b"], [[1, "x,y"], ["", ""]]) == csv_text(["a", "b"], rows)
    with pytest.raises(ValueError, match="no column for c"):
        csv_text(["a"], [{"c": 1}])
