"""The plan as a table of a hundred columns, and as JSON."""

import io
import textwrap
from collections.abc import Iterator, Sequence
from string import ascii_lowercase
from typing import Any

from pipeline.core.units import amount, clock, count, duration, size
from pipeline.planning.estimate import Plan, PlannedTrials, PlanRow
from pipeline.planning.rounds import BASIS
from pipeline.planning.speed import Kind

WIDTH = 100
UNKNOWN = "?"
NOTHING = "-"
ROUND = "round"
HEAD = ("stage", "images", "evaluated", "steps", "disk", "device time", "", "wall")


def as_text(plan: Plan, sentences: Sequence[str]) -> str:
    """Return the plan as a user reads it: a table, what would not run, why what runs does, and
    sentences.
    """
    bases = list(dict.fromkeys(basis for row in plan.rows for basis in row.bases))
    parts = [_headline(plan), _table(plan, bases) if plan.rows else ""]

    parts += [_wrapped(sentence) for sentence in _totals_by_verb(plan)]
    parts += [_wrapped(f"{_letter(basis, bases)}  from {basis}") for basis in bases]
    parts += [
        _passing(plan),
        *(_runs(row) for row in plan.rows if (row.finished or row.begun) and not row.idle),
    ]
    parts += [_trials(row) for row in plan.rows if row.trials is not None]
    parts += [
        _listed("Up to date", plan.current),
        _listed("From DVC's cache", plan.cached),
        *_reasons(plan),
    ]
    parts += [_wrapped(sentence) for sentence in sentences]

    return "\n".join(part for part in parts if part) + "\n"


def as_json(plan: Plan, sentences: Sequence[str]) -> dict[str, Any]:
    """Return the plan as plain values; hours of GPUs and of CPU cores apart, null where nobody
    knows.
    """
    return {
        "stages": [
            {**_row(row), "price": row.times and plan.money(row.busy("GPU"))} for row in plan.rows
        ],
        "up_to_date": list(plan.current),
        "from_cache": list(plan.cached),
        "totals": {
            "images": sum(row.images or 0 for row in plan.rows if row.steps),
            "evaluated": sum(row.evaluated or 0 for row in plan.rows),
            "steps": sum(row.steps or 0 for row in plan.rows),
            "disk_bytes": plan.disk.kept,
            "passing_disk_bytes": plan.disk.passing,
            "gpu_hours": plan.busy("GPU") / 3600,
            "cpu_hours": plan.busy("CPU") / 3600,
            "wall_hours": plan.wall / 3600,
            "price": plan.money(plan.busy("GPU")),
            "untimed": sum(row.times is None for row in plan.rows),
        },
        "free_disk_bytes": plan.free,
        "warnings": list(sentences),
    }


def _row(row: PlanRow) -> dict[str, Any]:
    return {
        "stage": row.stage.name,
        "why": row.stage.why,
        "after": list(row.stage.after),
        "images": row.images,
        "evaluated": row.evaluated,
        "steps": row.steps,
        "disk_bytes": row.disk and row.disk.kept,
        "passing_disk_bytes": row.disk and row.disk.passing,
        "gpu_hours": None if row.times is None else row.busy("GPU") / 3600,
        "cpu_hours": None if row.times is None else row.busy("CPU") / 3600,
        "wall_hours": None if row.wall is None else row.wall / 3600,
        "devices": sorted({time.device for time in row.times or ()}),
        "speed_from": list(row.bases),
        "scaled": row.rough,
        "round_figures": row.rounded,
        "runs": row.runs,
        "finished": row.finished,
        "begun": row.begun,
        "trials": row.trials and _search(row.trials),
    }


def _search(trials: PlannedTrials) -> dict[str, Any]:
    return {
        "epochs": trials.epochs,
        "epochs_if_cut": trials.cut,
        "left_out": trials.left_out,
        "budgets": {name: _row(row) for name, row in trials.budgets},
    }


def _headline(plan: Plan) -> str:
    if not plan.rows:
        return "Nothing would run."
    rest = [f"{len(plan.current):,} {'is' if len(plan.current) == 1 else 'are'} up to date"]
    rest += [f"{len(plan.cached):,} would come from DVC's cache"] if plan.cached else []
    return f"{count(len(plan.rows), 'stage')} would run, {' and '.join(rest)}."


def _letter(basis: str, bases: list[str]) -> str:
    """Return the mark of what a time is from."""
    return ROUND if basis.startswith(BASIS) else ascii_lowercase[bases.index(basis) % 26]


