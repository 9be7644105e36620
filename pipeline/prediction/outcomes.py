"""Pictures through a published network, a few at a time, and what is written of each."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.params.registry import member, tasks
from pipeline.prediction.inputs import Input
from pipeline.prediction.reading import UnreadableError, read_picture
from pipeline.tasks.predicting import Picture, Predicted, Predictor, device

READERS = 4
SHOWN_SIDE = 1280
"""Pixels of the longer side of a picture that is drawn on."""


@dataclass(frozen=True)
class Outcome:
    """What became of one picture.

    Attributes:
        path: as it was named.
        words: what is in it, or why it could not be used, in one line.
        record: the same as JSON; it has an `error` where it could not be used.
    """

    path: Path
    words: str
    record: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether it could not be used."""
        return "error" in self.record


class Predictions:
    """A network with its task's way of saying what it sees."""

    def __init__(self, model: Any, confidence: float, out: Path | None, records: bool) -> None:
        """Move the network to its device.

        Args:
            model: one of `models.load`.
            confidence: the least of an object that is named.
            out: where pictures are written; None writes none.
            records: whether records are wanted in full.

        Raises:
            UserError: its task predicts nothing.
        """
        task = model.config["task"]
        predictors = {name: about.predictor for name, about in tasks().items() if about.predictor}
        if task not in predictors:
            raise UserError(
                f"nothing is predicted for the task '{task}'; known: {', '.join(predictors)}"
            )

        self.model = model.to(device())
        self.predictor: Predictor = member(predictors[task])(self.model, confidence)
        self.out = out
        self.records = records

    def outcomes(self, inputs: Sequence[Input]) -> Iterator[Outcome]:
        """Yield what became of each picture, in their order."""
        with ThreadPoolExecutor(READERS) as readers:
            for first in range(0, len(inputs), self.predictor.at_once):
                batch = inputs[first : first + self.predictor.at_once]
                read = list(readers.map(self._read, batch))
                pictures = [picture for picture in read if isinstance(picture, Picture)]
                predicted = iter(self.predictor(pictures) if pictures else [])
                for entry, result in zip(batch, read, strict=True):
                    if isinstance(result, Picture):
                        yield self._outcome(entry, result, next(predicted))
                    else:
                        yield Outcome(
                            entry.path, result, {"picture": str(entry.path), "error": result}
                        )

    def _read(self, entry: Input) -> Picture | str:
        """Return a picture as the network takes it, or why it could not be read."""
        try:
            picture = read_picture(entry.path)
        except UnreadableError as error:
            return str(error)
        image = self.model.transform(picture)
        size = (picture.height, picture.width)
        picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))  # many large ones would not fit into memory
        return Picture(image, size, picture)

    def _outcome(self, entry: Input, picture: Picture, predicted: Predicted) -> Outcome:
        height, width = picture.size
        record = {"picture": str(entry.path), "width": width, "height": height}
        if self.records:
            record |= predicted.record()

        if self.out is not None:
            drawn = {"drawn": ("", predicted.annotated)} | {
                name: (f".{name}", image) for name, image in predicted.maps.items()
            }
            for name, (ending, image) in drawn.items():
                path = self.out / entry.name.with_name(f"{entry.name.name}{ending}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path)
                record[name] = str(path)

        return Outcome(entry.path, predicted.words, record)
