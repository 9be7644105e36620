"""The files of a run: the weights it keeps, and the record that seals it at its end."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors

from pipeline.core.files import write_bytes
from pipeline.runs.run import Run
from pipeline.runs.spool import TRAINING_METRICS
from pipeline.training.evaluate import draw
from pipeline.training.setup import Setup
from pipeline.training.state import State


def write_weights(path: Path, state: State) -> None:
    """Write the weights that are evaluated; safetensors wants them contiguous, channels_last
    weights are not.
    """
    weights = {
        name: value.contiguous().cpu() for name, value in state.eval_model.state_dict().items()
    }
    write_bytes(path, to_safetensors(weights))


def best_path(run: Run, step: int) -> Path:
    """Return where the weights of an evaluation lie that was the best so far."""
    return run.folder / f"best-{step:09d}.safetensors"


def best_weights(run: Run) -> dict[int, Path]:
    """Return the weights of evaluations that were the best so far, by step."""
    paths = run.folder.glob("best-*.safetensors")
    return {int(path.stem.removeprefix("best-")): path for path in paths}


def finish(setup: Setup, state: State) -> None:
    """Write what a finished run keeps, and seal it; rank 0 calls this.

    The seal digests the other files, so it comes after them. Weights of earlier bests go after the
    seal: a kill before it makes the run go on from a checkpoint, which may know one of them as its
    best.
    """
    run = setup.run
    write_weights(run.folder / "last.safetensors", state)
    picture = draw(setup.logic, state.eval_model, setup.eval_samples, setup.recipe, setup.device)
    picture.save(run.folder / "samples.png")

    # by its step: a kill may have left a later best, of a step that was then taken again
    best = best_path(run, int(state.best["step"]))
    write_bytes(run.folder / "best.safetensors", best.read_bytes())

    files = ["last.safetensors", "best.safetensors", "samples.png"]
    run.finish(_record(setup, state), files)
    for path in best_weights(run).values():
        path.unlink()
    setup.uploads.upload_finished()


def _record(setup: Setup, state: State) -> dict[str, Any]:
    """Return what `finished.json` says of the run."""
    last = state.history[-1]
    final = {name: value for name, value in last.items() if name not in TRAINING_METRICS}
    images = setup.total * setup.recipe.global_batch
    return {
        "run_id": setup.run.id,
        "seed": setup.run.seed,
        "main_metric": setup.logic.main_metric,
        "final": final,
        "best": state.best,
        "history": state.history,
        "per_class": state.per_class,
        "right": state.right,
        "confused": state.confused,
        "skipped_steps": state.skipped,
        "parameters": sum(p.numel() for p in state.model.parameters()),
        "macs": setup.macs,
        "train_images_per_second": round(images / state.train_seconds, 1),
        "wall_time_s": round(state.seconds, 1),
        "world_size": setup.ranks.world,
        "device": _device_name(setup.device),
        "adopted": setup.run.adopted(),
    }


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
