"""What a search remembers between commands: how each trial ended, a file a trial, beside the runs'
own folders.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pipeline.core import records
from pipeline.core.files import digest, write_json
from pipeline.core.locks import held
from pipeline.runs.run import Run

EndState = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class TrialEnding:
    """How a trial ended, with its evaluations; `order` counts the endings of its search."""

    run_id: str
    state: EndState
    rows: list[dict[str, Any]] = field(default_factory=list)
    costs: dict[str, int] = field(default_factory=dict)
    error: str = ""
    order: int = 0


class Journal:
    """The endings of one search.

    A finished run needs no entry to be known as finished, whoever trained it.
    """

    def __init__(self, storage: Path, identity: Any) -> None:
        """Open the journal of a search under `storage`, the folder of all runs.

        `identity` is what tells one search from another: its digest is the journal's id.
        """
        self.id = digest(identity)[:16]
        self.folder = storage / "searches" / self.id
        self._endings = self._read()

    @contextmanager
    def alone(self, label: str) -> Iterator[None]:
        """Keep other drivers of the search out during the block, or wait for one; what that one
        noted is known in the block.
        """
        with held(self.folder / "lock", label):
            self._endings = self._read()
            yield

    def _read(self) -> dict[str, TrialEnding]:
        endings = {}

        for path in sorted(self.folder.glob("*.json")):
            # None: the trial is seen again as it is, or run again
            ended = records.read(path, records.Ended)
            if ended is not None and ended["run_id"] == path.stem:
                endings[path.stem] = TrialEnding(
                    **{column.name: ended[column.name] for column in fields(TrialEnding)}
                )

        return endings

    def write(
        self,
        run: Run,
        state: EndState,
        rows: list[dict[str, Any]],
        costs: dict[str, int],
        error: str = "",
    ) -> None:
        """Remember how a trial ended."""
        order = 1 + max((ending.order for ending in self._endings.values()), default=0)
        ending = TrialEnding(run.id, state, rows, costs, error, order)
        write_json(self.folder / f"{run.id}.json", asdict(ending))
        self._endings[run.id] = ending

    def ending(self, run: Run) -> TrialEnding | None:
        """Return how a run ended, as far as this search knows.

        - The run itself is finished: `finished`, with the rows of its own record.
        - The journal alone says `finished`, so the run was removed or damaged since: None, it is
          trained again.
        - The journal says `stopped` or `failed`: that; a failure only until `forget_failures`.
        - Neither knows it: None.
        """
        noted = self._endings.get(run.id)
        if (record := run.finished()) is not None:
            costs = noted.costs if noted else {}
            rows = [{"run_id": run.id, **row} for row in record["history"]]
            return TrialEnding(
                run.id,
                "finished",
                rows,
                {"parameters": record["parameters"], **costs},
                order=noted.order if noted else 0,
            )
        return None if noted is None or noted.state == "finished" else noted

    def settled(self, run: Run) -> bool:
        """Return whether a run needs nothing more: it is finished or stopped; what failed is tried
        again.
        """
        ending = self.ending(run)
        return ending is not None and ending.state != "failed"

    def forget_failures(self) -> None:
        """Let what failed be tried again."""
        for ending in [ending for ending in self._endings.values() if ending.state == "failed"]:
            (self.folder / f"{ending.run_id}.json").unlink(missing_ok=True)
            del self._endings[ending.run_id]
