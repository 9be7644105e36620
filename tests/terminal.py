"""Programs with a terminal of their own."""

import os
import pty
import subprocess
from collections.abc import Sequence
from pathlib import Path


def on_a_terminal(
    command: Sequence[str], folder: Path, typed: str = "", **environment: str
) -> tuple[int, str]:
    """Run a command on a terminal of 80 columns, type, and return its exit code and what it
    printed.
    """
    ours, its = pty.openpty()
    variables = {**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm", **environment}
    started = subprocess.Popen(
        command, cwd=folder, env=variables, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    os.write(ours, typed.encode())
    printed = b""
    while block := _read(ours):
        printed += block
    os.close(ours)
    return started.wait(60), printed.decode()


def _read(terminal: int) -> bytes:
    """Return what was printed next; nothing when everybody has closed the terminal."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
