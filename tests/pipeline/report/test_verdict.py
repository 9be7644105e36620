"""What is said of a run beside a published number."""

from typing import Any

import pytest

DW_TINY = "readme-dwnet_tiny.top1"  # 81.2, tolerance 0.3


def verdicts(project: Any) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["claim"], row["variant"]): row for row in project.rows()}


def paper_run(project: Any, values: list[float], **changes: Any) -> dict[str, str]:
    project.run("classify", "dwnet_tiny", "dwnet", "tiny", values=values, scale="paper", **changes)
    return verdicts(project)[DW_TINY, "dwnet_tiny"]


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([81.2], "not settled"),
        ([81.2, 81.2], "not settled"),
        ([81.2, 81.2, 81.2], "reproduced"),
        ([81.4, 81.4, 81.4, 81.4], "reproduced"),
        ([81.1, 81.2, 81.3], "reproduced"),  # 80.95 to 81.45, within 80.9 to 81.5
        ([81.0, 81.2, 81.4], "not settled"),  # 80.7 to 81.7
        ([80.0, 81.4, 81.5], "not settled"),
        ([80.0, 80.1, 80.0], "not reproduced"),
        ([82.0, 82.1, 82.0], "not reproduced"),
        ([80.0, 80.0], "not reproduced"),
        ([60.0], "not settled"),  # one seed settles nothing
    ],
)
def test_an_interval_is_judged_against_the_tolerance(
    project: Any, values: list[float], verdict: str
) -> None:
    assert paper_run(project, values)["verdict"] == verdict


def test_a_noisier_run_does_not_pass_more_easily(project: Any) -> None:
    """With the mean kept and the scatter raised, a number is reproduced no more once it was not."""
    for mean in (81.2, 81.6):
        passed = [
            paper_run(project, [mean - sd, mean, mean + sd])["verdict"] == "reproduced"
            for sd in (0.0, 0.1, 0.5, 2.0)
        ]
        assert passed == sorted(passed, reverse=True)


def test_a_distance_of_exactly_the_tolerance_is_within_it(project: Any) -> None:
    project.run(
        "detect", "dyn", "dynamic_dwnet", "base", values=[50.8] * 3, scale="paper"
    )  # 51.2 - 50.8 > 0.4 in binary
    assert (
        verdicts(project)["readme-detect-dynamic_dwnet_base.box_ap", "dyn"]["verdict"]
        == "reproduced"
    )


@pytest.mark.parametrize(("top5", "verdict"), [(95.4, "reproduced"), (95.2, "not reproduced")])
def test_top_5_and_parameters_are_judged_too(project: Any, top5: float, verdict: str) -> None:
    metrics = project.run("classify", "swin_tiny", "swin", "tiny", values=[81.2] * 3, scale="paper")
    for row in metrics["seeds"]:
        row["final"]["top5"] = top5
    project.write("classify", "swin_tiny", metrics)
    project.profile("swin_tiny", "swin", "tiny", image_size=224)
    found = verdicts(project)
    assert found["swin-swin_tiny.top5", "swin_tiny"]["verdict"] == verdict
    assert found["swin-swin_tiny.parameters_m", "swin_tiny"]["verdict"] == "reproduced"


def test_tolerance_and_seeds_are_parameters(project: Any) -> None:
    assert paper_run(project, [81.2] * 3)["verdict"] == "reproduced"
    params = project.root / "params.yaml"
    text = params.read_text()
    params.write_text(text + "compare: {least_seeds: 4}\n")
    found = {row["claim"]: row for row in project.rows()}[DW_TINY]
    assert (found["verdict"], found["reasons"]) == ("not settled", "3 seeds, it takes 4")
    assert paper_run(project, [81.5] * 3)["verdict"] == "reproduced"
    params.write_text(text + "compare: {tolerance: {top1: 0.1}}\n")
    assert {row["claim"]: row for row in project.rows()}[DW_TINY]["verdict"] == "not reproduced"


def test_the_last_evaluation_is_judged_and_the_best_only_shown(project: Any) -> None:
    metrics = project.run(
        "classify", "dwnet_tiny", "dwnet", "tiny", values=[80.0] * 3, scale="paper"
    )
    for seed in metrics["seeds"]:
        seed["best"]["top1"] = 81.2
    project.write("classify", "dwnet_tiny", metrics)
    row = verdicts(project)[DW_TINY, "dwnet_tiny"]
    assert (row["verdict"], row["measured_final"], row["measured_best"]) == (
        "not reproduced",
        "80",
        "81.2",
    )


