"""A call with parameters of one's own, in an empty project."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.params import Params
from pipeline.project.call import Call, Folders


@pytest.fixture
def call_with(tmp_path: Path) -> Callable[..., Call]:
    """Return a call of the project itself with these sections."""

    def make(**sections: Any) -> Call:
        args = Namespace(params=None, set=[], out=None)
        return Call(args, Params.model_validate(sections), tmp_path, Folders(tmp_path))

    return make
