"""`python -m tests.cases [NAME...]`: draw every case (or those whose name starts so), run fetch and
shard on it, and print what is right, what happened and whether that agrees; the exit code is 1
where one does not.
"""

import sys
import tempfile
from pathlib import Path

from tests.cases import ALL
from tests.cases.case import Case, Verdict, run

WIDTHS = (34, 60, 60)


def main(chosen: list[str]) -> int:
    """Run the cases and print the table; return how many ended otherwise than is right."""
    cases = [case for case in ALL if not chosen or case.name.startswith(tuple(chosen))]
    wrong = 0
    print(_row("case", "what is right", "what happened") + "  ok")
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(cases):
            verdict = run(case, Path(folder) / str(number))
            wrong += not verdict.ok
            _show(case, verdict)
    print(f"{len(cases) - wrong} of {len(cases)} cases end as is right")
    return min(wrong, 1)


def _show(case: Case, verdict: Verdict) -> None:
    cells = (f"{case.dataset} {case.name}", str(case.right), str(verdict.seen))
    print(_row(*cells) + f"  {'ok' if verdict.ok else 'NO'}", flush=True)
    if not verdict.ok:
        print(f"    {verdict.wrong}\n    {verdict.seen}")


def _row(*cells: str) -> str:
    """Return cells of one width each; longer ones are cut."""
    texts = [
        cell if len(cell) <= width else cell[: width - 1] + "…"
        for cell, width in zip(cells, WIDTHS, strict=True)
    ]
    return "  ".join(text.ljust(width) for text, width in zip(texts, WIDTHS, strict=True)).rstrip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
