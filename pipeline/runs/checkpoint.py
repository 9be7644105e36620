"""Sealed checkpoints: the newest valid one wins, a damaged one is named and passed over."""

import io
import json
import shutil
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from pipeline.core import failpoints
from pipeline.core.files import sha256_file, whole_folder, write_bytes, write_json

KEEP = 2
SEAL = "seal.json"


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write `state` as checkpoint `step`; the seal with its digest is written last, older ones are
    dropped.
    """
    failpoints.reach("checkpoint.begun", step=step)
    with whole_folder(folder / f"{step:09d}") as made:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes(made / "state.pt", buffer.getbuffer())
        failpoints.reach("checkpoint.unsealed", step=step)
        seal = {
            "step": step,
            "sha256": sha256_file(made / "state.pt"),
            "best": (state.get("best") or {}).get("step"),
        }
        write_json(made / SEAL, seal)
    failpoints.reach("checkpoint.sealed", step=step)
    for old in _steps(folder)[:-KEEP]:
        shutil.rmtree(old)


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """Return the state of one checkpoint; tensors only, no code is run.

    Raises:
        ValueError: its bytes are not those that were sealed.
        OSError, KeyError, RuntimeError, UnpicklingError: it cannot be read.
    """
    seal = json.loads((path / SEAL).read_text())
    if seal["sha256"] != sha256_file(path / "state.pt"):
        raise ValueError("its digest differs from its seal")
    state: dict[str, Any] = torch.load(path / "state.pt", map_location=device, weights_only=True)
    if not isinstance(state, dict):
        raise ValueError("it holds no state")
    return state


def load_newest(
    folder: Path, device: torch.device
) -> tuple[Path | None, dict[str, Any] | None, list[str]]:
    """Return the newest valid checkpoint and its state, or None twice, and a sentence for each one
    passed over.
    """
    damaged: list[str] = []
    for path in reversed(_steps(folder)):
        try:
            return path, load(path, device), damaged
        except UnpicklingError:  # torch's own message tells how to run what is in there
            damaged.append(
                f"checkpoint {path.name} is damaged (it holds no tensors); using an older one"
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            damaged.append(f"checkpoint {path.name} is damaged ({reason}); using an older one")
    return None, None, damaged


def clear_superseded(folder: Path, weights: dict[int, Path]) -> None:
    """Remove the best weights, by step, that no checkpoint in the folder knows as the best so
    far.
    """
    try:
        known = {json.loads((path / SEAL).read_text())["best"] for path in _steps(folder)}
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # a damaged seal: who knows what it would go back to
        return
    for step, path in weights.items():
        if step not in known:
            path.unlink(missing_ok=True)


def clear_leftovers(folder: Path) -> None:
    """Remove checkpoints that a killed process had begun; nobody else may be writing here."""
    for path in folder.glob(".*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _steps(folder: Path) -> list[Path]:
    return (
        sorted(path for path in folder.glob("[0-9]*") if path.is_dir()) if folder.is_dir() else []
    )
