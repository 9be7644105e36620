"""Which tasks and data sets there are: a folder with an `about.py` is one, under the folder's name.

Only names are looked at here; `registry` reads what each says of itself.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

PIPELINE = Path(__file__).parents[1]


def with_about(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders in a folder that say what they are, in order."""
    return tuple(sorted(path.parent.name for path in folder.glob("*/about.py")))


DATASETS = with_about(PIPELINE / "datasets")
TASKS = with_about(PIPELINE / "tasks")

if TYPE_CHECKING:
    DatasetName = str
    TaskName = str
else:
    DatasetName = Literal[DATASETS]
    TaskName = Literal[TASKS]
