"""How far something is: sentences, and lines that say how much is done and how long the rest may
take.
"""

import shutil
import sys
import time
from typing import TYPE_CHECKING

from pipeline.core.units import clock

if TYPE_CHECKING:
    from rich.live import Live

COLUMNS = 80
MOVING = 0.2  # seconds between two lines, on a terminal
LOGGED = 10.0  # and in a log


def say(sentence: str) -> None:
    """Print a sentence at once, also where output goes to a pipe."""
    print(sentence, flush=True)


class Progress:
    """How far something is: on a terminal one moving line, in a log at most one line in ten
    seconds.
    """

    def __init__(self, label: str, total: int, unit: str, brief: bool = False) -> None:
        """Start the clock.

        Args:
            label: what the line begins with.
            total: how many steps or bytes there are.
            unit: `bytes`, which are shown as megabytes, or what the steps are called.
            brief: say nothing about what is over before a first line was due.
        """
        self._label = label
        self._total = total
        self._unit = unit
        self._brief = brief
        self._start = time.monotonic()
        self._shown: float | None = None
        self._first: int | None = None

    def show(self, done: int) -> None:
        """Say that `done` steps are done."""
        now = time.monotonic()
        moving = sys.stderr.isatty()
        # what was there before took no time
        self._first = done if self._first is None else min(done, self._first)
        last = self._shown if self._shown is not None else self._start if self._brief else 0.0
        if done < self._total and now - last < (MOVING if moving else LOGGED):
            return
        if done == self._total and self._brief and self._shown is None:
            return

        self._shown = now
        text = f"{self._label}: {self._amount(done)}"
        end = "" if moving else "\n"
        if done < self._total:
            text += f", about {clock(self._left(done, now))} left"
        else:
            text = f"{self._label}: {self._amount(None)} in {now - self._start:.1f} s"
            end = "\n"

        print(f"\r{text:<60}" if moving else text, end=end, file=sys.stderr, flush=True)

    def _left(self, done: int, now: float) -> float:
        since = done - (self._first or 0) if self._unit == "bytes" else done
        return (now - self._start) / max(1, since) * (self._total - done)

    def _amount(self, done: int | None) -> str:
        if self._unit != "bytes":
            return (
                f"{self._total} {self._unit}"
                if done is None
                else f"{done} of {self._total} {self._unit}"
            )

        total = f"{self._total / 1e6:,.1f} MB"
        return total if done is None else f"{done / 1e6:,.1f} of {total}"


class ProgressLines:
    """A line for each of several things that go on: on a terminal its next one takes its place,
    below whatever else is printed; in a log each says something at most once in ten seconds.
    """

    def __init__(self) -> None:
        self.columns = COLUMNS
        self._live: Live | None = None
        self._lines: dict[str, str] = {}
        self._said: dict[str, float] = {}

    def __enter__(self) -> "ProgressLines":
        if sys.stdout.isatty():
            from rich.live import Live

            self.columns = min(COLUMNS, shutil.get_terminal_size().columns)
            self._live = Live(auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, name: str, line: str, last: bool = False) -> None:
        """Say how far `name` is, in at most `columns` letters; the last line of it stays."""
        if self._live is None:
            now = time.monotonic()
            if last or now - self._said.get(name, -LOGGED) >= LOGGED:
                self._said[name] = now
                say(line)
            return

        self._lines[name] = line
        if last:
            del self._lines[name]
            say(line)
        self._draw(self._live)

    def _draw(self, live: "Live") -> None:
        from rich.text import Text

        text = "\n".join(self._lines.values())
        live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
