"""Run the benchmarks one after the other and write docs/performance.md.

Exits 0 whatever they find: a figure that misses its goal, and a benchmark that cannot run here, are
rows of the page.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.page import page, score
from models.counting.speed import device_name

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
SECONDS = 360
"""What one benchmark may take; the longest, of whole networks, takes about four minutes alone."""


def parts() -> list[str]:
    """Names of the benchmarks: the files of this folder that can be run."""
    runnable = "__main__" + '":'
    files = sorted(HERE.glob("[a-z]*.py"))
    return [path.stem for path in files if runnable in path.read_text()]


def run(name: str, seconds: float) -> tuple[list[dict[str, Any]], str | None]:
    """Return the lines that a benchmark printed, each shown as it came, and why it ended early."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{name}"],
        cwd=HERE.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    errors: list[str] = []
    reading = threading.Thread(target=lambda: errors.extend(process.stderr or ()))
    reading.start()
    ending = threading.Timer(seconds, process.kill)
    ending.start()
    lines = []
    for text in process.stdout:
        print(text, end="", flush=True)
        if text.startswith("{"):
            lines.append(json.loads(text))
    code = process.wait()
    late = not ending.is_alive()
    ending.cancel()
    reading.join()
    if code == 0:
        return lines, None
    told = [text.strip() for text in errors if text.strip()]
    return lines, f"longer than {seconds:.0f} s" if late else (told[-1] if told else f"exit {code}")


def commit() -> str:
    """Return the commit that runs, and whether files differ from it; unknown outside git."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"],
        cwd=HERE.parent,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or "unknown"


def machine() -> str:
    gigabytes = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    name = device_name(torch.device("cpu")).removeprefix("cpu ")
    return f"{os.cpu_count()} cores of {name}, {gigabytes} GB, torch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("only", nargs="*", help=f"of {', '.join(parts())}")
    only = parser.parse_args().only
    if unknown := set(only) - set(parts()):
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(parts())}")
    found: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    names = only or parts()
    for number, name in enumerate(names, start=1):
        start = time.monotonic()
        print(f"{number} of {len(names)}: {name}", flush=True)
        lines, why = run(name, SECONDS)
        found += lines
        if why is not None:
            failures[name] = why
            print(f"{name} could not run to its end: {why}")
        print(f"{name} took {time.monotonic() - start:.0f} s", flush=True)
    if not only:
        PAGE.write_text(page(found, failures, machine(), commit()))
        print(f"written: {PAGE.relative_to(HERE.parent)}")
    print(score(line for line in found if "ratio" in line))


if __name__ == "__main__":
    main()
