"""The five answers: what is said of which runs, how sure, and what is missing."""

import csv
import io
import json
import re
from typing import Any

import pytest
import yaml

from pipeline.params import Variant
from pipeline.report.answers.all_tasks import verdict
from pipeline.report.answers.costs import costs
from pipeline.report.contrasts import contrast, control_pairs, search_pairs
from pipeline.report.results import VariantResult, read_results
from pipeline.report.samples import SamplePicture, of_variant
from pipeline.report.trials import read_factorial, read_search

PAPER = {"scale": "paper"}


def answer(project: Any, number: int) -> str:
    """The text of one answer."""
    text = project.text()
    five = text[text.index("\n## Five questions") :].split("\n## ")[1]
    return str(five.split("\n### ")[number])


def picture_of(result: VariantResult) -> SamplePicture:
    assert result.metrics is not None
    return of_variant(result, result.metrics)


def paper_pair(project: Any, task: str, simple: list[float], swin: list[float]) -> None:
    project.run(task, "dwnet_tiny", "dwnet", "tiny", values=simple, **PAPER)
    project.run(task, "swin_tiny", "swin", "tiny", values=swin, **PAPER)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([80.1, 80.2, 80.0], [80.0, 80.1, 80.0], "matches"),  # 0.0 to 0.2, within 0.3
        (
            [80.05, 80.06, 80.07],
            [80.0, 80.0, 80.0],
            "matches",
        ),  # above zero, and too little to count
        ([81.0, 81.2, 81.1], [80.0, 80.1, 80.0], "beats"),
        ([79.0, 79.2, 79.1], [80.0, 80.1, 80.0], "falls behind"),
        ([80.1, 80.9, 80.0], [80.0, 80.1, 80.0], "not settled"),
        ([85.0], [80.0], "not settled"),  # one seed
        ([100.0, 100.0], [100.0, 100.0], "not settled"),  # nothing left to tell apart
    ],
)
def test_a_verdict_is_that_of_the_interval_against_the_margin(
    project: Any, left: list[float], right: list[float], expected: str
) -> None:
    paper_pair(project, "classify", left, right)
    runs = {result.name: result for result in read_results(project.call()).of("classify")}
    one, other = (picture_of(runs[name]) for name in ("dwnet_tiny", "swin_tiny"))
    assert verdict(contrast("swin", one, other), 0.3) == expected
    assert f"`dwnet_tiny` against `swin_tiny`: **{expected}**" in answer(project, 5)


def test_without_a_tolerance_nothing_matches(project: Any) -> None:
    paper_pair(project, "classify", [80.1, 80.2, 80.0], [80.0, 80.1, 80.0])
    path = project.root / "params.yaml"
    path.write_text(path.read_text() + "compare: {tolerance: {box_ap: 0.1}}\n")
    assert "**not settled**" in answer(project, 5)


def test_all_three_tasks_are_answered_together(project: Any) -> None:
    for task in ("classify", "detect", "segment"):
        paper_pair(project, task, [46.0, 46.1, 46.2], [45.0, 45.1, 45.1])
    said = answer(project, 5)
    assert (
        "All three tasks together, `dwnet_tiny` against `swin_tiny`: **matches or beats it "
        "on each**" in said
    )
    assert "small-scale run" not in said
    assert "synthetic images" not in said
    paper_pair(project, "detect", [40.0, 40.1, 40.2], [45.0, 45.1, 45.1])
    paper_pair(project, "segment", [46.0], [45.0])
    assert "**falls behind in detection; not settled in segmentation**" in answer(project, 5)


def test_a_task_that_was_not_run_leaves_the_question_open(project: Any) -> None:
    paper_pair(project, "classify", [81.0, 81.1], [80.0, 80.1])
    project.name("segment", "swin_tiny", "swin", "tiny")
    said = answer(project, 5)
    assert "**not run with both in detection and segmentation**" in said
    assert "- `dvc repro segment@swin_tiny`" in said
    assert (
        "Add `swin_tiny: {mixer: swin, size: tiny}` to `detect.variants`" not in said
    )  # no size is known there
    assert "`detect.variants`, then `dvc repro detect@" in said


def test_synthetic_data_are_said_once_and_in_every_row(laptop: Any) -> None:
    """An answer begins with it, and the scale column of its table repeats it."""
    laptop.factorial()
    laptop.search()
    for number in range(1, 6):
        said = answer(laptop, number)
        first = said.splitlines()[2]
        assert first == "**Synthetic data: this shows the machinery, no answer about vision.**"
        body = said.partition("<details>")[0]
        rows = [line for line in body.splitlines() if re.match(r"\| .*\d\.\d", line)]
        assert rows
        assert all("small-scale run, synthetic" in row for row in rows)
        rest = [line for line in body.splitlines()[3:] if not line.startswith("|")]
        assert not [line for line in rest if "ynthetic" in line]


