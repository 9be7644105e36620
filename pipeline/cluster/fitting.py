"""Whether networks can be trained by their recipes at all, found out without memory before anything
starts.
"""

from collections.abc import Iterable

import torch
from torch import nn

from pipeline.core.errors import UserError
from pipeline.runs.run import Run
from pipeline.shards.manifest import Manifest
from pipeline.shards.reader import read_manifest
from pipeline.tasks.base import create


def refuse_untrainable(named: Iterable[tuple[str, Run]]) -> None:
    """Build each different network on `meta` and pass a micro-batch through it as its recipe would.

    Raises:
        UserError: a network takes no images of that size, or has a batch norm that a micro-batch is
            too small for; the sentence begins with the name of the first run that has it.
    """
    seen = set()
    for name, run in named:
        network = run.section.variants[run.variant]
        key = (run.task, network.model_name, str(network.overrides), run.recipe.model_dump_json())
        if key not in seen:
            seen.add(key)
            try:
                refuse_untrainable_run(run, read_manifest(run.shards, run.cache))
            except UserError as error:
                raise UserError(f"{name}: {error}") from None


def refuse_untrainable_run(run: Run, manifest: Manifest) -> None:
    """Refuse one run as `refuse_untrainable` does."""
    size = run.recipe.network_size
    name = run.section.variants[run.variant].model_name

    try:
        with torch.device("meta"):
            model = create(run.task, run.section, run.variant, manifest).build()
            least, reason = (1, "") if size is None else _smallest_batch(model, size)
    except UserError:
        raise
    except (NotImplementedError, AttributeError):
        # what `meta` cannot do says nothing about the network
        return
    except Exception as error:
        if "meta" in str(error):
            return
        images = f"images of {size} pixels" if size else "the recipe's images"
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise UserError(
            f"{name} cannot take {images}: {reason}; change the recipe's sizes to what it was "
            "made for, or take "
            "another network"
        ) from None

    if run.recipe.micro_batch < least:
        raise UserError(
            f"{name} cannot be trained in micro-batches of {run.recipe.micro_batch} at {size} "
            f"pixels: {reason}; "
            f"use micro_batch {least} or more"
        )


def _smallest_batch(model: nn.Module, size: int) -> tuple[int, str]:
    from models.heads import smallest_batch

    return smallest_batch(model, (size, size))
