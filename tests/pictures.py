"""The pictures of docs/pictures/, made anew of the published report and of this folder's: `make
pictures`.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from tests.browser import CHROMIUM, screenshot

REPORT = Path("results/report/report.html")
PUBLISHED = Path("docs/results/cifar10/results/report/report.html")
PICTURES = Path("docs/pictures")
SIZES = {"report.webp": (1280, 800), "report-phone.webp": (390, 844)}
"""What a reader sees first of the published report, by file: the window's width and height in
pixels.
"""

DATABASE = Path("mlflow.db")
RUNS, RUNS_SIZE = "mlflow.webp", (1720, 800)
PORT = "5099"
PATIENCE = "--virtual-time-budget=30000"
"""MLflow's page asks its server for the runs before it shows them."""
DRAWN = "drawn.webp"
SHEETS = ("samples_classify", "samples_detect", "samples_segment")
"""What a network saw in drawn images, by what the report's files begin with."""
HEIGHT = 300
"""Of the picture of these, in pixels."""


def make(first: Path, page: Path, folder: Path) -> list[Path]:
    """Write the pictures of the first report's first screen, and one of what the other drew."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in SIZES.items():
        take(first.resolve().as_uri(), size, folder / name)
    drawn(page.parent).save(folder / DRAWN, quality=80, method=6)
    return [folder / name for name in (*SIZES, DRAWN)]


def take(address: str, size: tuple[int, int], file: Path, *options: str) -> None:
    """Write what a window shows of a page, every pixel as it is."""
    with TemporaryDirectory() as scratch:
        shot = Path(scratch) / "shot.png"
        screenshot(address, size, shot, *options)
        Image.open(shot).convert("RGB").save(file, lossless=True, method=6)


def runs_table(file: Path) -> Path:
    """Write what `make ui` shows of the classifiers."""
    command = [sys.executable, "-u", "-m", "pipeline.ui", "--port", PORT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            line = next(line for line in server.stdout if line.strip().startswith("classify:"))
            take(line.split()[1], RUNS_SIZE, file, PATIENCE)
        finally:
            server.terminate()
    return file


def drawn(report: Path) -> Image.Image:
    """Return the upper left of a sheet of samples of each task, side by side."""
    corners = []
    for start in SHEETS:
        sheet = Image.open(min(report.glob(f"{start}_*.webp"))).convert("RGB")
        corner = sheet.crop((0, 0, sheet.width // 2, sheet.height * 2 // 3))
        corners.append(corner.resize((corner.width * HEIGHT // corner.height, HEIGHT)))
    whole = Image.new("RGB", (sum(corner.width for corner in corners), HEIGHT), "white")
    for index, corner in enumerate(corners):
        whole.paste(corner, (sum(before.width for before in corners[:index]), 0))
    return whole


def main() -> None:
    if CHROMIUM is None:
        sys.exit("error: the pictures are taken by Chromium, which is not on PATH; install it")
    if not REPORT.exists():
        sys.exit(f"error: {REPORT} is missing; `make repro` writes it")
    made = make(PUBLISHED, REPORT, PICTURES)
    if DATABASE.exists():
        made.append(runs_table(PICTURES / RUNS))
    for path in made:
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
