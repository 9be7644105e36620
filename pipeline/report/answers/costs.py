"""What one network costs beside another."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.params.registry import classifier
from pipeline.report import numbers
from pipeline.report.contrasts import Contrast
from pipeline.report.samples import SamplePicture
from pipeline.runs.results.profile import ProfileFile


@dataclass(frozen=True)
class Cost:
    """One measure of both networks; a timing with the spread of its ratio.

    `spread` is between a quarter slow against a quarter fast and the other way round.
    """

    measure: str
    left: float
    right: float
    spread: tuple[float, float] | None = None

    @property
    def ratio(self) -> float:
        """Left in units of right."""
        return self.left / self.right

    @property
    def times(self) -> str:
        """The ratio in words, with its spread where there is one."""
        if self.spread is None:
            return f"{self.ratio:.2f}"
        low, high = self.spread
        return f"{self.ratio:.2f} ({low:.2f} to {high:.2f})"


@dataclass(frozen=True)
class RunCosts:
    """What can be compared of two networks, and why the rest cannot."""

    contrast: Contrast
    found: tuple[Cost, ...]
    refused: str = ""

    def of(self, measure: str) -> Cost | None:
        """One measure, where there is one."""
        return next((cost for cost in self.found if cost.measure == measure), None)


PARAMETERS = "parameters"
MACS = "MACs"
INFERENCE = "inference"
TRAINING = "training"
MEMORY = "memory"
MEASURES = (PARAMETERS, MACS, INFERENCE, TRAINING, MEMORY)
UNITS = {PARAMETERS: "M", MACS: "G", INFERENCE: "images/s", TRAINING: "images/s", MEMORY: "MB"}
SESSION = 24 * 3600  # seconds
SCALED = {PARAMETERS: 1e6, MACS: 1e9}


def shown(measure: str, value: float) -> str:
    """Return a cost in its unit."""
    if measure in SCALED:
        metric = {PARAMETERS: "parameters_m", MACS: "macs_g"}[measure]
        return numbers.value(metric, value / SCALED[measure])
    return numbers.speed(value)


def costs(contrast: Contrast) -> RunCosts:
    """Costs of a pair: parameters and MACs as their runs counted them, speeds and memory from
    profiles made alike; of other tasks and the factorial what their own runs know.

    Profiles are of the classification network, so they say nothing of a network with another head.
    """
    left = contrast.left
    right = contrast.right
    if left.where or left.task != classifier():
        return RunCosts(contrast, _of_runs(left, right))

    first = left.profile
    second = right.profile
    if first is None or second is None:
        lacking = " and ".join(f"`{side.name}`" for side in (left, right) if side.profile is None)
        return RunCosts(contrast, _of_runs(left, right), f"{lacking} has no profile")

    counted = _made([(PARAMETERS, left.parameters, right.parameters)])
    if (first.image_size, first.macs_rule) == (second.image_size, second.macs_rule):
        counted += _made([(MACS, left.macs, right.macs)])
    if protocol(first) != protocol(second):
        return RunCosts(contrast, counted, "the two profiles were not made by one protocol")
    if not one_session(first, second):
        return RunCosts(contrast, counted, "the two profiles were not made in one session")

    return RunCosts(contrast, counted + _timed(first, second))


def one_session(first: ProfileFile, second: ProfileFile) -> bool:
    """Whether two profiles say that one machine made them within a day of one start."""
    if first.boot is None or first.boot != second.boot or not (first.measured and second.measured):
        return False
    return abs(first.measured - second.measured) <= SESSION


def protocol(profile: ProfileFile) -> tuple[object, ...]:
    """Return what must be the same for two speeds to compare."""
    return (
        profile.device,
        profile.threads,
        profile.torch,
        profile.precision,
        profile.layout,
        profile.batch_size,
        profile.image_size,
        profile.warmup,
        profile.timed,
    )


def _timed(first: ProfileFile, second: ProfileFile) -> tuple[Cost, ...]:
    speeds = [
        (
            INFERENCE,
            first.inference_images_per_second,
            second.inference_images_per_second,
            _spread(first.inference_quartiles, second.inference_quartiles),
        ),
        (
            TRAINING,
            first.train_images_per_second,
            second.train_images_per_second,
            _spread(first.train_quartiles, second.train_quartiles),
        ),
    ]

    speed_costs = tuple(Cost(*speed) for speed in speeds if speed[1] and speed[2])
    return speed_costs + _made([(MEMORY, first.peak_memory_mb, second.peak_memory_mb)])


def _spread(left: list[float] | None, right: list[float] | None) -> tuple[float, float] | None:
    """Return the ratio of a slow quarter to a fast one, and of a fast one to a slow one."""
    if not left or not right or not min(right):
        return None
    return min(left) / max(right), max(left) / min(right)


def _of_runs(left: SamplePicture, right: SamplePicture) -> tuple[Cost, ...]:
    # The cells of a factorial are trained by one stage; variants are trained whenever they are.
    alike = bool(left.where) and left.machine == right.machine
    speeds = (
        (left.train_images_per_second, right.train_images_per_second) if alike else (None, None)
    )

    return _made(
        [
            (PARAMETERS, left.parameters, right.parameters),
            (MACS, left.macs, right.macs),
            (TRAINING, *speeds),
        ]
    )


def _made(values: list[tuple[str, float | None, float | None]]) -> tuple[Cost, ...]:
    return tuple(Cost(measure, left, right) for measure, left, right in values if left and right)
