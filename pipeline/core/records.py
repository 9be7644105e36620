"""The JSON files that the project keeps for itself: what each holds, and one way to read them.

They lie in folders that people tidy, copy and edit. A file that holds anything else than it should
counts as missing, which costs work at worst, and is named once.
"""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from pipeline.core.errors import shortened

Count = Annotated[int, Field(ge=0)]
Rounded = Annotated[FiniteFloat, Field(ge=0)]
"""A rate or a time to one decimal, which is 0.0 where it is very small."""
FileName = Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")]
SEALED = {"last.safetensors", "best.safetensors", "samples.png"}
"""What a finished run leaves for those who publish it."""
Values = dict[str, FiniteFloat | None]
"""Numbers by name; None where one is not defined."""


class Record(BaseModel):
    """A file of the project's own; it may hold more than is checked here."""

    model_config = ConfigDict(strict=True, frozen=True, populate_by_name=True)


class HistoryRow(Record):
    """One evaluation: how far the run was, and its metrics beside that."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, FiniteFloat | str | None]
    step: Count
    epoch: FiniteFloat


class Adopted(Record):
    """`adopted.json`: the run whose checkpoint another one continued."""

    source: str = Field(alias="from")
    changed_code: list[str]


class Right(Record):
    """Which images of a split were right: a bit for each in the order of the split, in base64."""

    images: Count
    bits: str


class Confused(Record):
    """How many images of one class were taken for another one."""

    label: str
    guess: str
    images: Count


class Finished(Record):
    """`finished.json`: what a run came to, sealed by the digests of its files."""

    run_id: str
    seed: Count
    main_metric: str
    final: Values
    best: Values
    history: Annotated[list[HistoryRow], Field(min_length=1)]
    per_class: dict[str, Values]
    right: Right | None = None
    confused: list[Confused] = []
    parameters: Count
    macs: Count | None = None
    train_images_per_second: Rounded
    wall_time_s: Rounded
    world_size: Annotated[int, Field(gt=0)]
    device: str
    adopted: Adopted | None
    files: dict[FileName, str]

    @model_validator(mode="after")
    def judged(self) -> Self:
        """Check that the main metric is there, wherever it is asked for."""
        rows: list[dict[str, Any]] = [
            self.final,
            self.best,
            *(row.__pydantic_extra__ or {} for row in self.history),
        ]

        if any(not isinstance(row.get(self.main_metric), float) for row in rows):
            raise ValueError(f"{self.main_metric} is missing in an evaluation")
        if lacking := SEALED - self.files.keys():
            raise ValueError(f"files lacks {', '.join(sorted(lacking))}")

        return self


class Ended(Record):
    """`searches/<id>/<run>.json`: how a trial of a search ended."""

    run_id: str
    state: Literal["finished", "stopped", "failed"]
    rows: list[HistoryRow]
    costs: dict[str, FiniteFloat]
    error: str
    order: Count


class Noted(Record):
    """`mlflow/<name>.note.json`: how much of a run MLflow has.

    `store` is the address that has it, `run_id` MLflow's run, `offset` how far it has the file of
    the run's numbers, `entry` the digest of what else it has.
    """

    store: str
    run_id: str
    offset: Count
    entry: str


class Identity(Record):
    """`identity.json`: the name by which MLflow knows a folder of runs, and the folder that it was
    drawn for.
    """

    id: str
    inode: int


class Decided(Record):
    """`decides.json`: what decides a run's result."""

    code: dict[str, str]


class SplitPart(Record):
    """What is in a split of raw data."""

    samples: Count
    bytes: Count


class Inventory(Record):
    """`data/raw/<name>.json`: what fetch found, for which request."""

    request: dict[str, Any]
    digest: str
    splits: dict[str, SplitPart]


def read(path: Path, model: type[Record]) -> dict[str, Any] | None:
    """Return what a file holds; None where it is missing, or is no such record, which is said
    once.
    """
    try:
        data = path.read_bytes()
        tree: dict[str, Any] = json.loads(data, parse_constant=_refuse)
        model.model_validate_json(data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        _name(path, error.strerror or str(error))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        _name(path, f"{where}: {first['msg']}" if where else first["msg"])
    except (ValueError, RecursionError) as error:
        _name(path, str(error))
    else:
        return tree
    return None


@cache
def _name(path: Path, reason: str) -> None:
    reason = shortened(reason, 200)
    print(
        f"{path} is not as it was written ({reason}); it counts as missing",
        file=sys.stderr,
        flush=True,
    )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
