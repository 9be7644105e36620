"""Numbers over seeds, against a direct computation."""

import random
from itertools import product
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pipeline.report.contrasts import against_baseline, kernel_pairs, mixer_pairs, sharing_pairs
from pipeline.report.results import read_results
from pipeline.report.statistics import (
    best_by_luck,
    over_images,
    paired_difference,
    summarise,
)


@pytest.mark.parametrize("count", [2, 3, 5, 12])
def test_paired_interval_is_that_of_the_t_distribution(count: int) -> None:
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


@pytest.mark.parametrize("count", [3, 6, 20])
def test_the_smallest_detectable_difference_has_a_power_of_80_percent(count: int) -> None:
    random = np.random.default_rng(count)
    left, right = (dict(enumerate(random.normal(50, 2, count))) for _ in range(2))
    difference = paired_difference(left, right)
    assert difference is not None and difference.sd and difference.detectable
    shift = difference.detectable / (difference.sd / count**0.5)
    edge = stats.t.ppf(0.975, count - 1)
    power = stats.nct.sf(edge, count - 1, shift) + stats.nct.cdf(-edge, count - 1, shift)
    assert power == pytest.approx(0.8, abs=2e-3)


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


def test_beside_a_paired_t_stand_chances_that_need_no_distribution() -> None:
    from scipy import stats

    left, right = {0: 5.0, 1: 7.0, 2: 6.5, 3: 4.0}, {0: 4.0, 1: 5.5, 2: 6.5, 3: 4.5}
    found = paired_difference(left, right)
    assert found is not None
    assert found.beats == (1 + 1 + 0.5 + 0) / 4
    assert found.p == pytest.approx(stats.ttest_rel([*left.values()], [*right.values()]).pvalue)
    sums = [
        abs(sum(s * d for s, d in zip(signs, (1, 1.5, 0, -0.5), strict=True))) for signs in FLIPS
    ]
    assert found.sign_flip == fmean(total >= 2 for total in sums)
    five = {seed: 1.0 + seed / 10 for seed in range(6)}
    for seeds, least in ((5, 2 / 32), (6, 2 / 64)):  # 5% is out of reach below six seeds
        ahead = paired_difference(
            {s: five[s] for s in range(seeds)}, dict.fromkeys(range(seeds), 0.0)
        )
        assert ahead is not None and ahead.sign_flip == pytest.approx(least)


FLIPS = list(product((1, -1), repeat=4))


def test_intervals_over_seeds_and_images_cover_the_truth_in_95_percent() -> None:
    """Another set of images each time, of which 13% suit the left network, 10% the right one, and
    the rest are left to chance; and seeds that differ.
    """
    draw, images, seeds = np.random.default_rng(0), 400, 4
    truth, inside = 3.0, {"seeds": 0, "images": 0, "both": 0}
    times = 1000
    for _ in range(times):
        kind = draw.random(images)
        suits = {"left": kind < 0.13, "right": (kind >= 0.13) & (kind < 0.23)}
        right = {}
        for side, mine in suits.items():
            chance = np.where(kind < 0.23, mine, 0.5 + draw.normal(0, 0.02, (seeds, 1)))
            right[side] = dict(enumerate(draw.random((seeds, images)) < chance))
        accuracy = {
            side: {seed: 100 * float(one.mean()) for seed, one in found.items()}
            for side, found in right.items()
        }
        difference = paired_difference(accuracy["left"], accuracy["right"])
        assert difference is not None and difference.interval is not None
        over = over_images(right["left"], right["right"], difference)
        assert over is not None and over.both is not None
        for name, (low, high) in (
            ("seeds", difference.interval),
            ("images", over.interval),
            ("both", over.both),
        ):
            inside[name] += low <= truth <= high
    assert 0.93 <= inside["both"] / times <= 0.97
    assert max(inside["seeds"], inside["images"]) / times < 0.93


def test_images_are_paired_only_where_they_are_the_same() -> None:
    right = np.array([True, False, True, True])
    difference = paired_difference({0: 75.0}, {0: 75.0})
    assert difference is not None
    over = over_images({0: right}, {0: right[::-1]}, difference)
    assert over is not None and over.both is None and over.interval[0] < 0 < over.interval[1]
    assert over_images({0: right}, {0: right[:3]}, difference) is None
    assert over_images({0: right}, {}, difference) is None


def test_the_best_of_equal_settings_lies_where_luck_puts_it() -> None:
    draw = np.random.default_rng(0)
    above, stated = [], []
    for _ in range(1000):
        settings = 40 + 2 * draw.standard_normal((12, 3))
        found = best_by_luck(settings.tolist(), 12, None)
        assert found is not None
        above.append(settings.mean(1).max() - 40)
        stated.append(found)
    assert fmean(stated) == pytest.approx(fmean(above), rel=0.03)
    assert best_by_luck([[40.0], [50.0]], 2, None) is None
    images = best_by_luck([[50.0]] * 12, 12, 100)
    assert images == pytest.approx(
        5 * 1.6292, rel=1e-3
    )  # five points, the binomial's of 100 images


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
