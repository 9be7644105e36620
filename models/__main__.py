"""`python -m models [--json]`: every network with its switches, parameters and operations."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

import torch

from models import create_model, list_models
from models.flops import OFFICIAL_RULE, count_flops, count_parameters
from models.registry import split_name
from models.sizes import SIZES
from models.spec import declared_switches

COLUMNS = (
    ("name", "model"),
    ("mixer", "mixer"),
    ("neighbourhood", "neighbourhood"),
    ("shared_positions", "shared over positions"),
    ("shared_channels", "over channels"),
    ("dynamic", "dynamic"),
    ("parameters", "parameters"),
    ("image_size", "pixels"),
    ("flops", f"operations, {OFFICIAL_RULE}"),
)


def describe(name: str) -> dict[str, Any]:
    """One row of the table, counted on a network without memory for its weights.

    Raises:
        ValueError: an unknown name.
    """
    mixer, size = split_name(name)
    with torch.device("meta"):
        model = create_model(name)
    pixels = SIZES[size].image_size
    flops = count_flops(model, pixels)
    return {
        "name": name,
        "mixer": mixer,
        **asdict(declared_switches(model)),
        "parameters": count_parameters(model),
        "image_size": pixels,
        "flops": flops["total"],
        "flops_rule": flops["rule"],
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
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    """Prints the table, or with `--json` the rows as JSON."""
    parser = argparse.ArgumentParser(prog="python -m models", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    rows = [describe(name) for name in list_models()]
    print(json.dumps(rows, indent=1) if args.json else table(rows))


if __name__ == "__main__":
    main()
