"""Stages as jobs of a real head: clients that die, jobs that are stopped, logs that are cut."""

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml
from aiohttp import web
from heads import dashboard_of_a_head
from helpers import PROJECT, SMALL, build_shards, run_stage

from pipeline.submission.client import Dashboard
from pipeline.submission.follow import Log, follow

pytestmark = pytest.mark.heads

CLIENT = [sys.executable, "-m", "pipeline.train", "classify"]
LIMIT_S = 300


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file: while it is there, no training goes beyond its eighth step."""
    return tmp_path_factory.mktemp("held") / "held"


@pytest.fixture(scope="module")
def head(held: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_FAULT", f"step step=8 do=wait while={held}")
        with dashboard_of_a_head() as address:
            yield address


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project with files of its own: what is shipped is what lies in it."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("pipeline", "models"):
        shutil.copytree(PROJECT / name, folder / name)
    shutil.copyfile(PROJECT / ".gitignore", folder / ".gitignore")
    params = yaml.safe_load(SMALL)
    params["classify"]["recipe"]["duration"] = {"epochs": 1}
    params["classify"]["variants"]["dynamic_dwnet_micro"]["recipe"] = {"duration": {"epochs": 100}}
    params["cluster"] = {"workers": 1}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    run_stage(folder, "pipeline.fetch", "imagenet")
    build_shards(folder, "imagenet")
    return folder


def submitted(project: Path, head: str, *command: str) -> subprocess.Popen[str]:
    env = {
        **os.environ,
        "RAY_ADDRESS": head,
        "PYTHONPATH": "",
        "MLFLOW_TRACKING_PASSWORD": "canary",
    }
    return subprocess.Popen(
        command, cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def read_until(client: subprocess.Popen[str], words: str) -> list[str]:
    assert client.stdout is not None
    lines = []
    for line in client.stdout:
        lines.append(line.rstrip("\n"))
        if words in line:
            return lines
    raise AssertionError("\n".join(lines))


def test_a_killed_client_is_followed_by_another_and_a_stopped_job_publishes_nothing(
    project: Path, head: str, held: Path
) -> None:
    held.touch()
    first = submitted(project, head, *CLIENT, "dwnet_micro")
    said = read_until(first, "starts at step")
    first.kill()
    first.wait()
    second = submitted(project, head, *CLIENT, "dwnet_micro")
    third = submitted(project, head, *CLIENT, "dwnet_micro")
    begun = ["\n".join(read_until(one, "does this already")) for one in (second, third)]
    held.unlink()
    outputs = [
        lines + one.communicate(timeout=LIMIT_S)[0]
        for lines, one in zip(begun, (second, third), strict=True)
    ]
    assert (second.returncode, third.returncode) == (0, 0), outputs

    metrics = json.loads((project / "results/classify/dwnet_micro/metrics.json").read_text())
    assert metrics["commit"] is None and len(metrics["seeds"]) == 1
    [notes] = (project / "runs/jobs").iterdir()
    whole = Dashboard(head).log(notes.name)
    assert (notes / "driver.log").read_text() == whole
    assert said[-1] in whole and sum(said[-1] in output for output in outputs) == 1
    job = Dashboard(head).find(notes.name)
    assert job is not None and "canary" not in whole + str(job)

    held.touch()
    client = submitted(project, head, *CLIENT, "dynamic_dwnet_micro")
    read_until(client, "starts at step")
    listed = submitted(project, head, sys.executable, "-m", "pipeline.jobs", "list")
    table = listed.communicate()[0]
    [name] = [
        line.split()[0] for line in table.splitlines() if " running " in line and "on " in line
    ]
    assert re.search(rf"^{notes.name} +fetched ", table, re.MULTILINE)
    submitted(project, head, sys.executable, "-m", "pipeline.jobs", "stop", name).communicate()
    held.unlink()  # it leaves the run with a checkpoint, long before its last step
    output = client.communicate(timeout=LIMIT_S)[0]
    assert client.returncode not in (0, 2) and "was stopped" in output, output
    assert not (project / "results/classify/dynamic_dwnet_micro").exists()


def test_ctrl_c_leaves_a_job_and_a_second_one_stops_it(project: Path, head: str) -> None:
    (project / "runs" / "jobs" / "left").mkdir(parents=True)
    code = (
        "import os, sys; from pathlib import Path; from pipeline.project import cli\n"
        "from pipeline.submission.client import Dashboard; from pipeline.submission.run import attach\n"
        "def main(): attach(Dashboard(os.environ['RAY_ADDRESS']), sys.argv[1], Path('runs/jobs/left'))\n"
        "cli.main(main)"
    )
    dashboard = Dashboard(head)
    for name, signals in (("left-1", 1), ("left-2", 2)):
        dashboard.submit(name, "echo begun; sleep 60", project / "models", {})
        client = submitted(project, head, sys.executable, "-c", code, name)
        read_until(client, "begun")
        client.send_signal(signal.SIGINT)
        read_until(client, "goes on")
        if signals == 2:
            time.sleep(1.5)
            client.send_signal(signal.SIGINT)
        assert client.wait(60) == 130
        (project / "runs/jobs/left/driver.log").unlink()
    job = dashboard.find("left-1")
    assert job is not None and job.status == "RUNNING"
    with Log(project / "stopped.log") as log:
        assert follow(dashboard, "left-2", log).status == "STOPPED"
    dashboard.stop("left-1")


TALK = """import itertools, os, sys, time
for i in itertools.count():
    print('line', i, 'é' * (i % 7), flush=True)
    time.sleep(0.01)
    if os.path.exists(sys.argv[1]):
        sys.exit(7)