def test_sentences_name_their_scale_where_runs_of_several_are_at_hand(project: Any) -> None:
    for size, scale in (("tiny", "paper"), ("micro", "small")):
        for name, mixer in (("dw", "dwnet"), ("dyn", "dynamic_dwnet")):
            values = [50.0 + (mixer != "dwnet"), 51.1 + (mixer != "dwnet")]
            project.run("classify", f"{name}_{size}", mixer, size, values=values, scale=scale)
    said = answer(project, 2)
    assert "- On synthetic images (small-scale run), computing the weights" in said
    assert "- At the paper's scale, computing the weights" in said


def test_small_runs_on_photographs_are_no_answer_at_the_papers_scale(project: Any) -> None:
    for name, mixer, base in (("dw", "dwnet", 50.0), ("dyn", "dynamic_dwnet", 55.0)):
        project.run(
            "classify", name, mixer, values=[base, base + 1, base + 1.5], data={"source": "/photos"}
        )
    said = answer(project, 2)
    assert "**From a small-scale run: no answer at the paper's scale.**" in said
    assert "- Computing the weights from the image raised top-1 in classification: +5.0" in said


def test_a_sentence_says_what_its_intervals_settle(project: Any) -> None:
    project.run("classify", "dw", "dwnet", "tiny", values=[80.0, 80.1, 80.2], **PAPER)
    project.run("classify", "dyn", "dynamic_dwnet", "tiny", values=[81.0, 81.2, 81.2], **PAPER)
    assert "- Computing the weights from the image raised top-1" in answer(project, 2)
    project.run("classify", "idyn", "i_dynamic_dwnet", "tiny", values=[79.0, 79.2, 79.1], **PAPER)
    assert "raised top-1 in classification in some pairs and lowered it in others" in answer(
        project, 2
    )
    project.run("classify", "dyn", "dynamic_dwnet", "tiny", values=[81.0, 75.0, 83.0], **PAPER)
    said = answer(project, 2)
    assert "lowered top-1 in classification: -1.0 points for `idyn` minus `dw`" in said
    assert "The other pairs are not settled." in said
    project.run("classify", "idyn", "i_dynamic_dwnet", "tiny", values=[79.0], **PAPER)
    assert (
        "No effect of computing the weights from the image on top-1 in classification is settled"
        in answer(project, 2)
    )


def test_what_to_add_to_the_parameters_can_be_added(project: Any) -> None:
    project.run("classify", "dwnet_micro", "dwnet")
    said = "".join(answer(project, number) for number in (1, 2, 3, 5))
    entries = re.findall(
        r"[Aa]dd `(\w+): (\{.*?\})` to `(\w+)\.variants`, then `dvc repro (\w+)@(\w+)`", said
    )
    assert len(entries) >= 6
    for name, entry, task, repro, variant in entries:
        Variant.model_validate(yaml.safe_load(entry))
        assert (repro, variant) == (task, name)
    assert "`dvc repro factorial`" in answer(project, 4)
    assert "`dvc repro tune`" in answer(project, 1)
    assert "`dvc repro profile@dwnet_micro`" in answer(project, 3)


def test_added_entries_answer(project: Any) -> None:
    """What question 1 asks for is what it then has."""
    project.run("classify", "dwnet_micro", "dwnet", values=[50.0, 51.0])
    asked = re.findall(r"[Aa]dd `(\w+): (\{.*?\})`", answer(project, 1))
    for name, entry in asked:
        project.run("classify", name, values=[49.0, 50.5], **yaml.safe_load(entry))
    said = answer(project, 1)
    assert not re.findall(r"[Aa]dd `", said)
    for what in ("kernel size;", "groups of channels;", "positions;"):
        assert f"| {what}" in said


def test_runs_are_linked_once_each(laptop: Any) -> None:
    laptop.factorial()
    said = answer(laptop, 2).partition("The runs that this stands on")[2]
    links = re.findall(
        r"/#/experiments/0/runs/([0-9a-f]{32})\?workflowType=machine_learning\)", said
    )
    assert (
        len(links) == len(set(links)) == 3 * 3 + 3 * 12 + 3 * 2
    )  # variants, cells, dot product and linear


