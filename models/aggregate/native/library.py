"""The compiled kernels: built once a machine, kept in the user's cache folder.

The source knows nothing of PyTorch, so the compiler alone is needed: no headers, no build tool, and
two seconds instead of a minute.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCES = sorted(FOLDER.glob("*.cpp"))
FLAGS = ("-std=c++20", "-O3", "-march=native", "-shared", "-fPIC", "-w")
SECONDS = 120


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the kernels, built first where the cache lacks them; None where that cannot be done.

    The reason is logged, once a process.
    """
    try:
        return ctypes.CDLL(str(_built()))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: no home
        message = getattr(error, "stderr", None) or str(error)
        logging.getLogger(__name__).warning(
            "native kernels cannot be had here, the plain ones are used instead: %s",
            message.strip().splitlines()[0] if message.strip() else type(error).__name__,
        )
        return None


def cache_folder() -> Path:
    """Return where the user's compiled kernels lie."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "demystify-local-attention"


def _built() -> Path:
    compiler = shutil.which(os.environ.get("CXX") or "c++")
    if compiler is None:
        raise OSError("there is no C++ compiler (c++, or what CXX names)")

    path = cache_folder() / f"kernels-{_key(compiler)}.so"
    if path.exists():
        return path

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of processes that start together one builds
        if not path.exists():
            _build(compiler, path)
    return path


def _build(compiler: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / path.name
        subprocess.run(
            [compiler, *FLAGS, *map(str, SOURCES), "-o", str(draft)],
            check=True,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        draft.replace(path)


def _key(compiler: str) -> str:
    """Return a digest of what the compiled file depends on; home folders are shared by machines."""
    sources = [path.read_text() for path in (*SOURCES, *sorted(FOLDER.glob("*.h")))]
    parts = [*sources, compiler, *FLAGS, platform.machine(), _processor()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """Return what the processor can do, as the kernel lists it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else [platform.processor()]
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
