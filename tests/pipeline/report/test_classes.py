"""Results by class: every number from the files, the widest classes first, a matrix for few."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from report_facts import Facts, unfound

from pipeline.core.errors import UserError

FEW = ["cat", "dog", "ship"]
MANY = [f"class {number}" for number in range(30)]


def section(text: str) -> str:
    return text[text.index("## By class") : text.index("## Search")]


def test_every_number_is_that_of_the_files(project: Any) -> None:
    for variant, mixer in (("dw", "dwnet"), ("swin", "swin")):
        project.run("classify", variant, mixer, values=[50.0, 52.0])
        project.classes("classify", variant, FEW, confused=True)
    project.run("detect", "dw", "dwnet")
    project.classes("detect", "dw", MANY)
    text = project.text()
    assert unfound(text, Facts(project.root)) == []
    said = section(text)
    assert len(re.findall(r"^\| `(?:cat|dog|ship)` \|", said, re.MULTILINE)) == 3
    assert len(re.findall(r"^\| `\w+` taken for `\w+` \|", said, re.MULTILINE)) == 6
    assert "The 20 of 30 classes in which variants differ most." in said


def test_the_classes_in_which_variants_differ_most_come_first(project: Any) -> None:
    values: dict[str, dict[str, float]] = {}
    for variant, mixer in (("dw", "dwnet"), ("swin", "swin")):
        project.run("segment", variant, mixer)
        project.classes("segment", variant, MANY)
        with open(project.root / "results/segment" / variant / "per_class.csv") as file:
            values[variant] = {row["class"]: float(row["iou"]) for row in csv.DictReader(file)}
    apart = {name: abs(values["dw"][name] - values["swin"][name]) for name in MANY}
    expected = sorted(MANY, key=lambda name: -apart[name])[:20]
    assert re.findall(r"^\| `(class \d+)` \|", section(project.text()), re.MULTILINE) == expected


def test_a_matrix_is_drawn_of_the_best_variant_with_few_classes(project: Any) -> None:
    for variant, mixer, value in (("dw", "dwnet", 60.0), ("swin", "swin", 50.0)):
        project.run("classify", variant, mixer, values=[value])
        project.classes("classify", variant, FEW, confused=True)
    folder = project.report()
    picture = (folder / "confusion_classify.svg").read_text()
    with open(project.root / "results/classify/dw/confused.csv") as file:
        counts = [row["images"] for row in csv.DictReader(file)]
    shown = re.findall(r">(\d+)</text>", picture)
    assert sorted(shown) == sorted(counts)
    assert "What `dw` takes for what" in (folder / "report.md").read_text()

    long = [f"a name too long for a column {letter}" for letter in "xyz"]
    project.classes("classify", "dw", long, confused=True)
    picture = (project.report() / "confusion_classify.svg").read_text()
    assert [picture.count(f"{name} ({at})") for at, name in enumerate(long, 1)] == [1] * 3
    assert [picture.count(f">{name}<") for name in long] == [0] * 3

    project.classes("classify", "dw", MANY, confused=True)
    project.classes("classify", "swin", MANY, confused=True)
    assert "confusion_classify.svg" not in project.text()


def test_runs_without_such_files_have_no_section(laptop: Any) -> None:
    assert "## By class" not in laptop.text()


def test_a_garbled_table_is_one_sentence(project: Any) -> None:
    project.run("classify", "dw", "dwnet")
    project.classes("classify", "dw", FEW, confused=True)
    path: Path = project.root / "results/classify/dw/confused.csv"
    path.write_text(path.read_text().replace("cat,dog,", "cat,dog,many "))
    with pytest.raises(UserError, match=r"confused\.csv does not fit at 'images' in line 2"):
        project.text()
