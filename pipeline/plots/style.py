"""How plots look: one colour and marker per mixer, labels beside what they name."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers too; markers say it a second time.
COLOURS = {
    "swin": "#0072B2",
    "dwnet": "#D55E00",
    "dynamic_dwnet": "#009E73",
    "i_dynamic_dwnet": "#CC79A7",
    "local_mlp": "#B8860B",
    "timm": "#6B6B6B",
}
MARKERS = {
    "swin": "s",
    "dwnet": "o",
    "dynamic_dwnet": "^",
    "i_dynamic_dwnet": "D",
    "local_mlp": "P",
    "timm": "X",
}
FURTHER = ("#56B4E9", "#332288", "#882255", "#44AA99", "#999933", "#661100")
WIDTH = 11.0
QUIET = "#59636e"
STYLE = {
    "font.size": 11,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a949e",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e7eb",
    "xtick.color": "#3a424a",
    "ytick.color": "#3a424a",
    "figure.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "plot",
    "text.parse_math": False,  # names are names, also with a dollar in them
}


def colour(mixer: str) -> str:
    """Return the mixer's colour; one that has none yet gets one by its name, the same in every plot
    and report.
    """
    return COLOURS.get(mixer) or FURTHER[sum(mixer.encode()) % len(FURTHER)]


def marker(mixer: str) -> str:
    """Return the mixer's marker."""
    return MARKERS.get(mixer, "o")


def canvas(height: float, columns: int = 1) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with axes side by side, drawn without a screen and without pyplot's global
    state.

    All are equally wide, so that a page shows their letters in one size.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(STYLE)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, or an SVG whose letters are text; its bytes depend on the plot alone."""
    unsaid = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, dpi=150, metadata=unsaid)


def label_points(axes: Axes, points: Sequence[tuple[str, float, float]], size: float = 9.5) -> None:
    """Name points (name, x, y) beside them, where the name covers no other point and no other
    name.
    """
    pixels = axes.figure.dpi / 72
    centres = [axes.transData.transform((x, y)) for _, x, y in points]
    taken = [_box(at[0], at[1], 12 * pixels, 12 * pixels) for at in centres]
    taken.extend(_outside(axes))

    for (name, x, y), at in zip(points, centres, strict=True):
        width = 0.62 * size * len(name) * pixels
        height = 1.25 * size * pixels
        places = [
            (
                right,
                up,
                _box(
                    at[0] + right * (width / 2 + 9 * pixels),
                    at[1] + up * 13 * pixels,
                    width,
                    height,
                ),
            )
            for right, up in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
        ]

        right, up, box = min(
            places, key=lambda place: sum(_overlap(place[2], other) for other in taken)
        )
        taken.append(box)
        axes.annotate(
            name,
            (x, y),
            (right * 9, up * 13),
            textcoords="offset points",
            fontsize=size,
            color=QUIET,
            va="center",
            ha=("center", "left", "right")[right],
        )


def _outside(axes: Axes) -> list[tuple[float, float, float, float]]:
    """Return what lies left, right, below and above of the axes, as far as a name reaches."""
    area = axes.bbox
    far = 1e3
    return [
        (area.x0 - far, area.y0 - far, area.x0, area.y1 + far),
        (area.x1, area.y0 - far, area.x1 + far, area.y1 + far),
        (area.x0 - far, area.y0 - far, area.x1 + far, area.y0),
        (area.x0 - far, area.y1, area.x1 + far, area.y1 + far),
    ]


def _box(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _overlap(
    first: tuple[float, float, float, float], second: tuple[float, float, float, float]
) -> float:
    """Area that two boxes share."""
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    return max(wide, 0.0) * max(high, 0.0)


def shade_cell(axes: Axes, x: int, y: int, shade: str, opacity: float) -> None:
    """Shade a cell of a map so that letters on it are read on a light page and on a dark one, which
    holds up to an opacity of about 0.6.
    """
    from matplotlib.patches import Rectangle

    cell = Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=shade, alpha=opacity, linewidth=0)
    axes.add_patch(cell)


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move labels apart so that neighbours keep a gap, in their order."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    placed = list(positions)
    for before, after in pairwise(order):
        placed[after] = max(placed[after], placed[before] + gap)
    lifted = (sum(placed) - sum(positions)) / len(positions) if positions else 0.0
    return [position - lifted for position in placed]
