"""The pictures of docs/pictures/, made anew of this folder's report: `make pictures`."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from tests.browser import CHROMIUM, screenshot

REPORT = Path("results/report/report.html")
PICTURES = Path("docs/pictures")
SIZES = {"report.webp": (1280, 800), "report-phone.webp": (390, 844)}
"""What a reader sees first, by file: the window's width and height in pixels."""


def make(page: Path, folder: Path) -> list[Path]:
    """Write the pictures of a report's first screen."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in SIZES.items():
        with TemporaryDirectory() as scratch:
            shot = Path(scratch) / "shot.png"
            screenshot(page.resolve().as_uri(), size, shot)
            Image.open(shot).convert("RGB").save(folder / name, lossless=True, method=6)
    return [folder / name for name in SIZES]


def main() -> None:
    if CHROMIUM is None:
        sys.exit("error: the pictures are taken by Chromium, which is not on PATH; install it")
    if not REPORT.exists():
        sys.exit(f"error: {REPORT} is missing; `make repro` writes it")
    for path in make(REPORT, PICTURES):
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