def _table(plan: Plan, bases: list[str]) -> str:
    """Return the rows and their totals; a `~` marks times that are scaled, a letter or `round` what
    they are from.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_footer=True, padding=(0, 2, 0, 0), header_style="")
    for title, total in zip(HEAD, _totals(plan), strict=True):
        is_text = title in ("stage", "")
        table.add_column(
            title,
            total,
            justify="left" if is_text else "right",
            no_wrap=title != "stage",
            overflow="fold",
        )

    for row in plan.rows:
        table.add_row(*_cells(row, bases))

    out = io.StringIO()
    Console(file=out, width=WIDTH, highlight=False, markup=False, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _cells(row: PlanRow, bases: list[str]) -> list[str]:
    if row.idle:
        return [row.stage.name, NOTHING, NOTHING, NOTHING, disk_size(row), "finished", "", NOTHING]
    letters = ROUND if row.rounded else "".join(_letter(basis, bases) for basis in row.bases)

    return [
        row.stage.name,
        _count(row.images, amount),
        _count(row.evaluated, amount),
        _count(row.steps, "{:,}".format),
        disk_size(row),
        device_time(row),
        letters,
        UNKNOWN if row.wall is None else clock(row.wall) if row.times else NOTHING,
    ]


def _totals(plan: Plan) -> list[str]:
    totals = as_json(plan, [])["totals"]
    busy = [duration(plan.busy(kind), f"{kind}-") for kind in ("GPU", "CPU") if plan.busy(kind)]

    return [
        "in all",
        amount(totals["images"]),
        amount(totals["evaluated"]),
        f"{totals['steps']:,}",
        size(plan.disk.kept),
        " + ".join(busy) or (UNKNOWN if totals["untimed"] else NOTHING),
        "+ ?" if busy and totals["untimed"] else "",
        clock(plan.wall) if busy else NOTHING,
    ]


def _totals_by_verb(plan: Plan) -> Iterator[str]:
    """Yield what all stages together take, and which verbs that is: in hours, and in money."""
    devices: dict[Kind, str] = {"GPU": "GPU", "CPU": "worker"}
    untimed = any(row.times is None for row in plan.rows)
    reach = "At least" if untimed else "In all"
    for kind, device in devices.items():
        verbs = {verb: busy for verb, busy in plan.verbs(kind).items() if busy}
        total = sum(verbs.values())

        shares = [
            f"{verb} {duration(busy, f'{kind}-')} ({busy / total:.0%})"
            for verb, busy in verbs.items()
        ]
        if shares:
            wall = f"{clock(plan.wall)} on {count(plan.workers[kind], device)}"
            yield f"{reach} {duration(total, f'{kind}-')}, {wall}: {', '.join(shares)}."

    if plan.price is not None:
        parts = [
            f"{verb} {plan.money(busy):,.0f}" for verb, busy in plan.verbs("GPU").items() if busy
        ]
        price = f"{plan.money(plan.busy('GPU')):,.0f}"
        yield f"At {plan.price:g} a GPU-hour {price}: {', '.join(parts) or 'no GPU is used'}."


def _count(number: int | None, form: Any) -> str:
    return UNKNOWN if number is None else form(number) if number else NOTHING


def disk_size(row: PlanRow) -> str:
    """Return what a stage leaves on disk."""
    return UNKNOWN if row.disk is None else size(row.disk.kept) if row.disk.kept else NOTHING


def device_time(row: PlanRow) -> str:
    """Return how long devices are busy with a stage; a `~` marks what was scaled."""
    if row.times is None:
        return UNKNOWN
    kinds = dict.fromkeys(time.kind for time in row.times)
    words = " + ".join(duration(row.busy(kind), f"{kind}-") for kind in kinds)
    return ("~" if row.rough else "") + words or NOTHING


def _passing(plan: Plan) -> str:
    more = (
        f"{size(plan.disk.passing)} more: its checkpoints, and the weights of every "
        "evaluation that was the best"
    )
    return (
        _wrapped(f"While a run trains it needs up to {more} so far.") if plan.disk.passing else ""
    )


def _runs(row: PlanRow) -> str:
    """Return what is done already of a stage's trainings."""
    done = (
        [f"{row.finished} of {count(row.runs, 'run')} finished, which costs nothing"]
        if row.finished
        else []
    )
    done += (
        [f"{row.begun} of {count(row.runs, 'run')} goes on from a checkpoint"] if row.begun else []
    )

    return _wrapped(f"{row.stage.name}: {', '.join(done)}.")


def _trials(row: PlanRow) -> str:
    """Return how many trials a search has, and how many epochs they train together; a line more for
    each budget.
    """
    if row.trials is None:
        return ""

    trials = row.trials
    sentence = (
        f"{row.stage.name}: {count(row.runs, 'trial')}, {row.trials.epochs:,.0f} epochs in all"
    )
    if trials.left_out:
        sentence += f"; {count(trials.left_out, 'combination')} left out"
    if trials.cut < trials.epochs:
        sentence += (
            f"; counted in full, about {trials.cut / trials.epochs:.0%} of that where the "
            "rungs cut as they are meant"
        )

    budgets = [
        f"{row.stage.name}, budget {name}: {count(budget_row.runs, 'trial')}, "
        f"{device_time(budget_row)}."
        for name, budget_row in trials.budgets
    ]

    return "\n".join([_wrapped(f"{sentence}."), *budgets])


def _reasons(plan: Plan) -> list[str]:
    """Return what makes stages run, one line for each reason; what follows from another stage has
    none.
    """
    reasons: dict[str, list[str]] = {}
    for row in plan.rows:
        if row.stage.why and not row.stage.why.startswith("after "):
            reasons.setdefault(row.stage.why, []).append(row.stage.name)
    return [_listed(f"Would run ({why})", names) for why, names in reasons.items()]


def _listed(what: str, names: Sequence[str]) -> str:
    return _wrapped(f"{what}: {', '.join(names)}") if names else ""


def _wrapped(text: str) -> str:
    return "\n".join(
        textwrap.wrap(
            text, WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
        )
    )