def test_a_control_of_other_parameters_is_named(project: Any) -> None:
    project.factorial()
    assert all(pair.confounded == () for pair in control_pairs(read_factorial(project.call())))
    rows = project.trials("factorial")
    for row in rows:
        row["parameters"] = int(row["parameters"]) * (2 if row["setting"] == "control_a" else 1)
    project.write_trials("factorial", rows)
    found = {
        pair.right.name: pair.confounded for pair in control_pairs(read_factorial(project.call()))
    }
    assert found == {"control_a": ("parameters",), "control_b": ()}


def test_the_search_is_compared_along_one_key(project: Any) -> None:
    project.search()
    search = read_search(project.call())
    pairs = search_pairs(search, "search kernel", "kernel_size")
    assert [(pair.left.name, pair.right.name) for pair in pairs] == [
        (
            f"{mixer}, kernel_size 7, group_channels {groups}",
            f"{mixer}, kernel_size 3, group_channels {groups}",
        )
        for mixer in ("dwnet", "dynamic_dwnet")
        for groups in (1, 8)
    ]
    assert search_pairs(search, "search groups", "depth") == []


def test_trials_that_did_not_finish_are_left_out_of_comparisons(project: Any) -> None:
    project.search()
    rows = project.trials("tune")
    for row in rows[:2]:
        row["state"] = "stopped"
    project.write_trials("tune", rows)
    pairs = search_pairs(read_search(project.call()), "search kernel", "kernel_size")
    assert len(pairs) == 3
    assert "Trials by state: 14 finished, 2 stopped" in project.text()


def test_a_run_that_failed_is_in_no_effect(project: Any) -> None:
    project.factorial()
    rows = project.trials("factorial")
    rows[0] |= {"state": "failed", "top1": "99.0", "best_top1": "99.0"}
    project.write_trials("factorial", rows)
    effects = list(csv.DictReader(io.StringIO(project.texts()["effects.csv"])))
    assert effects[0]["effect"] == "shared over positions"
    assert int(effects[0]["runs"]) == 35
    said = answer(project, 4)
    assert "- Settings with runs that failed: `shared_channel_static`." in said
    assert "- `dvc repro factorial` tries its failed runs again." in said


def test_a_search_in_which_nothing_finished_says_why(project: Any) -> None:
    project.search()
    rows = [
        row | {"state": "failed", "top1": "", "best_top1": "", "error": "out | of memory"}
        for row in project.trials("tune")
    ]
    project.write_trials("tune", rows)
    project._publish("tune", "best.json", '{"values": null, "reason": "every trial failed"}')
    text = project.text()
    assert "No best setting: `every trial failed`" in text
    assert "`out \\| of memory`" in text


@pytest.mark.parametrize(
    "changes",
    [{"boot": "c" * 12}, {"measured": 1_777_629_600 + 2 * 86_400}, {"boot": None}],
)
def test_speeds_of_another_session_are_not_compared(laptop: Any, changes: Any) -> None:
    assert "times the inference speed" in answer(laptop, 3)
    laptop.profile("swin_micro", "swin", **changes)
    said = answer(laptop, 3)
    assert "times the inference speed" not in said
    assert "the rest is not compared, for the two profiles were not made in one session" in said
    assert "times the MACs" in said


def test_a_speed_is_told_with_its_spread(laptop: Any) -> None:
    for name, mixer, speed in (("dwnet_micro", "dwnet", 2000.0), ("swin_micro", "swin", 1000.0)):
        ends = {"inference_quartiles": [0.9 * speed, 1.2 * speed]}
        laptop.profile(name, mixer, inference_images_per_second=speed, **ends)
    assert "2.00 (1.50 to 2.67) times the inference speed" in answer(laptop, 3)


def test_which_variance_is_which(laptop: Any) -> None:
    """Pairs with predictions of single images stand in a table; others are said to have none."""
    none = "No predictions of single images were kept of these runs"
    assert none in laptop.text()
    for variant in ("swin_micro", "dwnet_micro"):
        laptop.predictions("classify", variant)
    text = laptop.text()
    assert none not in text
    assert "Other pairs are without it." in text
    said = answer(laptop, 5)
    table = said[said.index("over seeds | over images | over both") :]
    assert table.splitlines()[2].startswith("| `dwnet_micro` minus `swin_micro` | classification |")
    line = json.loads((laptop.root / "results/classify/swin_micro/predictions.json").read_text())
    line["manifest"] = "cd" * 32
    path = laptop.root / "results/classify/swin_micro/metrics.json"
    tree = json.loads(path.read_text())
    tree["data"]["manifest"] = "cd" * 32  # other images
    path.write_text(json.dumps(tree))
    assert "over seeds | over images" not in answer(laptop, 5)


