"""`python -m models [--json]`: every network with its switches, parameters and operations."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from models import create_model, list_models, mixers
from models.flops import OFFICIAL_RULE, PRICES, count_by_each_rule, count_parameters
from models.registry import split_name
from models.sizes import SIZES
from models.spec import declared_switches

COLUMNS = (
    ("name", "model"),
    ("options", "options"),
    ("mixer", "mixer"),
    ("neighbourhood", "neighbourhood"),
    ("shared_positions", "shared over positions"),
    ("shared_channels", "over channels"),
    ("dynamic", "dynamic"),
    ("parameters", "parameters"),
    ("image_size", "pixels"),
    ("flops", f"operations, {OFFICIAL_RULE}"),
    *((f"flops_{rule}", f"operations, {rule}") for rule in PRICES),
)

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
    ("swin_tiny", {"norm": "bn"}),
    ("swin_tiny", {"norm": "bn", "projection_norm": True}),
    ("swin_tiny", {"se": True}),
    ("swin_tiny", {"shift": False}),
    ("swin_tiny", {"position_bias": False}),
)
"""Rows of the paper that are options of a mixer."""


def describe(name: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One row of the table, counted on a network without memory for its weights.

    Raises:
        ValueError: an unknown name or option.
    """
    mixer, size = split_name(name)
    with torch.device("meta"):
        model = create_model(name, **(options or {}))
    pixels = SIZES[size].image_size
    flops = count_by_each_rule(model, pixels)
    return {
        "name": name,
        "options": dict(options or {}),
        "mixer": mixer,
        **asdict(declared_switches(model)),
        "parameters": count_parameters(model),
        "image_size": pixels,
        "flops": flops[OFFICIAL_RULE],
        "flops_rule": OFFICIAL_RULE,
        **{f"flops_{rule}": flops[rule] for rule in PRICES},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as aligned text."""
    cells = [[title for _, title in COLUMNS], *([_cell(row[key]) for key, _ in COLUMNS] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_cell(part).lower()}" for key, part in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    """Prints the table, or with `--json` the rows as JSON."""
    parser = argparse.ArgumentParser(prog="python -m models", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", metavar="MIXER", choices=mixers.names(), help="the rows of one mixer")
    args = parser.parse_args()
    wanted = [*((name, {}) for name in list_models()), *ABLATIONS]
    rows = [describe(name, options) for name, options in wanted if args.only in (None, split_name(name)[0])]
    print(json.dumps(rows, indent=1) if args.json else table(rows))


if __name__ == "__main__":
    main()