"""
CUTS = 20
HASTY = aiohttp.ClientWSTimeout(ws_close=0.1)  # the head does not listen while it talks


@contextmanager
def cutting_proxy(target: str, cuts: list[str], enough: Path) -> Iterator[str]:
    """Yield the address of a proxy that breaks every log stream after a while, each in another way,
    and often answers nothing but that it is busy; after so many it makes the file `enough`.
    """
    count = itertools.count()
    kinds = itertools.cycle(("close 1000", "close 1006", "head busy"))

    async def stream(request: web.Request) -> web.StreamResponse:
        kind = next(kinds)
        if len(cuts) >= CUTS:
            enough.touch()
        if kind == "head busy":
            cuts.append(kind)
            raise web.HTTPServiceUnavailable
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        headers = {"Authorization": request.headers["Authorization"]}
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(target + request.path, headers=headers, timeout=HASTY) as above,
        ):
            until = time.monotonic() + 0.3
            while time.monotonic() < until and not above.closed:
                message = await above.receive()
                if message.type != aiohttp.WSMsgType.TEXT:
                    break
                await answer.send_str(message.data)
        cuts.append(kind)
        if kind == "close 1000":
            await answer.close()
        elif request.transport is not None:
            request.transport.abort()
        return answer

    async def ask(request: web.Request) -> web.Response:
        if next(count) % 4 == 3:
            raise web.HTTPServiceUnavailable
        headers = {"Authorization": request.headers.get("Authorization", "")}
        async with (
            aiohttp.ClientSession() as session,
            session.get(target + request.path_qs, headers=headers) as answer,
        ):
            return web.Response(
                status=answer.status, body=await answer.read(), content_type=answer.content_type
            )

    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_get("/api/jobs/{name}/logs/tail", stream)
    app.router.add_get("/{rest:.*}", ask)
    runner = web.AppRunner(app)
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0)
    loop.run_until_complete(site.start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    assert isinstance(site._server, asyncio.Server)
    yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def test_a_log_that_is_cut_twenty_times_comes_whole_and_each_line_once(
    head: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.submission.follow.POLL_S", 0.1)
    own = Dashboard(head)
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "talk.py").write_text(TALK)
    own.submit("talk-1", f"{sys.executable} talk.py {tmp_path / 'enough'}", shipped, {})
    cuts: list[str] = []
    with (
        cutting_proxy(head, cuts, tmp_path / "enough") as address,
        Log(tmp_path / "driver.log") as log,
    ):
        job = follow(Dashboard(address, allow_open=True), "talk-1", log)
    assert (job.status, job.driver_exit_code) == ("FAILED", 7)
    assert len(cuts) >= CUTS and set(cuts) == {"close 1000", "close 1006", "head busy"}
    printed = [
        line.rstrip() for line in capsys.readouterr().out.splitlines() if line.startswith("line ")
    ]
    assert printed == [f"line {i} {'é' * (i % 7)}".rstrip() for i in range(len(printed))]
    assert (tmp_path / "driver.log").read_text() == own.log("talk-1")
