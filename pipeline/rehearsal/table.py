"""The rows of a rehearsal, for people."""

from dataclasses import dataclass

from pipeline.rehearsal.steps import StepsTaken

HEAD = ("what", "steps", "losses", "metric", "seconds", "result")


@dataclass(frozen=True)
class Row:
    """One line: how a training ended, or as `note` why there was none."""

    part: str
    label: str
    outcome: StepsTaken | None = None
    note: str = ""

    @property
    def failed(self) -> bool:
        """Whether something is wrong; what the params file itself leaves out is not."""
        return self.outcome is not None and self.outcome.error is not None


def line(row: Row) -> str:
    """Return a row in one line."""
    return "  ".join(cell for cell in _cells(row) if cell)


def text(rows: list[Row]) -> str:
    """Return the whole table and, last, how many rows ended well, failed, or were left out."""
    lines = [HEAD, *map(_cells, rows)]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(HEAD) - 1)]
    padded = ["  ".join([*map(str.ljust, cells, widths), cells[-1]]) for cells in lines]

    trained = [row for row in rows if row.outcome is not None]
    failed = sum(row.failed for row in rows)

    return "\n".join(
        [
            *padded,
            f"{len(trained) - failed} ok, {failed} failed, {len(rows) - len(trained)} not trained",
        ]
    )


def _cells(row: Row) -> tuple[str, ...]:
    what = f"{row.part} {row.label}"
    outcome = row.outcome
    if outcome is None:
        return what, "", "", "", "", row.note
    losses = " ".join(f"{loss:.3f}" for loss in outcome.losses)
    metric = "" if outcome.value is None else f"{outcome.metric} {outcome.value:.1f}"
    return what, str(outcome.steps), losses, metric, f"{outcome.seconds:.0f}", outcome.error or "ok"
