"""Every number of the report is one of its inputs, or follows from them."""

import json
import random
import re
from typing import Any

import pytest
from report_facts import NUMBER, Facts, unfound


@pytest.fixture
def whole(laptop: Any) -> Any:
    """A small run with its factorial and its search."""
    laptop.factorial()
    laptop.search()
    return laptop


def test_every_number_is_found_again_in_the_results(whole: Any) -> None:
    text = whole.text()
    assert len(NUMBER.findall(text)) > 1500
    assert unfound(text, Facts(whole.root)) == []


def test_so_is_every_number_over_images(laptop: Any) -> None:
    for variant in ("swin_micro", "dwnet_micro", "dynamic_dwnet_micro"):
        laptop.predictions("classify", variant)
    text = laptop.text()
    assert "Which variance is which: seeds, images, both" in text
    assert unfound(text, Facts(laptop.root)) == []


def test_so_is_every_number_of_runs_without_factorial_and_search(laptop: Any) -> None:
    assert unfound(laptop.text(), Facts(laptop.root)) == []


def test_a_number_from_anywhere_else_is_noticed(whole: Any) -> None:
    """One number of the report after the other gets another digit."""
    text, facts, draw = whole.text(), Facts(whole.root), random.Random(0)
    measured = text[text.index("## Five questions") : text.index("## How to read")]
    lines = [
        line for line in measured.splitlines() if re.search(r"\d\.\d", line.partition("](")[0])
    ]
    changed = missed = 0
    for line in draw.sample(lines, 120):
        start = measured.index(line)
        above = "\n".join(re.findall(r"^##+ .*$", measured[:start], re.MULTILINE)[-2:])
        number = draw.choice([m for m in re.finditer(r"(?<=[ +-])\d+\.\d+", line)] or [None])
        if number is None or number.group() in ("0.001", "2106.04263"):
            continue
        digits = len(number.group().partition(".")[2])
        other = f"{float(number.group()) * draw.uniform(1.3, 1.9) + 0.7:.{digits}f}"
        invented = line[: number.start()] + other + line[number.end() :]
        changed += 1
        missed += not unfound(f"{above}\n{invented}", facts)
    assert changed > 80
    assert missed <= changed * 0.06  # one that happens to be another number of the same line


@pytest.mark.parametrize(
    ("file", "change"),
    [
        (
            "classify/swin_micro/metrics.json",
            lambda tree: tree["seeds"][1]["final"].update(top1=61.7),
        ),
        (
            "segment/dwnet_micro/metrics.json",
            lambda tree: tree["seeds"][0]["final"].update(miou=35.5),
        ),
        (
            "profile/dwnet_micro/profile.json",
            lambda tree: tree.update(inference_images_per_second=4444.0),
        ),
        ("tune/search.json", lambda tree: tree.update(image_size=96)),
    ],
)
def test_a_report_of_other_results_is_noticed(whole: Any, file: str, change: Any) -> None:
    text, path = whole.text(), whole.root / "results" / file
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))
    assert unfound(text, Facts(whole.root))
    assert unfound(whole.text(), Facts(whole.root)) == []


def test_a_factorial_of_other_trials_is_noticed(whole: Any) -> None:
    text, rows = whole.text(), whole.trials("factorial")
    rows[4]["top1"] = float(rows[4]["top1"]) + 3
    whole.write_trials("factorial", rows)
    assert unfound(text, Facts(whole.root))
    assert unfound(whole.text(), Facts(whole.root)) == []


def test_a_number_in_the_code_is_noticed(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.report import numbers

    signed = numbers.signed
    monkeypatch.setattr(
        numbers, "signed", lambda metric, number: signed(metric, 7.7 if number else number)
    )
    assert unfound(whole.text(), Facts(whole.root))


def test_the_tables_hold_what_the_pages_say(whole: Any) -> None:
    """contrasts.csv, costs.csv, effects.csv and hours.csv, against what NumPy makes of the
    results.
    """
    import csv
    import io

    facts = Facts(whole.root)
    read = {
        name: list(csv.DictReader(io.StringIO(text)))
        for name, text in whole.texts().items()
        if "csv" in name
    }
    for row in read["contrasts.csv"]:
        found = facts.pair((row["task"], row["left"]), (row["task"], row["right"]))
        stated = [float(row[key]) for key in ("difference", "sd", "low", "high") if row[key]]
        assert float(row["seeds"]) == found[0]
        assert stated == pytest.approx(found[2 : 2 + len(stated)], abs=2e-6)
    assert {row["question"] for row in read["contrasts.csv"]} == {"1", "2", "3", "5", ""}
    for row in read["costs.csv"]:
        assert float(row["ratio"]) == pytest.approx(
            float(row["left_value"]) / float(row["right_value"]), abs=1e-6
        )
        ratios = facts.pair((row["task"], row["left"]), (row["task"], row["right"]))
        assert any(float(row["ratio"]) == pytest.approx(ratio, abs=1e-6) for ratio in ratios)
    known = facts.effects | facts.levels
    assert {row["effect"] for row in read["effects.csv"]} == known.keys()
    keys = ("estimate", "low", "high", "p", "detectable", "runs", "p_adjusted", "statistic")
    for row in read["effects.csv"]:
        numbers = {key: float(row[key]) for key in keys if row[key]}
        expected = dict(zip(keys, known[row["effect"]], strict=False))
        if "as a whole" in row["effect"]:
            assert numbers.pop("runs") == 36
            assert numbers.keys() == {"p", "p_adjusted", "statistic"}
        assert numbers == pytest.approx({key: expected[key] for key in numbers}, rel=1e-3, abs=2e-5)
    spent = {row["where"]: float(row["hours"]) for row in read["hours.csv"]}
    assert spent["short"] == pytest.approx(facts.of_section["Factorial"][-1], abs=1e-6)
    assert spent["search"] == pytest.approx(facts.of_section["Search"][-1], abs=1e-6)
