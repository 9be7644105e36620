"""Metrics over a split, exact over ranks: each rank keeps what it saw, and the result is taken from all of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Result:
    """Metrics by name, and by class name where a task has them for single classes; numbers are finite."""

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)


class Evaluator(Protocol):
    """Collects over batches on one rank; `result` joins the ranks."""

    def update(self, outputs: Any, batch: dict[str, Any]) -> None:
        """Add one batch and what was predicted for it."""
        ...

    def state(self) -> Any:
        """Return what was collected, in a form that pickles."""
        ...

    def result(self, states: list[Any]) -> Result:
        """Return the metrics from the states of all ranks, in the order of ranks."""
        ...


def distinct(names: Sequence[str]) -> list[str]:
    """Return class names, those that repeat with their number, so that results by name lose none."""
    times = Counter(names)
    return [name if times[name] == 1 else f"{name} (class {index})" for index, name in enumerate(names)]
