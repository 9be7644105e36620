"""One head for all the stages of a session; it ends with the session, and outlives none that was killed."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from helpers import PROJECT

from pipeline import cluster
from pipeline.cluster import connected, run_session
from pipeline.errors import UserError
from pipeline.params import Cluster

CONNECT = """
import os, pathlib, psutil, signal, sys
from pipeline import environment; environment.prepare()
from pipeline.cluster import connected
from pipeline.params import Cluster
import ray
def end(*_):
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
head = pathlib.Path(os.environ["PIPELINE_SESSION"], "head")
for again in range(3):
    if again == 2:
        parts = psutil.Process(int(head.read_text())).children()
        part = next(part for part in parts if part.name() == "gcs_server")
        part.kill()
        part.wait(30)
    with connected(Cluster(workers=2)):
        assert signal.getsignal(signal.SIGTERM) is end, "Ray took it"
        assert ray.get(ray.remote(lambda: 7).remote()) == 7
        print(ray.get_runtime_context().gcs_address, ray.cluster_resources()["CPU"] >= 2, flush=True)
print(head.read_text())
"""


def test_a_session_shares_one_head_starts_it_again_where_it_died_and_ends_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert run_session([sys.executable, "-c", CONNECT]) == 0
    first, second, died, third, head = capfd.readouterr().out.split("\n")[:5]
    assert first == second != third and first.endswith("True") and third.endswith("True")
    assert died == "the local Ray head died; starting it again"
    assert not psutil.pid_exists(int(head))


def test_a_session_returns_its_commands_exit_code() -> None:
    assert run_session([sys.executable, "-c", "raise SystemExit(3)"]) == 3


def test_an_address_that_nobody_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from pipeline import cli; from pipeline.cluster import connected; from pipeline.params import Cluster\n"
    code += "def run():\n    with connected(Cluster()): pass\ncli.main(run)"
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1", "PYTHONPATH": str(PROJECT)}
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "cannot join the Ray cluster at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr and time.monotonic() - started < 60


def test_job_submission_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(UserError, match="not supported yet"), connected(Cluster()):
        pass


def test_the_token_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline import environment

    monkeypatch.setenv("HOME", str(tmp_path))
    for _ in range(2):
        environment.own_token()
        token = tmp_path / ".ray" / "auth_token"
        assert token.stat().st_mode & 0o777 == 0o600 and len(token.read_text()) == 64
        token.chmod(0o644)


def test_a_head_that_starts_at_the_third_try_is_a_head_and_one_that_never_does_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tries: list[int] = []

    def slow(**_: object) -> SimpleNamespace:
        tries.append(1)
        if len(tries) % 4 != 3:
            raise Exception("The current node timed out during startup.\nmore")
        return SimpleNamespace(address_info={"gcs_address": "here"})

    monkeypatch.setattr(cluster, "_init", slow)
    monkeypatch.setattr(cluster, "_shut_down", lambda: None)
    assert cluster._start(Cluster(), tmp_path) == "here" and len(tries) == 3
    tries[:] = [1, 1, 1]
    monkeypatch.setattr(cluster, "START_TRIES", 2)
    with pytest.raises(UserError, match=r"did not start in 2 tries: The current node timed out during startup\.; is"):
        cluster._start(Cluster(), tmp_path)


def test_missing_gpus_are_named_before_a_head_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr(cluster, "_start", None)  # whoever started a head would fail
    with pytest.raises(UserError, match=r"2 workers need 2 GPU, this machine has 1; lower"), connected(
        Cluster(workers=2, gpus_per_worker=1)
    ):  # fmt: skip
        pass
