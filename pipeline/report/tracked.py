"""Where a run can be looked at in MLflow."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from pipeline.core.errors import bare_address
from pipeline.params import Tracking
from pipeline.report.document import code
from pipeline.tracking.pages import run_address
from pipeline.tracking.server import HOST, PORT

SERVED = f"http://{HOST}:{PORT}"  # by `make ui`
IDENTIFIER = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Tracked:
    """The address of MLflow's pages, None where there are no links, which `unlinked` gives the
    reason for.

    `local` where they are served only while `make ui` runs.
    """

    address: str | None
    local: bool
    unlinked: str = "The address of MLflow is not shown, for it may hold a secret"

    def link(self, identifier: str | None, words: str) -> str:
        """Link words to a run's page; MLflow finds the experiment itself.

        What is no run id stays code.
        """
        if identifier is None:
            return words
        if self.address is None or not IDENTIFIER.fullmatch(identifier):
            return f"{words} ({code(identifier)})"
        return f"[{words}]({run_address(self.address, identifier)})"

    @property
    def explained(self) -> str:
        """Say once where the links lead."""
        if self.address is None:
            return f"{self.unlinked}; runs are named by their MLflow ids."
        served = "; `make ui` serves it on this machine" if self.local else ""
        return f"Links of runs lead to MLflow at {code(self.address)}{served}."


def tracked(tracking: Tracking, links: bool = True) -> Tracked:
    """Find MLflow's pages: a server's own address without user and password, else what `make ui`
    serves; nothing where no `links` are wanted.
    """
    if not links:
        return Tracked(None, local=False, unlinked="MLflow is where the runs were made")
    uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking.uri or ""
    if not uri.startswith(("http://", "https://")):
        return Tracked(SERVED, local=True)
    return Tracked(_without_secrets(uri), local=False)


def _without_secrets(uri: str) -> str | None:
    """Scheme, host, port and path; None where a stray `@` leaves open where the password ends."""
    try:
        parts = urlsplit(uri)
        usable = parts.hostname and parts.port != 0
    except ValueError:
        return None
    if not usable or "@" in f"{parts.path}{parts.query}{parts.fragment}":
        return None
    return quote(bare_address(uri).rstrip("/"), safe=":/%[]")
