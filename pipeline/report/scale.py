"""Whether a run is of the size that the published numbers come from."""

from __future__ import annotations

from pipeline.params.registry import classifier, tasks
from pipeline.report.claims import Claim
from pipeline.report.numbers import count
from pipeline.runs.results.fields import DataFacts
from pipeline.runs.results.profile import ProfileFile
from pipeline.runs.results.training import Metrics


def small_because(metrics: Metrics) -> tuple[str, ...]:
    """Why a run is small whatever it is compared with; nothing for a run of the paper's size."""
    ended = min(row.last.get("epoch", metrics.epochs) for row in metrics.seeds)
    return smaller(
        metrics.task, metrics.data, metrics.size, metrics.epochs, metrics.image_size, ended
    )


def smaller(
    task: str, data: DataFacts, size: str | None, epochs: float, image_size: int, ended: float
) -> tuple[str, ...]:
    """Why a network of this size, trained so on such data, is small; `ended` is the epoch that was
    reached.
    """
    scale = tasks()[task].paper
    if scale is None:
        return (f"no published run of {tasks()[task].label}",)

    checks = {
        "synthetic images": data.synthetic,
        "size micro": size == "micro",
        "evaluated on training images": data.evaluated_on == "train",
        "evaluated on images held out of the training set": data.evaluated_on == "held_out",
        f"{data.train_samples:,} training images ({scale.train:,})": data.train_samples
        < scale.least_train,
        f"{data.val_samples:,} validation images ({scale.val:,})": data.val_samples
        < scale.least_val
        and data.evaluated_on != "held_out",
        f"{data.classes:,} classes ({scale.classes:,})": data.classes != scale.classes,
        f"{count(epochs, 'epoch')} ({scale.epochs:,.4g})": epochs < scale.epochs,
        # The last evaluation may count its epoch from 0, and the last epoch may be cut to whole
        # batches.
        f"ended after {ended:,.4g} of {count(epochs, 'epoch')}": ended < epochs - 1,
        f"image size {image_size} ({scale.image_size})": image_size < (scale.image_size or 0),
    }

    return tuple(reason for reason, holds in checks.items() if holds)


def run_reasons(metrics: Metrics, claim: Claim) -> tuple[str, ...]:
    """Why a run cannot stand for a claim: it is small, or of another image size."""
    size = metrics.image_size
    resized = metrics.task == classifier() and size != claim.row.image_size and size >= 224

    return (
        *small_because(metrics),
        *([f"image size {size} ({claim.row.image_size})"] if resized else []),
    )


def profile_reasons(profile: ProfileFile, size: str | None, claim: Claim) -> tuple[str, ...]:
    """Why a profile cannot stand for a claim; it needs no data, so only the network and its input
    count.
    """
    checks = {
        "size micro": size == "micro",
        f"{profile.classes:,} classes (1,000)": profile.classes != 1000,
        f"image size {profile.image_size} ({claim.row.image_size})": profile.image_size
        != claim.row.image_size
        and claim.metric != "parameters_m",
    }

    return tuple(reason for reason, holds in checks.items() if holds)
