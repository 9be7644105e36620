"""What a search costs: its parts of the data, and what successive halving leaves."""

from pathlib import Path

import pytest
from helpers import write_shards

from pipeline.loading.hold_out import open_split
from pipeline.params import Cluster
from pipeline.params.searches import Asha
from pipeline.planning.data import Amount
from pipeline.planning.speed import Kind
from pipeline.planning.trainings import Group, share, slots
from pipeline.planning.work import parts_of


@pytest.mark.parametrize("hold_out", [0.01, 0.1, 0.5, 0.9])
def test_parts_are_as_large_as_those_that_are_read(hold_out: float, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", [7, 7, 1, 2], [3])
    amount = Amount("imagenet", {"train": 17, "val": 3}, 0, 0, "manifest", (7, 7, 1, 2))
    parts = parts_of(amount, hold_out)
    for part in ("train", "held_out", "val"):
        assert parts[part] == len(open_split(folder, part, hold_out))


@pytest.mark.parametrize(
    ("grace", "reduction", "total"), [(1, 3, 27), (2, 2, 16), (1, 4, 5), (30, 3, 10)]
)
def test_halving_leaves_what_single_trials_add_up_to(
    grace: int, reduction: int, total: int
) -> None:
    """Rank trials from best to worst, and let each rung stop all but the best of those that reached
    it.
    """
    trials = reduction**6
    spent, going, rung = [0] * trials, trials, grace
    while rung < total:
        spent[:going] = [rung] * going
        going, rung = going // reduction, rung * reduction
    spent[:going] = [total] * going
    asha = Asha(grace=grace, reduction=reduction)
    assert share(asha, total, 1000 * total) == pytest.approx(sum(spent) / (trials * total))
    steps = Asha(grace=grace, reduction=reduction, time_attribute="step")
    assert share(steps, total / 1000, total) == pytest.approx(sum(spent) / (trials * total))


@pytest.mark.parametrize(
    ("cores", "address", "kind", "workers", "together", "at_once"),
    [
        (8, None, "CPU", 1, True, 8),
        (8, None, "CPU", 2, True, 4),
        (8, None, "CPU", 2, False, 1),
        (1, None, "CPU", 2, True, 1),  # it is asked for, and shares a core
        (8, "head:6379", "CPU", 2, True, 1),  # whose size nobody knows
        (8, None, "GPU", 2, True, 1),
    ],
)
def test_as_many_groups_go_on_at_once_as_there_is_room_for(
    cores: int,
    address: str | None,
    kind: Kind,
    workers: int,
    together: bool,
    at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    cluster = Cluster(workers=workers, together=together)
    assert Group((), workers).at_once(cluster, slots(cluster, kind)) == at_once
