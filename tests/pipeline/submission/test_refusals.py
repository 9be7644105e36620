"""What is said before anything is submitted or trained, and what a shipment holds."""

import json
import subprocess
import threading
from argparse import Namespace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from helpers import build_shards, make_project, run_stage

from pipeline.core.errors import UserError
from pipeline.params import load
from pipeline.project.call import Call, Folders
from pipeline.submission import shipment
from pipeline.submission.client import Dashboard
from pipeline.submission.inside import settle
from pipeline.submission.returned import pack, publish
from pipeline.submission.run import _environment
from pipeline.submission.stage import SubmittedStage

STAGE = SubmittedStage(
    "train-a", ("train", "classify", "dwnet_micro"), "imagenet", (), ("classify/a",)
)
JOB = json.dumps({"runtime_env": {"working_dir": "gcs://_ray_pkg_0.zip"}})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("project"))
    run_stage(folder, "pipeline.fetch", "imagenet")
    build_shards(folder, "imagenet")
    (folder / ".gitignore").write_text("/data/\n/runs/\n.env\n")
    return folder


def call_in(project: Path, *sets: str) -> Call:
    args = Namespace(params=None, set=list(sets), out=None)
    return Call(args, load(project / "params.yaml", list(sets)), project, Folders(project))


def test_a_cluster_that_is_not_there_or_asks_for_no_token_is_refused() -> None:
    class Open(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with pytest.raises(UserError, match=r"cannot be reached: no connection; is RAY_ADDRESS right"):
        Dashboard("http://127.0.0.1:9")
    server = HTTPServer(("127.0.0.1", 0), Open)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(UserError, match=r"asks for no token.*allow_open"):
            Dashboard(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()


def test_a_shipment_holds_what_git_knows_and_no_data(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / ".env").write_text("TOKEN=canary")
    (project / "new.py").write_text("")
    call = call_in(project, "classify.seeds=[3]")
    shipment.ship(call, STAGE, tmp_path / "mark", tmp_path / "first")
    inside = {str(p.relative_to(tmp_path / "first")) for p in (tmp_path / "first").rglob("*.*")}
    small = {"data/raw/imagenet.json", "data/shards/imagenet/manifest.json", "submitted.json"}
    assert inside == {"new.py", "params.yaml", *small}
    assert load(tmp_path / "first/params.yaml") == call.params

    subprocess.run(["git", "init", "--quiet", project], check=True)
    assert shipment.project_files(project) == ["new.py", "params.yaml"]
    monkeypatch.setattr(shipment, "MOST_BYTES", 10)
    with pytest.raises(UserError, match=r"let \.gitignore name .* e\.g\. .*manifest\.json"):
        shipment.ship(call, STAGE, tmp_path / "mark", tmp_path / "second")


def test_results_that_changed_on_their_way_are_not_published(project: Path, tmp_path: Path) -> None:
    made = tmp_path / "results" / "classify" / "a"
    (made / "deeper").mkdir(parents=True)
    (made / "metrics.json").write_text("{}")
    (made / "deeper" / "x.bin").write_bytes(bytes(range(256)))
    pack(tmp_path / "results", ["classify/a"], tmp_path / "packed")
    packed = (tmp_path / "packed").read_bytes()
    call = call_in(project)
    damaged = bytearray(packed)
    damaged[len(packed) // 2] ^= 1
    with pytest.raises(UserError, match="did not arrive as they were sent"):
        publish(call, bytes(damaged), STAGE.publishes)
    assert not (project / "results" / "classify" / "a").exists()
    publish(call, packed, STAGE.publishes)
    assert (project / "results/classify/a/deeper/x.bin").read_bytes() == bytes(range(256))


def test_no_secret_stands_in_a_jobs_description(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = load(Path("params.yaml")).cluster
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://anna:canary@host/")
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI holds a secret") as refused:
        _environment(cluster)
    assert "canary" not in str(refused.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://host/")
    assert _environment(cluster)["env_vars"]["MLFLOW_TRACKING_URI"] == "https://host/"


@pytest.mark.parametrize(
    ("sets", "setting"),
    [
        ([], "cluster.storage"),
        (["cluster.storage=/tmp/elsewhere"], "tracking.uri"),
        (["cluster.storage=/tmp/elsewhere", "tracking.uri=http://host"], "cluster.shards"),
    ],
)
def test_a_plain_job_names_the_setting_that_lacks(
    sets: list[str], setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", JOB)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shipped = make_project(tmp_path)
    options = [word for item in sets for word in ("--set", item)]
    with pytest.raises(UserError, match=setting):
        run_stage(shipped, "pipeline.train", "classify", "dwnet_micro", *options)


def test_a_job_on_another_machine_names_the_setting_that_lacks(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*sets: str, **changes: str) -> None:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        shipment.ship(call_in(project, *sets), STAGE, tmp_path / "mark", folder)
        with monkeypatch.context() as patch:
            patch.setenv("PIPELINE_COMMIT", "")
            settle({**(shipment.read_note(folder) or {}), **changes}, folder)

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    told()
    shards, runs = "cluster.shards=/nowhere", "cluster.storage=/tmp/elsewhere"
    with pytest.raises(UserError, match=r"in cluster\.shards"):
        told(secret="another")
    with pytest.raises(UserError, match=r"in cluster\.storage"):
        told(shards, secret="another")
    with pytest.raises(UserError, match=r"tracking\.uri"):
        told(shards, runs, secret="another")
    with pytest.raises(UserError, match=r"tracking\.uri"):
        told(shards, runs, machine="another")
    told(shards, runs, "tracking.uri=http://host", secret="another")
