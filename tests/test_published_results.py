"""What docs/results/ says follows from the runs that lie beside it, and today's code makes of them
the tables that lie there.
"""

import argparse
import csv
import json
import re
import shutil
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from helpers import PROJECT
from scipy import stats

from pipeline.params import load
from pipeline.project.call import Call, Folders
from pipeline.report.render import gather, tables

PUBLISHED = PROJECT / "docs" / "results" / "cifar10"
RESULTS = PUBLISHED / "results"
PARAMS = "params/cifar10.yaml"
OPTIONS = ["compare.samples=false", "compare.links=false"]
PAGES = [PROJECT / "README.md", PUBLISHED / "README.md"]
NUMBER = re.compile(r"[-+]?\d+\.\d+")


def top1(variant: str) -> list[float]:
    metrics = json.loads((RESULTS / "classify" / variant / "metrics.json").read_text())
    return [row["final"]["top1"] for row in metrics["seeds"]]


def interval(values: list[float]) -> tuple[float, float]:
    found = stats.t.interval(0.95, len(values) - 1, fmean(values), stats.sem(values))
    return float(found[0]), float(found[1])


def difference(left: str, right: str) -> list[float]:
    """Mean and interval of a paired difference."""
    return between(top1(left), top1(right))


def between(left: list[float], right: list[float]) -> list[float]:
    paired = [one - other for one, other in zip(left, right, strict=True)]
    return [fmean(paired), *interval(paired)]


def searched(mixer: str) -> dict[int, list[float]]:
    """Top-1 of each seed by kernel size, in the order of seeds."""
    found: dict[int, list[tuple[int, float]]] = defaultdict(list)
    with open(RESULTS / "tune" / "trials.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["mixer"] == mixer:
                found[int(row["kernel_size"])].append((int(row["seed"]), float(row["top1"])))
    return {size: [value for _, value in sorted(found[size])] for size in sorted(found)}


def kernels(mixer: str) -> list[float]:
    """The largest kernel minus the smallest."""
    by_size = list(searched(mixer).values())
    return between(by_size[-1], by_size[0])


def written(line: str) -> list[str]:
    """The numbers of a line, those of its names aside."""
    return NUMBER.findall(re.sub(r"`[^`]*`", "", line))


def same(text: str, value: float) -> bool:
    """Whether a number is this one as it is rounded, with its sign where it is written."""
    return abs(float(text) - value) <= 0.0501


def test_todays_code_makes_the_published_tables(tmp_path: Path) -> None:
    shutil.copytree(RESULTS, tmp_path / "results")
    args = argparse.Namespace(params=PARAMS, set=OPTIONS, out=None)
    params = load(PROJECT / PARAMS, OPTIONS)
    made = tables(gather(Call(args, params, PROJECT, Folders(tmp_path))))
    assert len(made) >= 6
    for name, text in made.items():
        published = (RESULTS / "report" / name).read_text()
        assert text == published, name


def test_only_what_may_be_passed_on_is_there() -> None:
    files = [path for path in PUBLISHED.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".md", ".html", ".csv", ".json", ".svg"}
    assert sum(path.stat().st_size for path in files) < 3e6
    for path in files:
        text = path.read_text()
        assert "127.0.0.1" not in text and "data:image" not in text, path
        assert not re.search(r'[\s"=`](/home|/work|/tmp|/root)/', text), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_every_network_of_a_page_has_its_numbers(page: Path) -> None:
    variants = load(PROJECT / PARAMS).classify.variants
    for variant in variants:
        rows = [
            line
            for line in page.read_text().splitlines()
            if line.startswith(f"| `{variant}` | {fmean(top1(variant)):.1f} |")
        ]
        assert len(rows) == 1, variant
        found = written(rows[0].partition("|")[2])
        for text, value in zip(found[1:3], interval(top1(variant)), strict=True):
            assert same(text, value), rows[0]
        if page == PAGES[0] and variant != "dwnet":
            for text, value in zip(found[3:6], difference(variant, "dwnet"), strict=True):
                assert same(text, value), rows[0]


def test_every_contrast_of_the_page_has_its_numbers() -> None:
    primary = load(PROJECT / PARAMS).compare.primary
    lines = PAGES[1].read_text().splitlines()
    for name, stages in primary.items():
        left, right = (stage.partition("@")[2] for stage in stages)
        start = f"| {name.replace('_', ' ')} | `{left}` − `{right}` |"
        [line] = [line for line in lines if line.startswith(start)]
        expected = difference(left, right)
        assert all(same(t, v) for t, v in zip(written(line)[:3], expected, strict=True)), line
        claimed = line.rstrip("| ").rpartition("|")[2].strip()
        assert (claimed == "told apart") == (expected[1] > 0 or expected[2] < 0), line


def test_every_kernel_size_of_the_page_has_its_numbers() -> None:
    mixers = load(PROJECT / PARAMS).tune.space["mixer"]
    assert isinstance(mixers, tuple)
    lines = PAGES[1].read_text().splitlines()
    for mixer in mixers:
        means = [fmean(values) for values in searched(mixer).values()]
        assert len(means) == 4
        [line] = [line for line in lines if re.match(rf"\| `{mixer}` (\| \d\d\.\d ){{4}}\|", line)]
        expected = [*means, *kernels(mixer)]
        assert all(same(t, v) for t, v in zip(written(line), expected, strict=True)), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_every_sentence_states_a_difference_with_its_interval(page: Path) -> None:
    """`8.8 points (8.1 to 9.5)` and `-0.1, -1.1 to +0.9` are contrasts of the study."""
    primary = load(PROJECT / PARAMS).compare.primary.values()
    known = [difference(*(stage.partition("@")[2] for stage in stages)) for stages in primary]
    known += [kernels(mixer) for mixer in ("dwnet", "dynamic_dwnet")]
    text = " ".join(line for line in page.read_text().splitlines() if not line.startswith("|"))
    stated = re.findall(r"(-?\d\.\d)[^().]*\((-?\+?\d\.\d) to (-?\+?\d\.\d)\)", text)
    assert len(stated) >= 4
    for triple in stated:
        low, high = float(triple[1]), float(triple[2])
        assert any(matches(float(triple[0]), low, high, found) for found in known), triple


def matches(middle: float, low: float, high: float, found: list[float]) -> bool:
    """Whether these are the numbers of a difference, or of the other side's over this one."""
    ways: list[list[Any]] = [found, [-found[0], -found[2], -found[1]]]
    assert all(first <= second for first, second in pairwise((low, middle, high)))
    return any(
        all(abs(one - other) <= 0.0501 for one, other in zip((middle, low, high), way, strict=True))
        for way in ways
    )
