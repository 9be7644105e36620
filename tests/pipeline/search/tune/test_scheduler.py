"""Successive halving on replayed learning curves: what it costs, what it misses, and going on after
an interruption.
"""

from typing import Any

import numpy as np
import pytest

from pipeline.params.searches import Asha
from pipeline.search.tune.scheduler import Past, asha

TRIALS, EPOCHS, ORDERS = 18, 27, 50
Curves = np.ndarray[Any, np.dtype[np.float64]]


def curves(seed: int) -> Curves:
    """Accuracies (TRIALS, EPOCHS) that saturate, each to its own height and at its own pace, with
    noise.
    """
    random = np.random.default_rng(seed)
    height, pace = random.uniform(40, 90, TRIALS), random.uniform(0.4, 1.2, TRIALS)
    epochs = np.arange(1, EPOCHS + 1)
    rising = height[:, None] * (1 - np.exp(-pace[:, None] * epochs**0.7))
    return rising + random.normal(0, 0.5, rising.shape)


def replay(
    scheduler: Any, values: Curves, order: np.ndarray[Any, Any], at_once: int = 2
) -> dict[int, int]:
    """Run the trials as a cluster with `at_once` places does; return the epochs that each was
    trained.
    """
    waiting, running, trained = [int(one) for one in order], dict[int, Any](), dict[int, int]()
    while waiting or running:
        while waiting and len(running) < at_once:
            trial: Any = Past(str(waiting[0]))
            running[waiting.pop(0)] = trial
            scheduler.on_trial_add(None, trial)
        for number, trial in list(running.items()):
            trained[number] = epoch = trained.get(number, 0) + 1
            row = {"epoch": float(epoch), "top1": float(values[number, epoch - 1])}
            if scheduler.on_trial_result(None, trial, row) != "CONTINUE" or epoch == EPOCHS:
                del running[number]
    return trained


def test_it_costs_a_third_of_the_grid_and_finds_its_best() -> None:
    shares, regrets = [], []
    for order in range(ORDERS):
        values = curves(order)
        scheduler = asha(Asha(), "top1", "max", EPOCHS, [])
        trained = replay(scheduler, values, np.random.default_rng(order).permutation(TRIALS))
        finished = [values[number, -1] for number, epochs in trained.items() if epochs == EPOCHS]
        shares.append(sum(trained.values()) / (TRIALS * EPOCHS))
        regrets.append(values[:, -1].max() - max(finished))
    assert np.mean(shares) <= 0.35
    assert np.mean(regrets) <= 1.0


def test_no_trial_is_stopped_at_its_end() -> None:
    """The last rung lies before the end: what is trained to its last epoch finishes."""
    scheduler = asha(Asha(), "top1", "max", 27, [])
    best: Any = Past("best")
    scheduler.on_trial_add(None, best)
    rows = [{"epoch": float(epoch), "top1": 99.0} for epoch in range(1, 28)]
    assert {scheduler.on_trial_result(None, best, row) for row in rows} == {"CONTINUE"}
    worst: Any = Past("worst")
    scheduler.on_trial_add(None, worst)
    milestones = [milestone for milestone, _ in scheduler._brackets[0]._rungs]
    assert (
        max(milestones) < 27
        and scheduler.on_trial_result(None, worst, {"epoch": 1.0, "top1": 1.0}) == "STOP"
    )


@pytest.mark.parametrize("mode", ["max", "min"])
def test_it_judges_by_what_ended_before_an_interruption(mode: str) -> None:
    sign = 1 if mode == "max" else -1
    past = [(str(n), [{"epoch": 1.0, "loss": sign * float(90 + n)}]) for n in range(3)]
    for told, decision in ((past, "STOP"), ([], "CONTINUE")):
        scheduler = asha(Asha(), "loss", mode, EPOCHS, told)
        late: Any = Past("late")
        scheduler.on_trial_add(None, late)
        assert (
            scheduler.on_trial_result(None, late, {"epoch": 1.0, "loss": sign * 10.0}) == decision
        )