def test_terms_come_before_pairs_and_main_effects_with_their_levels(project: Any) -> None:
    project.factorial()
    rows = project.trials("factorial")
    for row in rows:  # dynamic weights help where positions are shared, and hurt elsewhere
        if "dynamic" in row["setting"]:
            row["top1"] = float(row["top1"]) + (6 if "shared" in row["setting"] else -9)
    project.write_trials("factorial", rows)
    said = answer(project, 4)
    told = [line for line in said.splitlines() if line.startswith("- ")]
    apart = told[0].partition(" Not told apart: ")[0].partition("told apart from zero: ")[2]
    assert set(apart.rstrip(".").split(", ")) == {
        "shared over positions",
        "channel groups",
        "shared over positions × dynamic",
    }
    levels = next(line for line in told if line.startswith("- **dynamic weights (minus static)**"))
    assert re.search(
        r"is not the same throughout: shared over positions \+[67]\.\d .*, per position -[78]\.\d",
        levels,
    )
    table = [line.split(" | ")[1] for line in said.splitlines() if line.startswith("| `short`")]
    assert table.index("channel groups as a whole") == table.index("channel − group") - 1


def test_a_search_says_what_luck_would_have_shown(project: Any) -> None:
    project.run("classify", "dw", "dwnet")
    project.search()
    text = project.text()
    assert "Selection floor: the best of 8 equal settings would show" in text
    assert "What scatters is seeds and 300 held-out images." in text


def test_costs_of_profiles_of_another_protocol_are_not_compared(laptop: Any) -> None:
    laptop.profile("swin_micro", "swin", precision="bf16")
    runs = {result.name: result for result in read_results(laptop.call()).of("classify")}
    one, other = (picture_of(runs[name]) for name in ("dwnet_micro", "swin_micro"))
    found = costs(contrast("swin", one, other))
    assert [cost.measure for cost in found.found] == ["parameters", "MACs"]
    assert "the rest is not compared, for the two profiles were not made by one protocol" in answer(
        laptop, 3
    )


def test_effects_that_cannot_be_separated_have_no_number(project: Any) -> None:
    project.factorial()
    rows = [row for row in project.trials("factorial") if "dynamic" not in row["setting"]]
    project.write_trials("factorial", rows)
    said = answer(project, 2)
    assert re.search(
        r"\*\*dynamic weights \(minus static\)\*\* cannot be stated \([^)]*static[^)]*\)", said
    )
    table = [
        line for line in answer(project, 4).splitlines() if line.startswith("| `short` | dynamic |")
    ]
    assert [cell.strip() for cell in table[0].split(" | ")[2:7]] == ["–"] * 5
    assert "these are not stated: dynamic" in answer(project, 4)


def test_planted_effects_come_out_in_order(project: Any) -> None:
    project.factorial()
    said = answer(project, 4)
    ranked = re.findall(
        r"\*\*([^*]+)\*\* [+-]\d",
        next(line for line in said.splitlines() if "main effects" in line),
    )
    assert ranked[0] == "channel − all"  # 4.1
    assert set(ranked[1:3]) == {"channel − all", "group − all", "shared over positions"} - {
        "channel − all"
    }  # 2.8, 2.5
    assert "`wide` (`needs 3 times the memory`)" in said


def test_hours_are_gpu_hours_where_there_was_a_gpu(project: Any) -> None:
    project.factorial()
    rows = [
        row | {"wall_time_s": "3600", "world_size": "4", "device": "NVIDIA H100"}
        for row in project.trials("factorial")
    ]
    project.write_trials("factorial", rows)
    assert f"{len(rows) * 4} GPU-hours on `NVIDIA H100`" in answer(project, 4)
    rows = [row | {"device": "cpu"} for row in rows]
    project.write_trials("factorial", rows)
    assert f"{len(rows) * 4} worker-hours on `cpu`" in answer(project, 4)


def test_pictures_of_the_search_are_copied_and_of_the_factorial_drawn(laptop: Any) -> None:
    laptop.factorial()
    laptop.search()
    folder = laptop.report()
    names = {path.name for path in folder.glob("*.*g")}
    assert {f"answer_{number}.svg" for number in (1, 2, 3, 5)} <= names
    assert {
        "effects.svg",
        "interaction_short.svg",
        "search_settings.svg",
        "search_curves.png",
        "search_pareto.png",
    } <= names
    assert (folder / "search_pareto.png").read_bytes() == (
        laptop.root / "results/tune/pareto.png"
    ).read_bytes()
    text = (folder / "report.md").read_text()
    assert {name for name in re.findall(r"\]\((\w+\.[ps][nv]g)\)", text)} == names
