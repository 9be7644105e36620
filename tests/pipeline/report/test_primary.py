"""The contrasts of a study: numbers computed a second time, verdicts, and the rule's own errors."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats
from statsmodels.stats.multitest import multipletests

from pipeline.core.errors import UserError
from pipeline.params import load
from pipeline.report.gate import TermAndPairs, adjusted, detectable
from pipeline.report.primary import primary_blocks

SEEDS = 6
STUDY = {
    "locality": ["classify@dw", "classify@k1"],
    "sharing": ["classify@dw", "classify@lc"],
    "attention": ["classify@swin", "classify@dw"],
}
VALUES = {
    "dw": [62.0, 62.4, 61.9, 62.2, 61.7, 62.1],
    "k1": [55.1, 55.9, 54.8, 55.3, 55.2, 55.6],
    "lc": [61.9, 62.5, 61.8, 62.3, 61.6, 62.0],
    "swin": [60.0, 63.5, 61.0, 62.6, 61.9, 60.2],
}


@pytest.fixture
def study(project: Any) -> Any:
    """Four small networks of six seeds on photographs, and three contrasts of them."""
    mixers = {"dw": "dwnet", "k1": "dwnet", "lc": "locally_connected", "swin": "swin"}
    for name, mixer in mixers.items():
        extra = {"kernel_size": 1} if name == "k1" else {}
        data = {"source": "/photos"}
        project.run("classify", name, mixer, values=VALUES[name], data=data, **extra)
    project.compare = lambda **section: compare(project.root, section)
    project.compare(primary=STUDY, tolerance={"top1": 1.0})
    return project


def compare(root: Path, section: dict[str, Any]) -> None:
    path = root / "params.yaml"
    tree = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(tree | {"compare": section}, sort_keys=False))


def rows(project: Any) -> dict[str, dict[str, str]]:
    text = project.texts()["primary.csv"]
    return {row["name"]: row for row in csv.DictReader(text.splitlines())}


def differences(stages: Sequence[str]) -> Any:
    left, right = (np.array(VALUES[stage.partition("@")[2]]) for stage in stages)
    return left - right


def test_numbers_are_those_of_scipy_and_holm(study: Any) -> None:
    found = rows(study)
    raw = {name: stats.ttest_1samp(differences(stages), 0).pvalue for name, stages in STUDY.items()}
    holm = multipletests(list(raw.values()), method="holm")[1]
    for (name, stages), p in zip(STUDY.items(), holm, strict=True):
        points = differences(stages)
        row = {key: value for key, value in found[name].items() if key != "name"}
        assert float(row["difference"]) == pytest.approx(points.mean(), abs=1e-6)
        assert float(row["sd"]) == pytest.approx(points.std(ddof=1), abs=1e-6)
        low, high = stats.t.interval(0.95, SEEDS - 1, points.mean(), stats.sem(points))
        assert float(row["low"]) == pytest.approx(low, abs=1e-6)
        assert float(row["high"]) == pytest.approx(high, abs=1e-6)
        assert float(row["p"]) == pytest.approx(raw[name], abs=1e-6)
        assert float(row["p_adjusted"]) == pytest.approx(min(p, 1.0), abs=1e-6)
        effect = float(row["detectable"]) / stats.sem(points)
        assert power(effect, SEEDS - 1, 0.05 / len(STUDY)) == pytest.approx(0.8, abs=0.002)


def power(effect: float, freedom: int, level: float) -> float:
    """Of a two-sided t-test, for an effect in standard errors."""
    bar = stats.t.ppf(1 - level / 2, freedom)
    return float(stats.nct.sf(bar, freedom, effect) + stats.nct.cdf(-bar, freedom, effect))


def test_each_verdict(study: Any) -> None:
    found = {name: row["verdict"] for name, row in rows(study).items()}
    expected = {
        "locality": "told apart",
        "sharing": "alike within 1",
        "attention": "not told apart",
    }
    assert found == expected
    text = study.text()
    section = text[text.index("## Primary contrasts") : text.index("## Results")]
    assert "| locality; classification | `dw` minus `k1` | +6.7 |" in section
    assert "**alike within 1**" in section
    assert section.count("small-scale run |") == len(STUDY)


def test_a_small_difference_is_both_told_apart_and_alike(study: Any) -> None:
    values = [value - 0.5 - 0.01 * at for at, value in enumerate(VALUES["dw"])]
    data = {"source": "/photos"}
    study.run("classify", "lc", "locally_connected", values=values, data=data)
    study.compare(primary=STUDY, tolerance={"top1": 1.0})
    assert rows(study)["sharing"]["verdict"] == "told apart, and alike within 1"


def test_a_contrast_without_runs_counts_in_the_adjustment(study: Any) -> None:
    study.name("classify", "late", "i_dynamic_dwnet")
    more = STUDY | {"late": ["classify@late", "classify@dw"]}
    alone = float(rows_of(study, {"locality": STUDY["locality"]})["locality"]["p_adjusted"])
    found = rows_of(study, more)
    assert found["late"]["verdict"] == "not run" and found["late"]["p_adjusted"] == ""
    assert float(found["locality"]["p_adjusted"]) == pytest.approx(4 * alone, rel=0.1)
    assert "| late | `late` minus `dw` | –" in study.text()


def rows_of(study: Any, primary: dict[str, Any]) -> dict[str, dict[str, str]]:
    study.compare(primary=primary, tolerance={"top1": 1.0})
    return rows(study)


def test_images_can_keep_a_difference_from_being_told_apart(study: Any) -> None:
    """Seeds agree to a hair, and the difference is of few images: another draw may undo it."""
    data = {"source": "/photos"}
    for name, mixer, value, step in (("a", "dwnet", 51.0, 1), ("b", "dynamic_dwnet", 49.0, 2)):
        values = [value + 0.1 * (step * seed % 3) for seed in range(SEEDS)]
        study.run("classify", name, mixer, values=values, data=data)
    primary = {"few": ["classify@a", "classify@b"]}
    apart = rows_of(study, primary)["few"]
    assert apart["both_low"] == ""

    for name in ("a", "b"):
        study.predictions("classify", name)
        shuffle(study.root / "results" / "classify" / name / "predictions.json", seed=ord(name))
    row = rows_of(study, primary)["few"]
    assert float(row["p_adjusted"]) == float(row["p_both"]) > 0.05 > float(row["p"])
    assert row["verdict"] == "not told apart"


def shuffle(path: Path, seed: int) -> None:
    """Deal the right images anew, the same for every seed."""
    from base64 import b64decode, b64encode

    tree = json.loads(path.read_text())
    for row in tree["seeds"]:
        packed = np.frombuffer(b64decode(row["bits"]), np.uint8)
        right = np.unpackbits(packed, count=row["images"]).astype(bool)
        order = np.random.default_rng(seed).permutation(row["images"])
        dealt = np.zeros_like(right)
        dealt[order[: right.sum()]] = True
        row["bits"] = b64encode(np.packbits(dealt).tobytes()).decode()
    path.write_text(json.dumps(tree))


def test_without_named_contrasts_there_is_no_section(project: Any) -> None:
    assert primary_blocks([]) == []
    project.run("classify", "dw", "dwnet")
    assert "Primary contrasts" not in project.text()


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        (["classify@dw", "classify@gone"], "classify.variants has no gone; add it"),
        (["classify@dw", "classify@dw"], "name two variants of one task"),
        (["classify@dw", "detect@dw"], "name two variants of one task"),
        (["classify@dw", "dw"], "compare.primary.a"),
    ],
)
def test_what_is_no_contrast_is_refused(project: Any, stages: list[str], sentence: str) -> None:
    project.name("classify", "dw", "dwnet")
    project.name("detect", "dw", "dwnet")
    compare(project.root, {"primary": {"a": stages}})
    with pytest.raises(UserError, match=sentence.replace(".", r"\.")):
        load(project.root / "params.yaml")


def test_one_family_in_twenty_holds_a_false_claim_and_four_effects_in_five_are_found() -> None:
    """Simulated: five contrasts that share a side, as those of a baseline do."""
    times, family = 4000, 5
    draw = np.random.default_rng(0)
    sides = draw.standard_normal((times, family + 1, SEEDS))
    points = sides[:, 1:] - sides[:, :1]

    def claims(values: Any) -> Any:
        p = stats.ttest_1samp(values, 0, axis=-1).pvalue
        levels = [adjusted([TermAndPairs(one, (one,)) for one in row]) for row in p]
        return np.array([[level.term < 0.05 for level in row] for row in levels])

    assert claims(points).any(1).mean() <= 0.05

    points[:, 0] += detectable(1, SEEDS - 1, family) * np.sqrt(2) / np.sqrt(SEEDS)
    assert 0.77 <= claims(points)[:, 0].mean() <= 0.85
