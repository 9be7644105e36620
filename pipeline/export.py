"""A trained network for other programs: `python -m pipeline.export dwnet_micro --format onnx`.

The file is compared with the network before it appears, and says in its metadata what it is.
"""

import argparse
from pathlib import Path
from typing import Any

import models
from pipeline.core import command
from pipeline.core.errors import UserError
from pipeline.core.files import write_bytes
from pipeline.params import TASKS

EXAMPLE = "python -m pipeline.export dwnet_micro --format onnx"
FORMATS = ("onnx", "torch_export", "torchscript")
NEEDED = "it needs onnx, onnxscript and onnxruntime; run: pip install -e '.[export]'"


def main() -> None:
    """Write one file, and print what was found out about it."""
    parser = command.parser("A trained network as one file for other programs.", EXAMPLE)
    parser.add_argument("variant", nargs="?", help="a variant, or a folder of results")
    parser.add_argument("--weights", metavar="FILE", help="weights in place of a variant")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="pixels (as it was evaluated)"
    )
    parser.add_argument("--out", metavar="FILE", help="(beside the weights)")
    args = parser.parse_args()

    weights = Path(args.weights) if args.weights else _folder(args.variant)
    try:
        model = models.load(weights)
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from None
    _export(model, weights, args)


def _folder(variant: str | None) -> Path:
    """Return the results that a word stands for."""
    if variant is None:
        raise UserError(f"name a variant or --weights FILE, as in: {EXAMPLE}")
    if Path(variant).exists():
        return Path(variant)

    folders = [path for task in TASKS if (path := Path("results", task, variant)).is_dir()]
    if not folders:
        raise UserError(
            f"no results/TASK/{variant} is there; train it, or name a file by --weights"
        )
    if len(folders) > 1:
        raise UserError(f"{variant} was trained for several tasks; name {_either(folders)}")
    return folders[0]


def _either(paths: list[Path]) -> str:
    return " or ".join(map(str, paths))


def _export(model: Any, weights: Path, args: argparse.Namespace) -> None:
    from models.published.export import FORMATS, ExportError, export
    from models.published.size import size_of

    size = tuple(args.size) if args.size else size_of(model.config)
    try:
        content, record = export(model, args.format, size, model.config)
    except ExportError as error:
        raise UserError(f"{weights} as {args.format}: {error}") from None
    except ModuleNotFoundError as error:
        raise UserError(f"{args.format} cannot be written ({error}); {NEEDED}") from None

    folder = weights if weights.is_dir() else weights.parent
    out = Path(args.out) if args.out else folder / f"model{FORMATS[args.format].suffix}"
    write_bytes(out, content)
    free = ", ".join(record["dynamic"])
    print(
        f"{out}: {len(content) / 1e6:,.1f} MB, {size[0]} x {size[1]} pixels, free: {free}; "
        f"differs from the network by at most {record['difference']:.1g}"
    )


if __name__ == "__main__":
    command.main(main)
