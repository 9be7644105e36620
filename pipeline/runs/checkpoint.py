"""Sealed checkpoints: the newest valid one wins, a damaged one is named and passed over."""

import io
import json
import shutil
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from pipeline.core import failpoints
from pipeline.core.files import sha256_file, whole_folder, write_bytes, write_json

if TYPE_CHECKING:
    import torch

KEEP = 2
"""Checkpoints that stay: the newest, and one to go back to where that turns out damaged."""
SEAL = "seal.json"
STATE = "state.pt"


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write `state` as checkpoint `step`; the seal with its digest is written last, older ones are
    dropped.
    """
    import torch

    # failpoints are for tests alone: nothing happens at one unless a test names it
    failpoints.reach("checkpoint.begun", step=step)
    with whole_folder(folder / f"{step:09d}") as partial:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes(partial / STATE, buffer.getbuffer())
        failpoints.reach("checkpoint.unsealed", step=step)
        # last: a folder with a seal is whole, and one without is passed over
        seal = {
            "step": step,
            "sha256": sha256_file(partial / STATE),
            "best": (state.get("best") or {}).get("step"),
        }
        write_json(partial / SEAL, seal)
    failpoints.reach("checkpoint.sealed", step=step)

    for old in folders_in(folder)[:-KEEP]:
        shutil.rmtree(old)


def load(path: Path, device: "torch.device") -> dict[str, Any]:
    """Return the state of one checkpoint; tensors only, no code is run.

    Raises:
        ValueError: its bytes are not those that were sealed.
        OSError, KeyError, RuntimeError, UnpicklingError: it cannot be read.
    """
    import torch

    seal = json.loads((path / SEAL).read_text())
    if seal["sha256"] != sha256_file(path / STATE):
        raise ValueError("its digest differs from its seal")

    state: dict[str, Any] = torch.load(path / STATE, map_location=device, weights_only=True)
    if not isinstance(state, dict):
        raise ValueError("it holds no state")
    return state


def digest_of(path: Path) -> str | None:
    """Return the digest of a checkpoint whose bytes are those that were sealed, else None."""
    try:
        sealed = json.loads((path / SEAL).read_text())["sha256"]
        return str(sealed) if sealed == sha256_file(path / STATE) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def newest_whole(folder: Path) -> int:
    """Return the step of the newest checkpoint in a folder whose bytes are right; -1 without."""
    steps = (int(path.name) for path in reversed(folders_in(folder)) if digest_of(path) is not None)
    return next(steps, -1)


def load_newest(
    folder: Path, device: "torch.device"
) -> tuple[Path | None, dict[str, Any] | None, list[str]]:
    """Return the newest valid checkpoint and its state, or None twice, and a sentence for each one
    passed over.
    """
    damaged: list[str] = []
    for path in reversed(folders_in(folder)):
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
        bests = {json.loads((path / SEAL).read_text())["best"] for path in folders_in(folder)}
    except (OSError, ValueError, KeyError, TypeError):
        # a damaged seal: who knows what it would go back to
        return

    for step, path in weights.items():
        if step not in bests:
            path.unlink(missing_ok=True)


def clear_leftovers(folder: Path) -> None:
    """Remove checkpoints that a killed process had begun; nobody else may be writing here."""
    for path in folder.glob(".*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def folders_in(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, whole or not, the oldest first."""
    return (
        sorted(path for path in folder.glob("[0-9]*") if path.is_dir()) if folder.is_dir() else []
    )
