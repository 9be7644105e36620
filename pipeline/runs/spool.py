"""The metrics of a run by step, appended to a file beside it as the run comes to them.

Whoever records them elsewhere reads the file. The training waits for nobody, and a kill loses
nothing: what was not yet written is of steps that the run takes again.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat

POINTS = 1000
"""About so many steps of a training are noted, evenly spread over its length."""
SYSTEM_EVERY_S = 10.0
TRAINING_METRICS = {
    "lr": "train/lr",
    "train_loss": "train/interval_loss",
    "skipped_steps": "train/skipped_steps",
    "images_per_second": "speed/images_per_second",
}
"""What an evaluation says of the steps before it, with the names by which runs are compared."""
NOT_METRICS = {"run_id", "step", "epoch"}
"""What an evaluation holds beside metrics."""


@dataclass(frozen=True)
class MetricPoint:
    """One number of a run; `time` is in milliseconds since 1970."""

    name: str
    step: int
    value: float
    time: int


class Spool:
    """The writer, on rank 0."""

    def __init__(self, path: Path | None, step: int, total: int) -> None:
        """Begin or continue the file.

        Args:
            path: the file; None for a rank that writes nothing.
            step: where the run stands.
            total: how many steps it has.
        """
        self._path = path
        self._every = max(1, total // POINTS)
        self._waiting: list[tuple[int, int, Mapping[str, SupportsFloat]]] = []
        self._system_due = 0.0

        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            _end_line(path)
            self._buffer(step, {})
            self.flush()

    def step(self, step: int, numbers: Mapping[str, SupportsFloat]) -> None:
        """Note a step, now and then; a number on a device stays there until the next `flush`."""
        if self._path is not None and step % self._every == 0:
            self._buffer(step, numbers)

    def write_evaluation(self, row: Mapping[str, Any]) -> None:
        """Write an evaluation."""
        if self._path is not None:
            self._buffer(row["step"], metrics_of(row))
            self.flush()

    def flush(self) -> None:
        """Write what was noted, and now and then how busy the machine is."""
        if self._path is None or not self._waiting:
            return

        now = time.monotonic()
        if now >= self._system_due:
            self._system_due = now + SYSTEM_EVERY_S
            self._buffer(self._waiting[-1][0], _system())

        lines = [_line(*note) for note in self._waiting]
        with open(self._path, "a") as file:
            file.write("".join(lines))
        self._waiting.clear()

    def _buffer(self, step: int, numbers: Mapping[str, SupportsFloat]) -> None:
        self._waiting.append((step, int(time.time() * 1000), numbers))


def metrics_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Return an evaluation's numbers under the names by which they are compared."""
    return {
        TRAINING_METRICS.get(name, f"eval/{name}"): value
        for name, value in row.items()
        if name not in NOT_METRICS and value is not None
    }


def read(path: Path, offset: int = 0) -> tuple[list[MetricPoint], int]:
    """Return the numbers behind `offset`, and the offset behind them: whole lines alone count."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset

    complete = data[: data.rfind(b"\n") + 1]
    points = [point for line in complete.splitlines() for point in _points(line)]
    return points, offset + len(complete)


def time_span(path: Path) -> tuple[int, int] | None:
    """Return when a run began and when it wrote last, in milliseconds; None where it never did."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return None
    times = [time for line in (lines[:1] + lines[-2:]) if (time := _parsed(line).get("time"))]
    return (times[0], times[-1]) if times else None


def _line(step: int, time_ms: int, numbers: Mapping[str, SupportsFloat]) -> str:
    values = {name: float(value) for name, value in numbers.items()}
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    return json.dumps({"step": step, "time": time_ms, **finite}) + "\n"


def _points(line: bytes) -> list[MetricPoint]:
    tree = _parsed(line)
    step = tree.pop("step", 0)
    time_ms = tree.pop("time", 0)
    return [MetricPoint(name, step, float(value), time_ms) for name, value in tree.items()]


def _parsed(line: bytes) -> dict[str, Any]:
    """Return a line's object; nothing for one that a kill cut off."""
    try:
        tree = json.loads(line)
    except ValueError:
        return {}
    return tree if isinstance(tree, dict) else {}


def _end_line(path: Path) -> None:
    """Let what is appended begin a line of its own: a kill may have cut the last one off."""
    with open(path, "ab+") as file:
        if file.tell() and not _ends_whole(file):
            file.write(b"\n")


def _ends_whole(file: Any) -> bool:
    file.seek(-1, 2)
    return bool(file.read(1) == b"\n")


def _system() -> dict[str, float]:
    """Return how busy this machine is, under MLflow's names for it."""
    import psutil
    import torch

    memory = psutil.virtual_memory()
    numbers = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / 1e6,
        "system/system_memory_usage_percentage": memory.percent,
        "system/process_memory_usage_megabytes": psutil.Process().memory_info().rss / 1e6,
    }

    if torch.cuda.is_initialized():
        gpu = f"system/gpu_{torch.cuda.current_device()}"
        numbers[f"{gpu}_memory_usage_megabytes"] = torch.cuda.memory_reserved() / 1e6
    return numbers
