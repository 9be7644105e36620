"""How far runs are, for whoever looks on: a line a run, from the files that rank 0 writes."""

import json
import threading
from pathlib import Path
from typing import Any

from pipeline.core.progress import COLUMNS, ProgressLines, say
from pipeline.core.units import clock
from pipeline.params.registry import tasks
from pipeline.runs import spool
from pipeline.runs.run import Run

LOOK_S = 2.0
SHORTEST = 8


class RunProgress:
    """What a run says of itself, read on from where the last look ended."""

    def __init__(self, progress: Path, numbers: Path, task: str | None, past: bool = True) -> None:
        """Begin to look.

        Args:
            progress: the run's `progress.jsonl`.
            numbers: the run's `metrics.jsonl`.
            task: whose main metric is shown; None where nobody knows.
            past: whether what is there already counts as new.
        """
        self._progress = progress
        self._numbers = numbers
        self._about = tasks().get(task or "")
        self._offset = 0 if past or not progress.exists() else progress.stat().st_size
        self._numbers_offset = 0
        self._evaluations: list[tuple[int, float]] = []

    def new(self) -> list[dict[str, Any]]:
        """Return the lines that were written since the last look: notes and numbers."""
        if not self._progress.exists():
            return []
        with open(self._progress, "rb") as file:
            file.seek(self._offset)
            data = file.read()

        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        return [json.loads(line) for line in complete.splitlines()]

    def text(self, now: dict[str, Any], name: str = "", columns: int = COLUMNS) -> str:
        """Return what a line says, in at most `columns` letters: how far the run is, its loss where
        there is room, its last evaluation, images a second, and the time that is left.
        """
        if "note" in now:
            return str(now["note"])

        skipped = f"{now['skipped']} passed over" if now.get("skipped") else ""
        speed = f"{now['images_per_second']:.0f} images/s"
        time_left = f"{clock(now['seconds_left'])} left"
        loss = "" if now["loss"] is None else f"loss {now['loss']:.3f}"
        metric = self._evaluated(now["step"])
        rest = [phrase for phrase in (metric or loss, skipped, speed, time_left) if phrase]
        begin = f"{name}: " if name else ""

        line = "  ".join([f"{begin}{_reached(now)}", *([loss] if metric and loss else []), *rest])
        if len(line) <= columns:
            return line

        line = "  ".join([_reached(now), *rest])
        room = columns - len(line) - 2
        return line[:columns] if room < SHORTEST else f"{_shortened(name, room)}: {line}"

    def _evaluated(self, step: int) -> str:
        """Return the main metric as it was at a step; empty before the first evaluation."""
        if self._about is None:
            return ""

        main = self._about.main_metric
        points, self._numbers_offset = spool.read(self._numbers, self._numbers_offset)
        self._evaluations += [(p.step, p.value) for p in points if p.name == f"eval/{main}"]

        past = [value for at, value in self._evaluations if at <= step]
        metric = self._about.metrics[main]
        return f"{metric.label} {past[-1]:.{metric.decimals}f}" if past else ""


class following:
    """Show how far the runs are while the block runs."""

    def __init__(self, runs: list[Run]) -> None:
        self._runs = {
            f"[{place}/{len(runs)}] {run.label}": RunProgress(
                run.progress, run.spool, run.task, past=False
            )
            for place, run in enumerate(runs, start=1)
        }
        self._lines = ProgressLines()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self._lines.__enter__()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._show_new()
        self._lines.__exit__()

    def _follow(self) -> None:
        while not self._stop.wait(LOOK_S):
            self._show_new()

    def _show_new(self) -> None:
        """Print every note, and of the numbers show only the newest of each run."""
        for name, run in self._runs.items():
            lines = run.new()
            for line in lines:
                if "note" in line:
                    say(f"{line['run']}: {line['note']}")
            if numbers := [line for line in lines if "step" in line]:
                newest = numbers[-1]
                text = run.text(newest, name, self._lines.columns)
                self._lines.show(name, text, last=newest["step"] == newest["steps"])


def _reached(now: dict[str, Any]) -> str:
    if now["epochs"] < 1:
        return f"step {now['step']}/{now['steps']}"
    return f"epoch {now['epoch']:.1f}/{now['epochs']:g}"


def _shortened(name: str, letters: int) -> str:
    """Return a name without its middle: its place and its seed tell it from others."""
    if len(name) <= letters:
        return name
    end = letters // 2 - 1
    return f"{name[: letters - end - 2]}..{name[-end:]}"
