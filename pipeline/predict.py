"""What a trained network sees: `python -m pipeline.predict classify dwnet_micro PICTURE...`.

With `--weights FILE` from the file alone, in any folder. A PICTURE is a file, a folder or a
pattern. What cannot be used is named, and the rest is done.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import models
from pipeline.core import command
from pipeline.core.errors import UserError
from pipeline.core.progress import Progress
from pipeline.params import TASKS
from pipeline.prediction.inputs import inputs_of
from pipeline.prediction.outcomes import Outcome, Predictions

EXAMPLE = "python -m pipeline.predict detect dwnet_micro holidays/ 'more/*.jpg' --out seen"


def main() -> None:
    """Print what is in each picture, and draw it."""
    parser = command.parser("What a trained network sees in pictures.", EXAMPLE)
    parser.add_argument(
        "words",
        nargs="+",
        metavar="TASK VARIANT PICTURE",
        help="whose published weights, and pictures, folders or patterns",
    )
    parser.add_argument("--weights", metavar="FILE", help="weights in place of TASK VARIANT")
    parser.add_argument("--json", action="store_true", help="print JSON; draw only with --out")
    parser.add_argument("--out", metavar="DIR", help="where pictures are drawn (predictions)")
    parser.add_argument("--confidence", type=float, default=0.3, help="the least of an object")
    args = parser.parse_args()

    weights, words = _asked(args.words, args.weights)
    out = Path(args.out or "predictions")
    inputs = inputs_of(words, out)
    if not inputs:
        raise UserError(f"there are no pictures in {' '.join(words)}")

    try:
        model = models.load(weights)
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from None

    drawn = None if args.json and not args.out else out
    outcomes = Predictions(model, args.confidence, drawn, args.json).outcomes(inputs)
    failed = _print(outcomes, len(inputs), args.json)
    if failed:
        raise UserError(f"{failed} of {len(inputs)} pictures could not be used, as said above")


def _asked(words: list[str], weights: str | None) -> tuple[Path, list[str]]:
    """Return the file of weights, and the words that stand for pictures."""
    if weights is not None:
        return Path(weights), words
    if len(words) < 3 or words[0] not in TASKS:
        raise UserError(
            f"name a task ({', '.join(TASKS)}), a variant and pictures, or --weights FILE and "
            f"pictures, as in: {EXAMPLE}"
        )

    task, variant, *pictures = words
    folder = Path("results", task, variant)
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not there; run: dvc repro {task}@{variant}, or name a file by --weights"
        )
    return folder, pictures


def _print(outcomes: Iterable[Outcome], total: int, as_json: bool) -> int:
    """Print a line a picture, or one JSON list; return how many could not be used."""
    progress = Progress("predict", total, "pictures", brief=True)
    failed = 0
    for number, outcome in enumerate(outcomes, start=1):
        failed += outcome.failed
        if outcome.failed:
            print(f"left out: {outcome.path}: {outcome.words}", file=sys.stderr, flush=True)
        elif not as_json:
            print(f"{outcome.path}: {outcome.words}", flush=True)
        if as_json:
            print("[" if number == 1 else ",", json.dumps(outcome.record), flush=True)
        if not sys.stdout.isatty():  # a terminal shows how far it is by the lines above
            progress.show(number)

    if as_json:
        print("]")
    return failed


if __name__ == "__main__":
    command.main(main)