def test_a_recalled_number_is_compared_and_never_reproduced(project: Any) -> None:
    values = {"tiny": [81.3, 81.3], "base": [83.2, 83.4]}
    for mixer in ("swin", "dwnet", "dynamic_dwnet", "i_dynamic_dwnet"):
        for size, measured in values.items():
            project.run("classify", f"{mixer}_{size}", mixer, size, values=measured, scale="paper")
            project.run("detect", f"{mixer}_{size}", mixer, size, values=measured, scale="paper")
            project.run("segment", f"{mixer}_{size}", mixer, size, values=measured, scale="paper")
            project.profile(f"{mixer}_{size}", mixer, size, image_size=224)
    recalled = [row for row in project.rows() if row["confidence"] == "recalled"]
    assert {row["verdict"] for row in recalled} == {"compared", "not run"}
    exact = [row for row in recalled if row["delta"] == "0"]
    assert exact, "a recalled number that is met exactly is the case that matters"


@pytest.mark.parametrize("confidence", ["published", "recalled"])
@pytest.mark.parametrize("value", [81.2, 81.3, 50.0])
def test_synthetic_data_get_no_other_verdict(project: Any, confidence: str, value: float) -> None:
    data = {"source": "synthetic"}  # everything else at the paper's scale
    project.run(
        "classify", "dwnet_tiny", "dwnet", "tiny", values=[value] * 3, scale="paper", data=data
    )
    project.run("detect", "dwnet_tiny", "dwnet", "tiny", values=[49.9], scale="paper", data=data)
    rows = [
        row
        for row in project.rows()
        if row["variant"] and row["measured_final"] and row["confidence"] == confidence
    ]
    assert rows
    assert {row["verdict"] for row in rows} == {"small-scale run"}
    assert {row["delta"] for row in rows} == {""}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": {"train_samples": 1_000_000}}, "1,000,000 training images (1,281,167)"),
        ({"data": {"val_samples": 10_000}}, "10,000 validation images (50,000)"),
        ({"data": {"classes": 100}}, "100 classes (1,000)"),
        ({"recipe": {"image_size": 192}}, "image size 192 (224)"),
        ({"recipe": {"image_size": 384}}, "image size 384 (224)"),
        ({"recipe": {"duration": {"epochs": 100.0}}}, "100 epochs (300)"),
        ({"recipe": {"duration": {"steps": 1000}}}, "0.7993 epochs (300)"),
    ],
)
def test_anything_smaller_than_the_paper_is_a_small_scale_run(
    project: Any, changes: Any, reason: str
) -> None:
    metrics = project.run(
        "classify", "dwnet_tiny", "dwnet", "tiny", values=[81.2], scale="paper", **changes
    )
    row = verdicts(project)[DW_TINY, "dwnet_tiny"]
    assert (row["verdict"], row["reasons"]) == ("small-scale run", reason)
    assert metrics["seeds"][0]["final"]["top1"] == 81.2


def test_a_run_that_ended_early_is_a_small_scale_run(project: Any) -> None:
    metrics = project.run(
        "classify", "dwnet_tiny", "dwnet", "tiny", values=[81.2, 81.2], scale="paper"
    )
    metrics["seeds"][1]["final"]["epoch"] = 250.0
    project.write("classify", "dwnet_tiny", metrics)
    row = verdicts(project)[DW_TINY, "dwnet_tiny"]
    assert (row["verdict"], row["reasons"]) == ("small-scale run", "ended after 250 of 300 epochs")


def test_a_duration_in_steps_counts_as_its_epochs(project: Any) -> None:
    row = paper_run(project, [81.2] * 3, recipe={"duration": {"steps": 375_342}})  # of 1,024 images
    assert row["verdict"] == "reproduced"


def test_micro_stands_beside_tiny_with_the_words(project: Any) -> None:
    project.run("classify", "dwnet_micro", "dwnet", values=[81.2])
    found = verdicts(project)
    assert found[DW_TINY, "dwnet_micro"]["verdict"] == "small-scale run"
    assert ("readme-dwnet_base.top1", "dwnet_micro") not in found
    text = project.text()
    lines = [line for line in text.splitlines() if line.startswith("| `dwnet_micro` | top-1")]
    assert lines
    assert all("small-scale run" in line for line in lines)


