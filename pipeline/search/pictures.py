"""Pictures of a search: accuracy over kernel size and groups, learning curves, parameters against
accuracy.
"""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pipeline.plots.style import QUIET, canvas, colour, label_points, marker, save
from pipeline.search.search import Search, SearchOutcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = list[dict[str, Any]]
KERNEL = "kernel_size"
GROUPS = ("group_channels", "groups")
MANY = 12
"""With more curves than so many, only the best are named."""


def draw(search: Search, rows: Rows, outcome: SearchOutcome, folder: Path) -> None:
    """Draw heat_<mixer>.png where two parameters vary, curves.png, and pareto.png where parameters
    are counted.
    """
    down, across = _axes(search)
    if down is not None:
        for mixer in dict.fromkeys(_mixer(row) for row in rows):
            _heat(
                search,
                [row for row in rows if _mixer(row) == mixer],
                down,
                across,
                folder / f"heat_{mixer}.png",
            )

    _curves(search, outcome, folder / "curves.png")
    if any(row.get("parameters") and row.get(search.metric) is not None for row in rows):
        _pareto(search, rows, folder / "pareto.png")


def _mixer(row: dict[str, Any]) -> str:
    return str(row.get("mixer", "all"))


def _axes(search: Search) -> tuple[str | None, str | None]:
    """Return the parameters that a heat map shows downwards and across: kernel size and groups
    where they vary.
    """
    names = [name for name in search.trials[0].values if name != "mixer"]
    down = KERNEL if KERNEL in names else names[0] if names else None
    rest = [name for name in names if name != down]
    across = next((name for name in GROUPS if name in rest), rest[0] if rest else None)
    return down, across


def _heat(search: Search, rows: Rows, down: str, across: str | None, path: Path) -> None:
    """Mean over all else (seeds among it) of the last evaluation; a star where a trial did not come
    to its end.
    """
    lines = sorted({row[down] for row in rows}, key=_order)
    columns = sorted({row[across] for row in rows}, key=_order) if across else [None]
    cells = {
        (i, j): [
            row for row in rows if row[down] == line and (across is None or row[across] == column)
        ]
        for i, line in enumerate(lines)
        for j, column in enumerate(columns)
    }
    values = {at: _mean(search, group) for at, group in cells.items()}

    figure, (axes,) = canvas(1.8 + 0.75 * len(lines))
    defined = [value for value in values.values() if value is not None] or [0.0]
    grid = [
        [float("nan") if (v := values[i, j]) is None else v for j in range(len(columns))]
        for i in range(len(lines))
    ]

    image = axes.imshow(grid, cmap="cividis", aspect="auto")
    for (i, j), value in values.items():
        dark = value is not None and value < (min(defined) + max(defined)) / 2
        axes.text(
            j,
            i,
            _cell(cells[i, j], value),
            ha="center",
            va="center",
            color="white" if dark else "black",
        )

    axes.set_yticks(range(len(lines)), [str(line) for line in lines])
    axes.set_xticks(range(len(columns)), [str(column) for column in columns] if across else [""])
    axes.set_ylabel(down.replace("_", " "))
    axes.set_xlabel(
        (across or "").replace("group_channels", "channels that share a weight").replace("_", " ")
    )
    axes.grid(visible=False)

    star = (
        "   (*: not trained to its end)" if any(row["state"] == "stopped" for row in rows) else ""
    )
    axes.set_title(f"{_mixer(rows[0])}: {search.metric} on what was held out{star}")
    figure.colorbar(image, ax=axes, label=search.metric)
    save(figure, path)


def _cell(rows: Rows, value: float | None) -> str:
    if not rows:
        return "cannot be run"
    if value is None:
        return "failed"
    return f"{value:.1f}" + ("*" if any(row["state"] != "finished" for row in rows) else "")


def _order(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, (int, float))
    return not number, float(value) if number else 0.0, str(value)


def _mean(search: Search, rows: Rows) -> float | None:
    seen = [row[search.metric] for row in rows if row.get(search.metric) is not None]
    return fmean(seen) if seen else None


def _curves(search: Search, outcome: SearchOutcome, path: Path) -> None:
    """Every trial's metric over the epochs; a cross where the scheduler stopped it."""
    figure, (axes,) = canvas(4.8)

    ends = []
    for trial in search.trials:
        ending = outcome.endings[trial.run.id]
        points = [(row["epoch"], row[search.metric]) for row in ending.rows if search.metric in row]
        if not points:
            continue
        shade = colour(
            str(trial.values.get("mixer", trial.run.section.variants[trial.run.variant].mixer))
        )
        epochs, values = zip(*points, strict=True)
        end = "o" if ending.state == "finished" else "x"
        axes.plot(epochs, values, color=shade, alpha=0.6, linewidth=1.4)
        axes.plot(epochs[-1], values[-1], end, color=shade, markersize=5)
        ends.append((trial.label, epochs[-1], values[-1]))

    axes.set_xlabel("epoch")
    axes.set_ylabel(search.metric)
    axes.margins(x=0.25, y=0.12)
    axes.set_title(f"{len(search.trials)} trials (x: stopped by the scheduler)")

    best = sorted(ends, key=lambda curve: curve[2], reverse=search.mode == "max")[
        : min(3, len(ends))
    ]
    figure.draw_without_rendering()
    label_points(axes, best, size=8.5)
    _legend(axes, [_mixer(trial.values) for trial in search.trials])
    save(figure, path)


def _pareto(search: Search, rows: Rows, path: Path) -> None:
    """Parameters against the metric, a point a setting (mean over seeds), and the front that none
    is better than.
    """
    settings: dict[str, Rows] = defaultdict(list)
    names = list(search.trials[0].values)
    for row in rows:
        if row.get("parameters") and row.get(search.metric) is not None:
            settings[
                " ".join(f"{name.removeprefix('recipe.')}={row[name]}" for name in names)
            ].append(row)

    points = [
        (name, group[0]["parameters"] / 1e6, fmean(row[search.metric] for row in group), group)
        for name, group in settings.items()
    ]
    better: Callable[[float, float], bool] = (
        (lambda a, b: a > b) if search.mode == "max" else (lambda a, b: a < b)
    )
    front: list[tuple[str, float, float]] = []
    for name, size, value, _ in sorted(
        points, key=lambda point: (point[1], -point[2] if search.mode == "max" else point[2])
    ):
        if not front or better(value, front[-1][2]):
            front.append((name, size, value))

    figure, (axes,) = canvas(5.0)
    for _, size, value, group in points:
        mixer = _mixer(group[0])
        finished = all(row["state"] == "finished" for row in group)
        shade = colour(mixer)
        axes.scatter(
            size,
            value,
            marker=marker(mixer),
            s=60,
            color=shade if finished else "white",
            edgecolors=shade,
            zorder=3,
        )

    axes.plot(
        [point[1] for point in front],
        [point[2] for point in front],
        color=QUIET,
        linewidth=1.2,
        drawstyle="steps-post",
    )

    axes.set_xlabel("parameters, M")
    axes.set_ylabel(search.metric)
    axes.margins(x=0.2, y=0.15)
    axes.set_title("the line: no smaller network was better (hollow: not trained to its end)")

    figure.draw_without_rendering()
    label_points(axes, front[-MANY:], size=8.5)
    _legend(axes, [_mixer(row) for row in rows])
    save(figure, path)


def _legend(axes: "Axes", mixers: list[str]) -> None:
    for mixer in dict.fromkeys(mixers):
        axes.plot([], [], marker(mixer), color=colour(mixer), label=mixer)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
