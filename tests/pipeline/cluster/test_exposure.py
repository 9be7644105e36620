"""What is set before Ray is imported."""

import subprocess
import sys

from helpers import PROJECT

COMMANDS = sorted(path.stem for path in (PROJECT / "pipeline").glob("[a-z]*.py"))


def test_no_command_imports_ray_before_the_token_is_asked_for() -> None:
    """Ray reads RAY_AUTH_MODE when it is imported; `cli.main` sets it when a command begins."""
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n"
    code += "    importlib.import_module('pipeline.' + name)\n"
    code += "    assert not any(m == 'ray' or m.startswith('ray.') for m in sys.modules), name"
    done = subprocess.run(
        [sys.executable, "-c", code, *COMMANDS], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
