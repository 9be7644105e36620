"""How long an image takes, from the nearest measurement: the last run, the profile, another
network's profile, or else round figures.

A last run says most: it read its data and averaged its gradients as the next one will. A profile
times the step alone.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from typing import Any, Literal

from models.network.sizes import SIZES
from pipeline.core import records
from pipeline.params import Cluster, Dataset, Duration, Variant
from pipeline.params.registry import classifier
from pipeline.planning import rounds
from pipeline.planning.operations import PHOTOGRAPH, operations_of
from pipeline.planning.work import Training, evaluations
from pipeline.project.call import Call, Folders
from pipeline.runs.results.profile import ProfileFile
from pipeline.runs.results.training import Metrics
from pipeline.tasks.counting import Operations

Kind = Literal["GPU", "CPU"]
LAST = "its last run"
WIDER = 2
"""How many times as wide a network may be for its time to be scaled to another's."""
IDLE = {
    "duration",
    "optimizer",
    "schedule",
    "evaluate_every",
    "checkpoint_every",
    "init_from",
    "shuffle_block",
    "on_non_finite",
    "evaluate_on",
    "hold_out",
}
"""Numbers of a recipe that do not change how long an image takes."""


@dataclass(frozen=True)
class Speed:
    """Seconds that an image keeps a device busy, in training and in evaluation; a device is a GPU,
    or one CPU core.

    `basis` says where that is from, `rough` whether operations were scaled.
    """

    train: float
    evaluation: float
    device: str
    basis: str
    rough: bool = False

    @property
    def kind(self) -> Kind:
        """`GPU` or `CPU`: what the hours are of."""
        return "CPU" if self.device.startswith("cpu") else "GPU"

    def scaled(self, train: float, evaluation: float, basis: str, rough: bool) -> "Speed":
        """Return the speed where an image takes so many times as long."""
        return Speed(self.train * train, self.evaluation * evaluation, self.device, basis, rough)


@dataclass(frozen=True)
class Measured:
    """What is known of a training's network: its speed and number of parameters."""

    speed: Speed
    parameters: int


class Speeds:
    """The measurements that the project has, its own and those of an ad-hoc call."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.profiles = list(_profiles(call))
        self._operations: dict[str, Operations] = {}

    def of(self, training: Training) -> Measured:
        """Return what is known of a training's network."""
        return self._last_run(training) or self.of_step(training)

    def of_step(self, training: Training) -> Measured:
        """Return what profiles say of a training's network, or else round figures."""
        return (
            self._own_profile(training)
            or self._by_operations(training)
            or self._by_round_figures(training)
        )

    def _last_run(self, training: Training) -> Measured | None:
        """Return what the published run of the same variant measured, unless something in it took
        another time.
        """
        try:
            path = self.call.source(
                lambda folders: folders.results(training.task, training.name, "metrics.json")
            )
            if (record := records.read(path, Metrics)) is None:
                return None
            same = (
                _network(record["model"], record["overrides"]) == _network_of(training.variant)
                and _timed(record["recipe"]) == _timed(training.recipe.model_dump(mode="json"))
                and record["data"]["source"] == self._asked(training.section.dataset).origin
            )
            return _of_record(record, self.call.params.cluster) if same else None
        except (ValueError, KeyError, TypeError, ZeroDivisionError, OverflowError):
            # of another version
            return None

    def _own_profile(self, training: Training) -> Measured | None:
        """Return what a profile of the same network says: at its own size, or scaled by the area of
        the image.
        """
        if training.task != classifier():
            return None
        profiles = [
            profile for profile in self._fitting(training) if _is_of(profile, training.variant)
        ]
        side = training.recipe.image_size
        profiles.sort(
            key=lambda profile: (
                abs(log(profile["image_size"] / side)),
                profile["variant"] != training.name,
            )
        )

        if not profiles:
            return None

        profile = profiles[0]
        area = (side / profiles[0]["image_size"]) ** 2
        name = (
            "its own profile"
            if profile["variant"] == training.name
            else f"the profile of {profile['variant']}"
        )
        basis = name if area == 1 else f"{name}, scaled by image area"

        return Measured(
            _of_profile(profile).scaled(area, area, basis, rough=area != 1), profile["parameters"]
        )

    def _by_operations(self, training: Training) -> Measured | None:
        """Return the speed of the profiled network that is most alike, scaled by what an image
        costs.
        """
        alike = [
            (rank, p)
            for p in self._fitting(training)
            if (rank := _likeness(p, training.variant)) is not None
        ]
        if not alike:
            return None

        counted = self._counted(training)
        _, _, _, nearest = min(
            (rank, abs(log(counted.train / profile["macs"])), profile["variant"], profile)
            for rank, profile in alike
        )

        times = counted.train / nearest["macs"], counted.evaluation / nearest["macs"]
        basis = f"the profile of {nearest['variant']}, scaled by operations"
        return Measured(_of_profile(nearest).scaled(*times, basis, rough=True), counted.parameters)

    def _by_round_figures(self, training: Training) -> Measured:
        """Return what a device of its kind takes for as many operations, in round figures."""
        device = rounds.device_of(self.call.params.cluster, self.call.params.plan.gpu)
        counted = self._counted(training)
        of = "a laptop's CPU core" if device == rounds.CORE else f"one {device}"

        speed = Speed(
            rounds.TRAINING * rounds.seconds(device, counted.train),
            rounds.seconds(device, counted.evaluation),
            device,
            f"{rounds.BASIS} of {of}, scaled by operations; nothing was measured",
            rough=True,
        )

        return Measured(speed, counted.parameters)

    def _fitting(self, training: Training) -> list[dict[str, Any]]:
        """Return the profiles taken in the precision and layout of a recipe."""
        recipe = training.recipe
        how = (
            "fp32" if recipe.amp == "none" else recipe.amp,
            "channels_last" if recipe.channels_last else "contiguous",
        )

        return [
            profile for profile in self.profiles if (profile["precision"], profile["layout"]) == how
        ]

    def _counted(self, training: Training) -> Operations:
        recipe = training.recipe.model_dump(mode="json")
        key = json.dumps(
            [training.task, _network_of(training.variant), _timed(recipe)], sort_keys=True
        )

        if key not in self._operations:
            drawn = (
                training.task != classifier()
                and self._asked(training.section.dataset).source == "synthetic"
            )
            # drawn ones are square
            self._operations[key] = operations_of(training, 1.0 if drawn else PHOTOGRAPH)
        return self._operations[key]

    def _asked(self, dataset: str) -> Dataset:
        section: Dataset = getattr(self.call.params.data, dataset)
        return section


