"""Numbers over seeds, against a direct computation."""

import random
from typing import Any

import pytest

from pipeline.report.contrasts import against_baseline, kernel_pairs, mixer_pairs, sharing_pairs
from pipeline.report.results import read_results
from pipeline.report.statistics import paired_difference, summarise


@pytest.mark.parametrize("count", [2, 3, 5, 12])
def test_paired_interval_is_that_of_the_t_distribution(count: int) -> None:
    import numpy as np
    from scipy import stats

    draw = random.Random(count)
    left = {seed: draw.gauss(60, 3) for seed in range(count)}
    right = {seed: draw.gauss(58, 3) for seed in range(count)}
    found = paired_difference(left, right)
    differences = np.array([left[seed] - right[seed] for seed in range(count)])
    expected = stats.t.interval(
        0.95, count - 1, loc=differences.mean(), scale=stats.sem(differences)
    )
    assert found is not None
    assert found.interval == pytest.approx(expected, rel=1e-12)
    assert (found.mean, found.sd) == pytest.approx((differences.mean(), differences.std(ddof=1)))


def test_only_common_seeds_are_paired() -> None:
    found = paired_difference({0: 5.0, 1: 7.0, 9: 100.0}, {1: 4.0, 0: 4.0, 3: -50.0})
    assert found is not None
    assert (found.mean, found.n) == (2.0, 2)


def test_one_pair_has_no_interval_and_none_no_difference() -> None:
    found = paired_difference({0: 5.0}, {0: 4.0})
    assert found is not None
    assert (found.mean, found.sd, found.interval) == (1.0, None, None)
    assert paired_difference({0: 5.0}, {1: 4.0}) is None


def test_equal_differences_have_an_interval_of_no_width() -> None:
    found = paired_difference({0: 5.0, 1: 6.0}, {0: 4.0, 1: 5.0})
    assert found is not None
    assert found.interval == (1.0, 1.0)


def test_one_seed_has_no_deviation() -> None:
    assert (summarise([3.0]).sd, summarise([3.0]).standard_error) == (None, None)
    assert summarise([1.0, 3.0]).standard_error == pytest.approx(1.0)


def names(contrasts: list[Any]) -> list[tuple[str, str]]:
    return [(contrast.left.name, contrast.right.name) for contrast in contrasts]


def test_contrasts_change_one_thing(project: Any) -> None:
    project.run("classify", "dw", "dwnet")
    project.run("classify", "dw_k3", "dwnet", kernel_size=3)
    project.run("classify", "dw_k3_wide", "dwnet", kernel_size=3, embed_dim=32)
    project.run("classify", "dw_g", "dwnet", groups=4)
    project.run("classify", "swin", "swin")
    project.run("classify", "swin_tiny", "swin", "tiny")
    project.run("classify", "dyn", "dynamic_dwnet")
    results = read_results(project.call()).of("classify")
    assert names(kernel_pairs(results)) == [("dw", "dw_k3")]
    assert names(sharing_pairs(results)) == [("dw_g", "dw")]
    assert names(mixer_pairs("dynamic", results, ["dynamic_dwnet"], ["dwnet"])) == [("dyn", "dw")]
    assert names(against_baseline(results)) == [
        (name, "swin") for name in ("dw", "dw_k3", "dw_k3_wide", "dw_g", "dyn")
    ]


def test_without_swin_the_first_run_is_the_baseline(project: Any) -> None:
    project.run("classify", "dyn", "dynamic_dwnet")
    project.run("classify", "dw", "dwnet")
    assert names(against_baseline(read_results(project.call()).of("classify"))) == [("dw", "dyn")]


def test_a_contrast_names_what_else_differs(project: Any) -> None:
    project.run("classify", "swin", "swin")
    project.run("classify", "dw", "dwnet", recipe={"image_size": 96}, data={"manifest": "cd" * 32})
    (contrast,) = against_baseline(read_results(project.call()).of("classify"))
    assert contrast.confounded == ("recipe: image_size", "data")
