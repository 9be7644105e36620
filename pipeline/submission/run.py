"""A stage as a job of a Ray cluster, so that it looks as if it was done here."""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import UserError, discreet
from pipeline.core.files import write_json
from pipeline.core.progress import say
from pipeline.core.shell import shell_line
from pipeline.params import Cluster
from pipeline.project.call import Call
from pipeline.submission.client import STOP_S, Dashboard, Gone, number_of
from pipeline.submission.follow import Log, follow
from pipeline.submission.returned import file_of, publish
from pipeline.submission.shipment import MARK, ship
from pipeline.submission.stage import SubmittedStage, dashboard

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

PENDING = "job.json"
FETCHED = "fetched.json"
"""What is known of a job, while its results are waited for and when they are here."""
SECOND_S = 4.0
"""How long after Ctrl-C another one stops the job."""


def run_as_job(call: Call, stage: SubmittedStage) -> None:
    """Submit a stage, or join the job that does it already; follow it; publish what it brings.

    Raises:
        UserError: the cluster cannot be reached or does not take the job, or the job's results
            were lost on their way.
        SystemExit: with the job's exit code, where that is not 0.
    """
    address = dashboard()
    if address is None:
        raise UserError("RAY_ADDRESS names no dashboard any more")

    cluster = Dashboard(address, call.params.cluster.allow_open)
    notes = notes_of(call.folders.root)

    while True:
        name, ended = _join_or_submit(call, stage, cluster, notes)
        job = attach(cluster, name, notes / name)
        try:
            take(call, cluster, job, notes / name, stage.publishes)
        except Gone:
            if not ended:
                raise
            say(f"{name} has ended, and its cluster has not kept its results")
            _forget(notes / name)
        else:
            return


def notes_of(root: Path) -> Path:
    """Return the folder of what is known here of submitted jobs: a folder a job."""
    return root / "runs" / "jobs"


def attach(cluster: Dashboard, name: str, notes: Path) -> "JobDetails":
    """Show a job's log until it has ended; return how it did. Ctrl-C leaves it, a second one stops
    it.
    """
    notes.mkdir(parents=True, exist_ok=True)
    back = shell_line("python", "-m", "pipeline.jobs", "attach", name)

    try:
        with Log(notes / "driver.log") as log:
            return follow(cluster, name, log)
    except KeyboardInterrupt:
        say(f"{name} goes on; Ctrl-C again stops it, and this comes back to it: {back}")
        try:
            time.sleep(SECOND_S)
        except KeyboardInterrupt:
            say(f"stopping {name}; what is trained is kept")
            cluster.stop(name)
        raise
    except SystemExit:
        say(f"{name} goes on; this comes back to it: {back}")
        raise


def take(
    call: Call, cluster: Dashboard, job: "JobDetails", notes: Path, publishes: Sequence[str]
) -> None:
    """Publish here what a job published there.

    Raises:
        Gone: its node has not kept it.
        SystemExit: the job did not end well; with its exit code.
    """
    _refuse_failed(job)
    publish(call, cluster.download(job, file_of(job.submission_id)), publishes)
    _forget(notes)


def _refuse_failed(job: "JobDetails") -> None:
    """End with a job's exit code where it did not end well; its log says why."""
    if job.status == "SUCCEEDED":
        return
    if job.status == "STOPPED":
        say(f"{job.submission_id} was stopped; the same command goes on where it was")
    elif job.driver_exit_code is None:  # it never ran, or its node died
        say(f"{job.submission_id} failed: {discreet(str(job.message))}")
    raise SystemExit(job.driver_exit_code or 1)


def _join_or_submit(
    call: Call, stage: SubmittedStage, cluster: Dashboard, notes: Path
) -> tuple[str, bool]:
    """Return the name of the job that does the stage, and whether it did so before, for a command
    that did not live to fetch the results.
    """
    while True:
        last = next(reversed(cluster.attempts(stage.name)), None)
        if last is not None and not last.status.is_terminal():
            say(f"{last.submission_id} does this already; following it")
            _note(notes / last.submission_id, cluster, stage)
            return str(last.submission_id), False
        if last is not None and last.status == "SUCCEEDED" and _unfetched(notes, last):
            return str(last.submission_id), True

        number = 1 + (0 if last is None else number_of(last.submission_id))
        name = f"{stage.name}-{number}"
        if _submit(call, stage, cluster, notes / name, name):
            return name, False


def _unfetched(notes: Path, job: "JobDetails") -> bool:
    """Return whether a job that ended well still waits for somebody here to take its results."""
    return (notes / str(job.submission_id) / PENDING).exists()


def _submit(call: Call, stage: SubmittedStage, cluster: Dashboard, notes: Path, name: str) -> bool:
    environment = _environment(call.params.cluster)
    with tempfile.TemporaryDirectory(prefix="shipped-") as temporary:
        folder = Path(temporary)
        _note(notes, cluster, stage)
        ship(call, stage, notes / MARK, folder)
        command = _entrypoint(call.params.cluster)
        say(f"submitting {name} to {discreet(cluster.address)}")
        return cluster.submit(name, command, folder, environment)


def _note(notes: Path, cluster: Dashboard, stage: SubmittedStage) -> None:
    """Write down what `pipeline.jobs` says of a job."""
    content = {
        "address": discreet(cluster.address),
        "command": list(stage.command),
        "publishes": list(stage.publishes),
        "submitted": time.time(),
    }
    write_json(notes / PENDING, content)


def _forget(notes: Path) -> None:
    """Note that there is nothing left to fetch; the log stays."""
    with suppress(FileNotFoundError):  # another command followed the same job, and was first
        (notes / PENDING).rename(notes / FETCHED)


def _entrypoint(cluster: Cluster) -> str:
    """Return the job's command line: by `cluster.python`, or by this very environment where the
    head sees it, else by the head's own.
    """
    module = "-m pipeline.submission"
    if cluster.python is not None:
        return f"{cluster.python} {module}"
    python = shell_line(sys.executable)
    return f"if [ -x {python} ]; then exec {python} {module}; else exec python {module}; fi"


def _environment(cluster: Cluster) -> dict[str, Any]:
    """Return what else the job's processes get.

    Raises:
        UserError: MLflow's address holds a secret, which a job's description would show.
    """
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": STOP_S, "PYTHONUNBUFFERED": "1"}
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri and discreet(uri) != uri:
        raise UserError(
            "MLFLOW_TRACKING_URI holds a secret, which the description of a job would show; give "
            "the address without it, and set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD on the cluster"
        )
    if uri:
        variables["MLFLOW_TRACKING_URI"] = uri

    python = {} if cluster.python is None else {"py_executable": cluster.python}
    return {"env_vars": variables, **python}
