"""One head for all the stages of a session; it ends with the session, and outlives none that was
killed.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import PROJECT
from killing import gone
from offline import NONE, offline

from pipeline.cluster import connection, head
from pipeline.cluster.connection import connected
from pipeline.cluster.session import run_session
from pipeline.core import environment
from pipeline.core.errors import UserError
from pipeline.params import Cluster

pytestmark = pytest.mark.heads

CONNECT = """
import contextlib, os, pathlib, psutil, signal, sys
from pipeline.core import environment; environment.prepare()
from pipeline.cluster.connection import connected
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
        named = ray.remote(lambda: os.environ["NAME"]).options(runtime_env={"env_vars": {"NAME": "a"}})
        assert ray.get(named.remote(), timeout=60) == "a", "as Ray Train starts its workers"
        print(ray.get_runtime_context().gcs_address, ray.cluster_resources()["CPU"] >= 2, flush=True)
        listening = set()
        own = psutil.Process(int(head.read_text()))
        for process in (psutil.Process(), own, *own.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                connections = process.net_connections(kind="inet")
                listening |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
        assert listening and listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, listening
print(head.read_text())
"""


UNDER_UV = """
from pipeline.core import environment; environment.prepare()
from ray._private.worker import _maybe_modify_runtime_env
print("py_executable" in (_maybe_modify_runtime_env(None, False) or {}))
"""


@pytest.mark.parametrize("job", [{}, {"runtime_env": {"working_dir": "gcs://_ray_pkg_0.zip"}}])
def test_uv_makes_environments_for_workers_only_in_a_job(tmp_path: Path, job: dict) -> None:
    """Elsewhere they would start in a copy of the folder, by an environment that uv makes there."""
    if (uv := shutil.which("uv")) is None:
        pytest.skip("there is no uv here")
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'mine'\nversion = '0'\n")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    given = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job),
    }
    given.pop("RAY_ENABLE_UV_RUN_RUNTIME_ENV", None)
    done = subprocess.run(
        [uv, "run", "--offline", "--no-sync", "python", "-c", UNDER_UV],
        cwd=tmp_path,
        env=given,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(bool(job)), done.stderr


def test_the_count_of_attempts_counts() -> None:
    ask = (
        "import socket\ntry: socket.create_connection(('169.254.169.254', 80), 1)\nexcept "
        "OSError: pass"
    )
    done = subprocess.run(offline([sys.executable, "-c", ask]), capture_output=True, text=True)
    assert done.returncode == 0 and "attempts" in done.stdout and NONE not in done.stdout


def test_a_session_shares_one_head_on_loopback_that_asks_nobody_starts_it_again_and_ends_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the environment lies in a folder with a space."""
    venv = tmp_path / "my project"
    venv.symlink_to(sys.prefix)
    python = venv / "bin" / Path(sys.executable).name
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name in (*environment.DEFAULTS, *environment.LOOPBACK, *environment.SAME_PYTHON):
        monkeypatch.delenv(name, raising=False)
    environment.prepare()
    assert run_session(offline([str(python), "-c", CONNECT])) == 0
    first, second, died, third, head, attempts = capfd.readouterr().out.split("\n")[:6]
    assert first == second != third and first.endswith("True") and third.endswith("True")
    assert died == "the local Ray head died; starting it again"
    assert attempts == NONE
    assert gone(int(head))


def test_a_session_returns_its_commands_exit_code() -> None:
    assert run_session([sys.executable, "-c", "raise SystemExit(3)"]) == 3


BACKGROUND = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it starts in the background
from pipeline.cluster.session import run_session
sys.exit(run_session([sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"]))
"""


def test_a_session_in_the_background_ends_when_it_is_asked_to() -> None:
    command = [sys.executable, "-c", BACKGROUND]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdout is not None and session.stdout.readline() == "up\n"
        session.terminate()
        assert session.wait(20) == 143


def test_an_address_that_nobody_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from pipeline.project import cli; from pipeline.cluster.connection import connected\n"
    code += "from pipeline.params import Cluster\n"
    code += "def run():\n    with connected(Cluster()): pass\ncli.main(run)"
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1", "PYTHONPATH": str(PROJECT)}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and "cannot join the Ray cluster at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr and time.monotonic() - started < 60


@pytest.fixture
def control(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of Ray's control service alone, which is what a cluster is joined by."""
    import ray

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(ray.__file__).parent / "core/src/ray/gcs/gcs_server"
    places = [f"--{name}={tmp_path}" for name in ("session-dir", "log_dir")]
    places += [
        f"--gcs_server_port={port}",
        "--node-ip-address=127.0.0.1",
        "--session-name=x",
        "--metrics-agent-port=0",
    ]
    token = tmp_path / "token"
    token.write_text("a" * 64)
    mode = {"RAY_AUTH_MODE": request.param, "RAY_AUTH_TOKEN_PATH": str(token)}
    with open(tmp_path / "log", "wb") as log:
        service = subprocess.Popen(
            [program, *places], env={**os.environ, **mode}, stdout=log, stderr=log
        )
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert service.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        service.kill()
        service.wait()


@pytest.mark.parametrize("control", ["disabled"], indirect=True)
def test_an_open_cluster_is_joined_only_where_that_was_said(
    control: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[str] = []
    monkeypatch.setenv("RAY_ADDRESS", control)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.shutdown", lambda: None)

    def join(address: str, _: object) -> str:
        joined.append(address)
        return address

    monkeypatch.setattr(connection, "_join", join)
    with (
        pytest.raises(UserError, match=r"asks for no token.*cluster.allow_open: true"),
        connected(Cluster()),
    ):
        pass
    assert joined == []
    with connected(Cluster(allow_open=True)):
        assert joined == [control]


@pytest.mark.parametrize("control", ["token"], indirect=True)
def test_a_cluster_that_wants_a_token_is_none_of_the_open_ones(control: str) -> None:
    connection._refuse_open(control, Cluster())


def test_job_submission_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:10001")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(UserError, match="unknown kind"), connected(Cluster()):
        pass


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_the_token_is_its_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.touch()  # what a kill left
    before = os.umask(umask)
    try:
        for _ in range(2):
            environment.own_token()
            assert token.stat().st_mode & 0o777 == 0o600 and len(token.read_text()) == 64
            assert [path.name for path in token.parent.iterdir()] == ["auth_token"]
            token.chmod(0o644)
    finally:
        os.umask(before)


@pytest.mark.parametrize("home", ["/proc", "/dev/null"])
def test_without_a_home_the_token_lasts_as_long_as_its_process(home: str) -> None:
    code = (
        "import os; from pipeline.core import environment; environment.prepare(); "
        "environment.own_token()\n"
    )
    code += (
        "path = os.environ['RAY_AUTH_TOKEN_PATH']; print(path, oct(os.stat(path).st_mode & 0o777))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, "HOME": home},
        capture_output=True,
        text=True,
        check=True,
    )
    path, mode = done.stdout.split()
    assert mode == "0o600" and not Path(path).parent.exists()


def test_a_head_that_starts_at_the_third_try_is_a_head_and_one_that_never_does_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tries: list[int] = []

    def slow(**_: object) -> SimpleNamespace:
        tries.append(1)
        if len(tries) % 4 != 3:
            raise Exception("The current node timed out during startup.\nmore")
        return SimpleNamespace(address_info={"gcs_address": "here"})

    monkeypatch.setattr(head, "init_ray", slow)
    monkeypatch.setattr(head, "_shut_down", lambda: None)
    assert head.start(Cluster(), tmp_path) == "here" and len(tries) == 3
    tries[:] = [1, 1, 1]
    monkeypatch.setattr(head, "START_TRIES", 2)
    with pytest.raises(
        UserError,
        match=r"did not start in 2 tries: The current node timed out during startup\.; is",
    ):
        head.start(Cluster(), tmp_path)


def test_missing_gpus_are_named_before_a_head_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr(head, "start", None)  # whoever started a head would fail
    with (
        pytest.raises(
            UserError,
            match=r"2 workers need 2 GPU, this machine has "
            r"1; lower",
        ),
        connected(Cluster(workers=2, gpus_per_worker=1)),
    ):
        pass
