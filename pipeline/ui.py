"""Compare runs in the browser: `make ui` serves MLflow's pages on loopback and says where."""

import sys
from pathlib import Path

from pipeline.core.progress import say
from pipeline.project import cli
from pipeline.tracking.database import connect
from pipeline.tracking.entry import store_of
from pipeline.tracking.pages import address, experiments
from pipeline.tracking.server import PORT, refuse_used, serving
from pipeline.tracking.trainings import shipped


def main() -> None:
    """Serve the project's tracking store until Ctrl-C; a server that is elsewhere is only named."""
    parser = cli.parser(
        "Compare runs in the browser, on MLflow's pages.",
        "python -m pipeline.ui --port 5001",
    )
    parser.add_argument("--port", type=int, default=PORT, help="on loopback")
    call = cli.call(parser.parse_args())

    store = store_of(call.params.tracking, call.project)
    server = store.name if store.uri.startswith(("http://", "https://")) else None
    if server is None:
        refuse_used(call.args.port)
    storage = (call.project / Path(call.params.cluster.storage).expanduser()).resolve()

    # what MLflow has missed so far is there when it ends
    with shipped(call, storage, last=True) as ready:
        ready()

    names = experiments(connect(store.uri))
    if server is not None:
        _say(server, names)
        return
    with serving(store.uri, call.args.port) as (served, wait):
        _say(served, names)
        say("Ctrl-C ends it")
        sys.exit(wait())


def _say(server: str, names: dict[str, str]) -> None:
    """Say where each experiment's runs are."""
    say(f"MLflow: {server}/#/experiments?workflowType=machine_learning")
    for name, identifier in names.items():
        say(f"  {name}: {address(server, identifier)}")


if __name__ == "__main__":
    cli.main(main)
