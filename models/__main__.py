"""`python -m models [--json] [--classes N] [--downstream]`: every network with its switches,
parameters and operations.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from models import create_model, list_models, mixers
from models.counting.macs import (
    DOWNSTREAM_RULE,
    OFFICIAL_RULE,
    PRICES,
    count_by_each_rule,
    count_macs,
    count_parameters,
)
from models.heads import create_detector, create_segmenter
from models.network.sizes import SIZES
from models.network.spec import declared_switches
from models.registry import split_name

PAPER_CLASSES = 1000
COLUMNS: tuple[tuple[str, str], ...] = (
    ("name", "model"),
    ("options", "options"),
    ("mixer", "mixer"),
    ("neighbourhood", "neighbourhood"),
    ("shared_positions", "shared over positions"),
    ("shared_channels", "over channels"),
    ("dynamic", "dynamic"),
    ("classes", "classes"),
    ("parameters", "parameters"),
    ("image_size", "pixels"),
    ("macs", f"operations, {OFFICIAL_RULE}"),
    *((f"macs_{rule}", f"operations, {rule}") for rule in PRICES),
)

DOWNSTREAM_COLUMNS: tuple[tuple[str, str], ...] = (
    ("name", "model"),
    ("heads", "heads"),
    ("parameters", "parameters"),
    ("image_size", "pixels"),
    ("macs", f"operations, {DOWNSTREAM_RULE}"),
)
DOWNSTREAM = (
    ("Cascade Mask R-CNN", create_detector, (800, 1280)),
    ("UPerNet", create_segmenter, (512, 2048)),
)
"""Heads, what builds a network with them, and the (height, width) that the paper counts its
operations at.
"""

ABLATIONS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("dwnet_tiny", {"group_channels": 32}),
    ("dwnet_tiny", {"kernel_size": 1}),
    ("dwnet_tiny", {"norm": "ln", "projection_norm": False}),
    ("dwnet_tiny", {"norm": "bn", "projection_norm": False}),
    ("dwnet_tiny", {"se": True}),
    ("locally_connected_tiny", {"group_channels": 32}),
    ("local_mlp_tiny", {"shared_windows": True}),
    ("local_mlp_tiny", {"group_channels": 1}),
    ("local_mlp_tiny", {"group_channels": 1, "shared_windows": True}),
    ("sliding_attention_tiny", {"skeleton": "depthwise"}),
    ("swin_tiny", {"group_channels": 16}),
    ("swin_tiny", {"norm": "bn"}),
    ("swin_tiny", {"norm": "bn", "projection_norm": True}),
    ("swin_tiny", {"se": True}),
    ("swin_tiny", {"shift": False}),
    ("swin_tiny", {"position_bias": False}),
)
"""Rows of the paper that are options of a mixer."""


def describe(
    name: str, options: Mapping[str, Any] | None = None, classes: int = PAPER_CLASSES
) -> dict[str, Any]:
    """One row of the table, counted on a network without memory for its weights; the paper's
    numbers are those of 1,000 classes.

    Raises:
        ValueError: an unknown name or option.
    """
    mixer, size = split_name(name)
    with torch.device("meta"):
        model = create_model(name, classes, **(options or {}))
    pixels = SIZES[size].image_size
    macs = count_by_each_rule(model, pixels)

    return {
        "name": name,
        "options": dict(options or {}),
        "mixer": mixer,
        **asdict(declared_switches(model)),
        "classes": classes,
        "parameters": count_parameters(model),
        "image_size": pixels,
        "macs": macs[OFFICIAL_RULE],
        "macs_rule": OFFICIAL_RULE,
        **{f"macs_{rule}": macs[rule] for rule in PRICES},
    }


def describe_downstream(name: str) -> list[dict[str, Any]]:
    """Return the rows of one network as a detector and as a segmenter, with the paper's heads and
    numbers of classes.

    Raises:
        ValueError: an unknown name.
    """
    rows = []
    for heads, create, pixels in DOWNSTREAM:
        with torch.device("meta"):
            model = create(name, image_size=pixels)
        macs = count_macs(model, pixels, DOWNSTREAM_RULE)["total"]
        rows.append(
            {
                "name": name,
                "heads": heads,
                "parameters": count_parameters(model),
                "image_size": list(pixels),
                "macs": macs,
                "macs_rule": DOWNSTREAM_RULE,
            }
        )

    return rows


def table(rows: list[dict[str, Any]], columns: Sequence[tuple[str, str]] = COLUMNS) -> str:
    """Return the rows as aligned text."""
    cells = [
        [title for _, title in columns],
        *([_cell(row[key]) for key, _ in columns] for row in rows),
    ]

    widths = [max(len(line[column]) for line in cells) for column in range(len(columns))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def _takes_any_size(name: str) -> bool:
    """Whether images of many sizes can go through: a network with static weights for every position
    takes one.
    """
    switches = mixers.load(split_name(name)[0]).switches
    return switches.shared_positions or switches.dynamic


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_cell(item).lower()}" for key, item in value.items())
    if isinstance(value, list):
        return "x".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    """Print the table, or with `--json` the rows as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m models",
        description="Every network with its switches, parameters and operations.",
        epilog="example: python -m models --only dwnet",
        formatter_class=partial(argparse.HelpFormatter, width=78),
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--only", metavar="MIXER", choices=mixers.names(), help="the rows of one mixer"
    )
    parser.add_argument(
        "--classes",
        type=int,
        default=PAPER_CLASSES,
        metavar="N",
        help="count networks of so many classes (the paper's 1,000)",
    )
    parser.add_argument(
        "--downstream", action="store_true", help="with the heads for detection and segmentation"
    )

    args = parser.parse_args()
    networks = [*((name, {}) for name in list_models()), *(() if args.downstream else ABLATIONS)]
    networks = [
        (name, options) for name, options in networks if args.only in (None, split_name(name)[0])
    ]

    if args.downstream:
        names = [name for name, _ in networks if _takes_any_size(name)]
        rows = [row for name in names for row in describe_downstream(name)]
    else:
        rows = [describe(name, options, args.classes) for name, options in networks]

    columns = DOWNSTREAM_COLUMNS if args.downstream else COLUMNS
    print(json.dumps(rows, indent=1) if args.json else table(rows, columns))


if __name__ == "__main__":
    main()
