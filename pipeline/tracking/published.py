"""What MLflow is to have of published networks, kept beside the runs until it has them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.core import records
from pipeline.core.files import write_json
from pipeline.project.call import Call
from pipeline.runs.run import Run
from pipeline.runs.weights import weights_digest
from pipeline.tracking.entry import store_of
from pipeline.tracking.seeds import entry_of

FOLDER = "published"


class Published(records.Record):
    """A published network: `weights` is the digest of its tensors, `run` the key of its run's
    entry.
    """

    store: str
    experiment: str
    variant: str
    run: str
    folder: str
    weights: str

    @property
    def name(self) -> str:
        """The network's name in MLflow's registry."""
        return f"{self.experiment}-{self.variant}"


class Registered(records.Record):
    """What MLflow has of a published network."""

    store: str
    weights: str
    version: str


@dataclass(frozen=True)
class PublishedFile:
    """The files of one published network, under a folder of runs."""

    storage: Path
    name: str

    @property
    def path(self) -> Path:
        """What MLflow is to have."""
        return self.storage / FOLDER / f"{self.name}.json"

    @property
    def note_path(self) -> Path:
        """What it has."""
        return self.storage / FOLDER / f"{self.name}.note"

    @property
    def lock(self) -> Path:
        """Held by the one process that brings it there."""
        return self.storage / FOLDER / f"{self.name}.lock"

    def read(self) -> Published | None:
        """Return what MLflow is to have; None where that is missing or spoilt."""
        tree = records.read(self.path, Published)
        return None if tree is None else Published.model_validate(tree)

    def settled(self) -> bool:
        """Return whether MLflow has it."""
        network = self.read()
        note = records.read(self.note_path, Registered)
        if network is None or note is None:
            return False

        return (note["store"], note["weights"]) == (network.store, network.weights)


def write(call: Call, run: Run) -> PublishedFile | None:
    """Write down what a run's results are to MLflow; None where that is nothing.

    Results of a call with other parameters than the project's are not what the project publishes,
    and the weights of a task that does not say how its networks are used cannot be loaded.
    """
    if call.folders.root != call.project or run.recipe.usage is None:
        return None

    folder = call.folders.results(run.task, run.variant)
    published = Published(
        store=store_of(call.params.tracking, call.project).name,
        experiment=run.task,
        variant=run.variant,
        run=entry_of(run).key,
        folder=str(folder),
        weights=weights_digest(folder / "model.safetensors"),
    )

    file = PublishedFile(run.folder.parent, published.name)
    if file.read() != published:
        write_json(file.path, published.model_dump(mode="json"))
    return file


def published(storage: Path) -> Iterator[PublishedFile]:
    """Return the networks that were published from a folder of runs."""
    for path in sorted(storage.glob(f"{FOLDER}/*.json")):
        yield PublishedFile(storage, path.stem)
