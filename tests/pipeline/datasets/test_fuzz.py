"""Garbled annotations, masks, images and lists of names end in typed errors, quickly and in little
memory.

A quarter of the mutations are of COCO's JSON: 2,000 in the long form.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PROJECT

SECONDS, MEGABYTES = 5, 1000


@pytest.mark.parametrize("count", [200, pytest.param(8000, marks=pytest.mark.faults)])
def test_garbled_inputs_end_in_typed_errors(count: int) -> None:
    command = [sys.executable, str(Path(__file__).with_name("fuzz.py")), "0", str(count)]
    ran = subprocess.run(
        command,
        cwd=PROJECT,
        env={"PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout)
    assert not found["failures"], "\n".join(
        f"mutation {number}: {trace}" for number, trace in found["failures"][:3]
    )
    assert sum(found["outcomes"].values()) == count
    assert all(
        found["outcomes"][kind] > count / 20 for kind in ("passed", "UserError", "RefusedError")
    )
    seconds, number = found["slowest"]
    assert seconds < SECONDS, f"mutation {number} took {seconds} s"
    assert found["rss_mb"] < MEGABYTES
