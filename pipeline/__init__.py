"""The experiment pipeline: one verb, one stage, one module."""

import sys
from types import TracebackType


def _say_nothing_of_ctrl_c() -> None:
    """Let Ctrl-C end a command without a traceback while it still imports what it needs."""
    hook = sys.excepthook

    def quiet(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            hook(kind, error, trace)

    sys.excepthook = quiet


if sys.argv[:1] == ["-m"]:  # `python -m pipeline.train` has come as far as this package
    _say_nothing_of_ctrl_c()
