"""Where the reference files lie, and small things that several tests of the networks use."""

from pathlib import Path

import pytest
import torch

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference"


@pytest.fixture(autouse=True)
def _seeded():
    """Every test starts from the same random state and runs on one thread."""
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture
def reference():
    """Gives the path of a reference file, or skips the test by name where it is absent."""

    def find(name):
        path = REFERENCE / name
        if not path.exists():
            pytest.skip(f"{name} is not beside this checkout")
        return path

    return find


@pytest.fixture
def on_meta():
    """Builds a network without memory for its weights."""
    from models import create_model

    def build(name, **overrides):
        with torch.device("meta"):
            return create_model(name, **overrides)

    return build