def test_another_kernel_or_width_is_not_the_published_network(project: Any) -> None:
    project.run(
        "classify", "dwnet_k3", "dwnet", "tiny", values=[81.2], scale="paper", kernel_size=3
    )
    project.run(
        "classify", "dwnet_wide", "dwnet", "tiny", values=[81.2], scale="paper", embed_dim=128
    )
    project.run(
        "classify", "dwnet_k7", "dwnet", "tiny", values=[81.2], scale="paper", kernel_size=7
    )
    project.run(
        "classify", "dwnet_g", "dwnet", "tiny", values=[81.1], scale="paper", group_channels=32
    )
    project.run(
        "classify", "dwnet_narrow", "dwnet", "tiny", values=[81.2], scale="paper", mlp_ratio=3.5
    )
    project.run(
        "classify", "dwnet_four", "dwnet", "tiny", values=[81.2], scale="paper", mlp_ratio=4.0
    )
    project.run("classify", "dwnet_micro_narrow", "dwnet", values=[81.2], mlp_ratio=3.5)
    sliding = {"mixer": "sliding_attention", "size": "tiny", "values": [81.4], "scale": "paper"}
    project.run("classify", "sliding", **sliding, skeleton="attention")
    project.run("classify", "sliding_dw", **sliding, skeleton="depthwise")
    found = verdicts(project)
    assert sorted(variant for claim, variant in found if claim == DW_TINY) == [
        "dwnet_four",
        "dwnet_k7",
    ]
    assert [variant for claim, variant in found if "sliding" in claim and variant] == ["sliding"]
    assert found["", "dwnet_k3"]["verdict"] == "no published number"
    assert found["", "dwnet_wide"]["verdict"] == "no published number"
    assert found["sharing-dwnet-both.top1", "dwnet_g"]["verdict"] == "compared"


def test_a_variant_without_results_is_not_run_and_says_how(project: Any) -> None:
    project.name("classify", "dwnet_tiny", "dwnet", "tiny")
    found = verdicts(project)
    assert (found[DW_TINY, "dwnet_tiny"]["verdict"], found[DW_TINY, "dwnet_tiny"]["todo"]) == (
        "not run",
        "dvc repro classify@dwnet_tiny",
    )
    assert found["readme-dwnet_tiny.macs_g", "dwnet_tiny"]["todo"] == "dvc repro profile@dwnet_tiny"
    assert found["readme-dwnet_base.top1", ""]["verdict"] == "not run"
    text = project.text()
    assert "dvc repro classify@dwnet_tiny" in text


def test_counts_need_no_data_and_speed_is_never_reproduced(project: Any) -> None:
    project.name("classify", "dwnet_tiny", "dwnet", "tiny")
    project.name("classify", "swin_tiny", "swin", "tiny")
    project.profile("dwnet_tiny", "dwnet", "tiny", image_size=224, macs=3.742e9)
    project.profile(
        "swin_tiny", "swin", "tiny", image_size=224, macs=4.9e9, inference_images_per_second=755.0
    )
    found = verdicts(project)
    assert found["readme-dwnet_tiny.parameters_m", "dwnet_tiny"]["verdict"] == "reproduced"
    assert found["readme-dwnet_tiny.macs_g", "dwnet_tiny"]["verdict"] == "reproduced"
    assert found["swin-swin_tiny.macs_g", "swin_tiny"]["verdict"] == "not reproduced"
    assert found["swin-swin_tiny.images_per_second", "swin_tiny"]["verdict"] == "compared"


def test_a_profile_of_other_classes_or_pixels_is_small(project: Any) -> None:
    project.name("classify", "dwnet_tiny", "dwnet", "tiny")
    project.profile("dwnet_tiny", "dwnet", "tiny", image_size=64, classes=10, macs=3.742e9)
    found = verdicts(project)
    assert found["readme-dwnet_tiny.parameters_m", "dwnet_tiny"]["reasons"] == "10 classes (1,000)"
    assert found["readme-dwnet_tiny.macs_g", "dwnet_tiny"]["verdict"] == "small-scale run"


def test_dense_tasks_at_the_papers_scale(project: Any) -> None:
    project.run("detect", "dwnet_tiny", "dwnet", "tiny", values=[50.2] * 3, scale="paper")
    project.run("segment", "dwnet_tiny", "dwnet", "tiny", values=[44.9] * 3, scale="paper")
    found = verdicts(project)
    assert found["readme-detect-dwnet_tiny.box_ap", "dwnet_tiny"]["verdict"] == "reproduced"
    assert found["readme-segment-dwnet_tiny.miou", "dwnet_tiny"]["verdict"] == "not reproduced"
    assert found["readme-detect-dwnet_tiny.macs_g", "dwnet_tiny"]["verdict"] == "not run"
