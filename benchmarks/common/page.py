"""The page of a benchmark run: every figure beside its peer and its goal."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

Line = Mapping[str, Any]
HEAD = """# How fast it is

Written by `make bench`; `make bench only=operators` times a part of it, a file of `benchmarks/`,
and leaves this page alone. A ratio says how many times better than its peer the project is, both
timed in turns in one run after their results were compared; a row that is slower than its peer
stays. Differences of a few percent are the noise of a machine that others use.
"""


def page(lines: Iterable[Line], failures: Mapping[str, str], machine: str, commit: str) -> str:
    """Return the page as Markdown.

    Args:
        lines: what the benchmarks printed; those without a ratio are figures without a peer.
        failures: benchmarks that could not run, and why.
        machine: what it ran on.
        commit: what ran.
    """
    compared = [line for line in lines if "ratio" in line]
    alone = [line for line in lines if "ratio" not in line]
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    parts = [
        HEAD,
        f"{machine}, {when}, commit {commit}. **{score(compared)}**\n",
        "| figure | beside | times better | goal | met | ms, ours / theirs | command |",
        "|---|---|---|---|---|---|---|",
        *map(_row, compared),
        *(f"| {name} | | could not run: {why} | | no | | |" for name, why in failures.items()),
    ]
    if alone:
        parts += ["\n## Figures without a peer\n", "| figure | |", "|---|---|", *map(_alone, alone)]
    return "\n".join(parts) + "\n"


def score(lines: Iterable[Line]) -> str:
    """Return how many of the goals are met, in words."""
    goals = [line for line in lines if line.get("goal") is not None]
    return f"{sum(line['ratio'] >= line['goal'] for line in goals)} of {len(goals)} goals met"


def _row(line: Line) -> str:
    goal, stretch = line.get("goal"), line.get("stretch")
    aim = "" if goal is None else f"{goal}" + (f" ({stretch})" if stretch is not None else "")
    met = "" if goal is None else "yes" if line["ratio"] >= goal else "no"
    times = f"{line['ours']} / {line['theirs']}" if "ours" in line else ""
    command = f"`{line['command']}`" if "command" in line else ""
    cells = (line["figure"], line.get("peer", ""), f"{line['ratio']:.2f}", aim, met, times, command)
    return f"| {' | '.join(cells)} |"


def _alone(line: Line) -> str:
    rest = {key: value for key, value in line.items() if key not in ("figure", "command")}
    return f"| {line['figure']} | {', '.join(f'{key} {value}' for key, value in rest.items())} |"