def _profiles(call: Call) -> Iterator[dict[str, Any]]:
    """Yield the profiles that can be read, an ad-hoc call's own before the project's."""
    seen = set()
    for root in dict.fromkeys((call.folders, Folders(call.project))):
        for path in sorted(root.results("profile").glob("*/profile.json")):
            profile = records.read(path, ProfileFile)
            if profile is None or profile["variant"] in seen:
                continue
            if profile["train_images_per_second"] and profile["inference_images_per_second"]:
                yield profile
                seen.add(profile["variant"])


def _network(model: str, overrides: dict[str, Any]) -> list[Any]:
    """Return what makes two variants the same network; drop path costs nothing."""
    return [model, {name: value for name, value in overrides.items() if name != "drop_path_rate"}]


def _network_of(variant: Variant) -> list[Any]:
    network: list[Any] = json.loads(json.dumps(_network(variant.model_name, variant.overrides)))
    return network


def _is_of(profile: dict[str, Any], variant: Variant) -> bool:
    return _network(profile["model"], profile["overrides"]) == _network_of(variant)


def _likeness(profile: dict[str, Any], variant: Variant) -> int | None:
    """Return how near a profiled network is, 0 the nearest: the same, of the same mixer and size,
    one of the two.

    None where it is another kind of network, or so much wider or narrower that operations do not
    compare.
    """
    if _is_of(profile, variant):
        return 0
    if "timm" in (variant.mixer, profile["mixer"]):
        return None

    width = _width(variant.size, variant.overrides)
    profiled = _width(profile["size"], profile["overrides"])
    if max(width, profiled) > WIDER * min(width, profiled):
        return None

    mixer = variant.mixer == profile["mixer"]
    size = variant.size == profile["size"]
    return 1 if mixer and size else 2 if mixer else 3 if size else None


def _width(size: str | None, overrides: dict[str, Any]) -> int:
    width: int = overrides.get("embed_dim") or SIZES[size or "tiny"].embed_dim
    return width


def _timed(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a recipe that decide how long an image takes."""
    return {name: value for name, value in recipe.items() if name not in IDLE}


def _of_profile(profile: dict[str, Any]) -> Speed:
    """Return what a profile measured: one GPU, or all the cores that it used."""
    cores = profile["threads"] if profile["device"].startswith("cpu") else 1
    train = profile["train_images_per_second"]
    infer = profile["inference_images_per_second"]
    return Speed(cores / train, cores / infer, profile["device"], "")


def _of_record(record: dict[str, Any], cluster: Cluster) -> Measured:
    """Return what a published run measured, over all its seeds.

    Raises:
        KeyError, TypeError, ValueError, ZeroDivisionError: the record is not one of this version.
    """
    recipe = record["recipe"]
    data = record["data"]
    batch = recipe["micro_batch"] * recipe["micro_batches"]
    evaluate_every = Duration.model_validate(recipe["evaluate_every"])
    every = evaluate_every.at_least_a_step(data["train_samples"] // batch)

    images = evaluated = train = wall = 0.0
    for seed in record["seeds"]:
        steps = seed["final"]["step"]
        images += steps * batch
        train += steps * batch / seed["train_images_per_second"]
        wall += seed["wall_time_s"]
        evaluated += evaluations(steps, every) * data[f"{data['evaluated_on']}_samples"]

    cores = threads(cluster) if record["device"].startswith("cpu") else 1
    devices = record["world_size"] * cores
    speed = Speed(
        devices * train / images,
        devices * max(0.0, wall - train) / evaluated,
        record["device"],
        LAST,
    )

    return Measured(speed, record["parameters"])


def threads(cluster: Cluster) -> int:
    """Return how many cores a worker without a GPU computes on."""
    return max(1, int(cluster.cpus_per_worker))
