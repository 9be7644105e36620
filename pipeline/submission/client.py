"""A cluster's dashboard as this project uses it: every answer it may give in one sentence."""

import json
import logging
import os
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import environment
from pipeline.core.errors import UserError, discreet, shortened

if TYPE_CHECKING:
    import requests
    from ray.job_submission import JobDetails

KNOCK_S = 10.0
ANSWER_S = 30.0
PAUSE_S = 1.0
YOUNG_S = 120.0
"""For how long a head that was just started may have nobody yet who takes jobs."""
SILENCE_S = 600.0
"""For how long a dashboard may not answer before a follower gives up; the job goes on."""
CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
STOP_S = "60"
"""How many seconds a job has from being asked to end to being killed."""


class Gone(UserError):
    """The dashboard knows no such job, or has not what was asked for."""


class Dashboard:
    """A connection to the dashboard of a Ray cluster."""

    def __init__(self, address: str, allow_open: bool = False) -> None:
        """Knock, and connect.

        Raises:
            UserError: nobody answers, the token is refused, or none is asked for.
        """
        environment.own_token()
        self.address = address
        if not allow_open:
            _refuse_open(address)
        from ray.job_submission import JobSubmissionClient

        for module in CHATTY:
            logging.getLogger(module).setLevel(logging.WARNING)
        headers = json.loads(os.environ.get("RAY_JOB_HEADERS") or "{}")
        since = time.monotonic()

        while True:
            try:
                self._client = JobSubmissionClient(address, headers=headers)
                return
            except Exception as error:  # Ray's sentence, or that of whatever answers there
                reason = _first_line(error)
            if not re.match(r"50\d ", reason) or time.monotonic() - since > YOUNG_S:
                raise UserError(f"{discreet(address)}: {reason}")
            time.sleep(PAUSE_S)

    def submit(self, name: str, entrypoint: str, folder: Path, environment: Any) -> bool:
        """Submit a job; return whether this call did, or another one before it."""
        runtime_env = {"working_dir": str(folder), **environment}
        since = time.monotonic()
        while True:
            try:
                self._client.submit_job(
                    entrypoint=entrypoint, submission_id=name, runtime_env=runtime_env
                )
                return True
            except Exception as error:
                if self.find(name) is not None:
                    return False
                reason = _first_line(error)
            if "status code 5" not in reason or time.monotonic() - since > YOUNG_S:
                raise UserError(
                    f"the cluster at {discreet(self.address)} does not take the job: {reason}"
                )
            time.sleep(PAUSE_S)

    def find(self, name: str) -> "JobDetails | None":
        """Return what the cluster says of a job, None where it knows of none."""
        from ray.job_submission import JobDetails

        try:
            return JobDetails(**self._ask("GET", f"/api/jobs/{name}").json())
        except Gone:
            return None

    def attempts(self, stem: str) -> "list[JobDetails]":
        """Return the jobs whose names are `stem` and a number, in the order of the numbers."""
        from ray.job_submission import JobDetails

        jobs = [JobDetails(**entry) for entry in self._ask("GET", "/api/jobs/").json()]
        same = [job for job in jobs if stem_of(job.submission_id or "") == stem]
        return sorted(same, key=lambda job: number_of(job.submission_id))

    def stop(self, name: str) -> None:
        """Ask a job to end."""
        self._ask("POST", f"/api/jobs/{name}/stop")

    def log(self, name: str) -> str:
        """Return all that a job printed."""
        return str(self._ask("GET", f"/api/jobs/{name}/logs").json()["logs"])

    def tail(self, name: str) -> AsyncIterator[str]:
        """Iterate over what a job printed and prints; the end of it says nothing."""
        lines: AsyncIterator[str] = self._client.tail_job_logs(name)
        return lines

    def download(self, job: "JobDetails", file: str) -> bytes:
        """Return a file that a job left among the logs of its node.

        Raises:
            Gone: it is not there.
        """
        query = f"node_id={job.driver_node_id}&filename={file}&lines=-1&timeout=600"
        return bytes(self._ask("GET", f"/api/v0/logs/file?{query}", patience=60.0).content)

    def _ask(self, method: str, endpoint: str, patience: float = SILENCE_S) -> "requests.Response":
        """Ask until there is an answer.

        Raises:
            Gone: the answer is that there is no such thing.
            UserError: there was none for a long time, or it is a refusal.
        """
        import requests

        since = time.monotonic()
        while True:
            try:
                answer: requests.Response = self._client._do_request(
                    method, endpoint, timeout=ANSWER_S
                )
                if answer.status_code == 200:
                    return answer
                reason = f"{answer.status_code} {answer.text}"
                if answer.status_code == 404:
                    raise Gone(f"{discreet(self.address)} knows nothing of {endpoint}")
                if answer.status_code < 500:
                    raise UserError(f"{discreet(self.address)}: {reason}")
            except requests.exceptions.RequestException as error:
                reason = type(error).__name__
            except RuntimeError as error:  # Ray's own, of a token that is refused
                raise UserError(f"{discreet(self.address)}: {_first_line(error)}") from None

            if time.monotonic() - since > patience:
                raise Gone(
                    f"{discreet(self.address)} has not answered for {patience / 60:.0f} minutes "
                    f"({discreet(shortened(reason, 200))}); the job may go on: give the same "
                    "command again later"
                )
            time.sleep(PAUSE_S)


def stem_of(name: str) -> str:
    """Return the name of a stage that a job's name begins with."""
    return name.rpartition("-")[0]


def number_of(name: str) -> int:
    """Return which attempt at its stage a job is, by its name."""
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _refuse_open(address: str) -> None:
    """Stay away from a cluster that asks nobody for a token, as `connected` does.

    Raises:
        UserError: it answers without one, or does not answer.
    """
    import requests

    try:
        answer = requests.get(f"{address}/api/jobs/", timeout=KNOCK_S, allow_redirects=False)
    except requests.exceptions.RequestException as error:
        reason = "no answer" if isinstance(error, requests.exceptions.Timeout) else "no connection"
        raise UserError(
            f"the Ray cluster at {discreet(address)} cannot be reached: {reason}; is RAY_ADDRESS "
            "right? It is the address of the dashboard, http://host:8265"
        ) from None

    if answer.status_code == 200:
        raise UserError(
            f"the Ray cluster at {discreet(address)} asks for no token, so that everybody who "
            "reaches it can run code there; start it with RAY_AUTH_MODE=token, or say "
            "cluster.allow_open: true"
        )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".")
