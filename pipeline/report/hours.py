"""What runs took: hours of all their workers together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.report.trials import TrialFile


@dataclass(frozen=True)
class Hours:
    """Runs of one budget (or of the search) on one device; `value` is the sum of wall time times
    workers.
    """

    budget: str
    device: str
    runs: int
    value: float

    @property
    def unit(self) -> str:
        """GPU-hours, or worker-hours where the device is a CPU."""
        return "worker-hours" if self.device.lower().startswith("cpu") else "GPU-hours"

    @property
    def words(self) -> str:
        """The hours with their unit."""
        return (
            f"{self.value:,.0f} {self.unit}"
            if self.value >= 100
            else f"{self.value:.3g} {self.unit}"
        )


def hours(trials: Iterable[TrialFile]) -> list[Hours]:
    """Hours by budget and device, over the runs that say what they took, failed ones too."""
    by_budget: dict[tuple[str, str], list[float]] = defaultdict(list)
    for trial in trials:
        if trial.hours is not None:
            by_budget[trial.budget, trial.device].append(trial.hours)
    return [
        Hours(budget, device, len(each), sum(each)) for (budget, device), each in by_budget.items()
    ]
