"""What a search remembers between commands: how each trial ended, a file a trial, beside the runs'
own folders.
"""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pipeline.core import records
from pipeline.core.files import digest, write_json
from pipeline.runs.run import Run

State = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class TrialResult:
    """How a trial ended, with its evaluations."""

    run_id: str
    state: State
    rows: list[dict[str, Any]] = field(default_factory=list)
    costs: dict[str, int] = field(default_factory=dict)
    error: str = ""
    order: int = 0


class Journal:
    """The endings of one search.

    A finished run needs no entry to be known as finished, whoever trained it.
    """

    def __init__(self, storage: Path, decides: Any) -> None:
        """Open the journal of the search that `decides` decides, under the folder of all runs."""
        self.id = digest(decides)[:16]
        self.folder = storage / "searches" / self.id
        self._endings = {ending.run_id: ending for ending in self._read()}

    def _read(self) -> list[TrialResult]:
        results = []

        for path in sorted(self.folder.glob("*.json")):
            # None: the trial is seen again as it is, or run again
            ended = records.read(path, records.Ended)
            if ended is not None and ended["run_id"] == path.stem:
                results.append(
                    TrialResult(
                        **{column.name: ended[column.name] for column in fields(TrialResult)}
                    )
                )

        return results

    def write(
        self,
        run: Run,
        state: State,
        rows: list[dict[str, Any]],
        costs: dict[str, int],
        error: str = "",
    ) -> None:
        """Remember how a trial ended."""
        order = 1 + max((ending.order for ending in self._endings.values()), default=0)
        ending = TrialResult(run.id, state, rows, costs, error, order)
        write_json(self.folder / f"{run.id}.json", asdict(ending))
        self._endings[run.id] = ending

    def ending(self, run: Run) -> TrialResult | None:
        """Return how a run ended; None where it is still to be trained, which a failed one is not
        before it is asked.

        What is finished is finished with the rows of its own record.
        """
        noted = self._endings.get(run.id)
        if (record := run.finished()) is not None:
            costs = noted.costs if noted else {}
            rows = [{"run_id": run.id, **row} for row in record["history"]]
            return TrialResult(
                run.id,
                "finished",
                rows,
                {"parameters": record["parameters"], **costs},
                order=noted.order if noted else 0,
            )
        return None if noted is None or noted.state == "finished" else noted

    def ended(self, run: Run) -> bool:
        """Return whether a run needs nothing more; what failed is tried again."""
        ending = self.ending(run)
        return ending is not None and ending.state != "failed"

    def forget_failures(self) -> None:
        """Let what failed be tried again."""
        for ending in [ending for ending in self._endings.values() if ending.state == "failed"]:
            (self.folder / f"{ending.run_id}.json").unlink(missing_ok=True)
            del self._endings[ending.run_id]
