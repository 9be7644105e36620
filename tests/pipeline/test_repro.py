"""`dvc repro` from nothing to the report, as a user runs it; then nothing; then only what
changed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml
from helpers import PROJECT, SMALL
from killing import gone, wait_for

from pipeline.core import failpoints
from pipeline.core.files import sha256_file

COPIED = ["pipeline", "models", "dvc.yaml", ".dvcignore", ".gitignore"]


def environment() -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    made = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    made.pop("PYTHONPATH", None)
    return made


def run(project: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def would_run(project: Path) -> set[str]:
    said = run(project, "dvc", "repro", "--dry")
    return {line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")}


def clone(folder: Path) -> Path:
    """Make what a fresh clone is, without its params."""
    folder.mkdir()
    for name in COPIED:
        source = PROJECT / name
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / name, ignore=ignore) if source.is_dir() else shutil.copy(
            source, folder
        )
    run(folder, "dvc", "init", "--quiet", "--no-scm")
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> Iterator[Path]:
    folder = clone(tmp_path_factory.mktemp("whole") / "project")
    params = yaml.safe_load(SMALL)
    params["classify"]["recipe"]["duration"] = {"epochs": 2}
    params["classify"].update({"dataset": "imagenet", "seeds": [0]})
    for dataset in ("imagenet", "coco", "ade20k"):
        params["data"][dataset] = {"synthetic": {"train": 48, "val": 16, "image_size": 32}}
    for task, dataset in (
        ("detect", "coco"),
        ("segment", "ade20k"),
    ):  # no variants: these stages just are not there
        params[task] = {"dataset": dataset, "seeds": [0], "recipe": {}, "variants": {}}
        (folder / "results" / task).mkdir(parents=True)
    one_epoch = {
        "base": {"size": "micro", "kernel_size": 3},
        "recipe": {"duration": {"epochs": 1}},
        "concurrent": 2,
    }
    params |= {
        "tune": {**one_epoch, "space": {"mixer": ["dwnet", "dynamic_dwnet"]}},
        "factorial": {**one_epoch, "group_channels": [1], "seeds": [0, 1], "controls": False},
        "compare": {"least_seeds": 3},
        "cluster": {"together": True},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", ray_address)
        run(folder, "dvc", "repro")
        yield folder


def test_everything_is_published(project: Path) -> None:
    for dataset in ("imagenet", "coco", "ade20k"):
        assert (project / "data/shards" / dataset / "manifest.json").exists()
    for variant in ("dwnet_micro", "dynamic_dwnet_micro"):
        assert {"metrics.json", "history.csv", "model.safetensors", "samples.png"} <= {
            path.name for path in (project / "results/classify" / variant).iterdir()
        }
        assert (
            json.loads((project / "results/profile" / variant / "profile.json").read_text())[
                "parameters"
            ]
            > 1e5
        )
    searched = (project / "results/tune/trials.csv").read_text().splitlines()
    crossed = (project / "results/factorial/trials.csv").read_text().splitlines()
    assert len(searched) == 1 + 2 and len(crossed) == 1 + 4 * 2
    assert all(",finished," in row for row in searched[1:] + crossed[1:])
    report = (project / "results/report/report.md").read_text()
    top1 = json.loads((project / "results/classify/dwnet_micro/metrics.json").read_text())["final"][
        "top1"
    ]
    assert "small-scale run" in report and f"{top1:.1f}" in report
    assert "reproduced |" not in report.replace("not reproduced |", "")


def test_doing_it_again_does_nothing(project: Path) -> None:
    before = (project / "dvc.lock").read_bytes()
    assert "Data and pipelines are up to date" in run(project, "dvc", "repro")
    assert (project / "dvc.lock").read_bytes() == before


def test_a_new_mixer_file_trains_no_variant(project: Path) -> None:
    """The search, the design and the report look at all mixers; their finished runs stay."""
    mixer = project / "models/mixers/mine.py"
    mixer.write_text((project / "models/mixers/dwnet.py").read_text())
    assert would_run(project) == {"tune", "factorial", "compare"}
    mixer.unlink()


def test_a_changed_variant_runs_alone(project: Path) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["classify"]["variants"]["dwnet_micro"]["kernel_size"] = 3
    original = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    assert would_run(project) == {"classify@dwnet_micro", "profile@dwnet_micro", "compare"}
    (project / "params.yaml").write_text(original)


def test_dvc_shows_a_few_numbers_and_the_curves(project: Path, tmp_path: Path) -> None:
    shown = run(project, "dvc", "metrics", "show").splitlines()
    assert max(map(len, shown)) <= 120
    for variant in ("dwnet_micro", "dynamic_dwnet_micro"):
        metrics = json.loads((project / f"results/classify/{variant}/metrics.json").read_text())
        [line] = [line for line in shown if f"/{variant}.json" in line]
        assert f"{metrics['final']['top1']:.5g}" in line
    shutil.copytree(PROJECT / ".dvc/plots", project / ".dvc/plots", dirs_exist_ok=True)
    run(project, "dvc", "plots", "show", "--out", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    assert all(f'"variant": "{name}"' in page for name in ("dwnet_micro", "dynamic_dwnet_micro"))
    assert all(title in page for title in ("top-1 by epoch", "search", "effects of the factorial"))


def test_a_colleague_pulls_results_without_training(project: Path, tmp_path: Path) -> None:
    colleague = clone(tmp_path / "colleague")
    lacking = [sys.executable, "-m", "pipeline.pull"]
    done = subprocess.run(lacking, cwd=colleague, env=environment(), capture_output=True, text=True)
    assert done.returncode == 2 and "dvc.lock" in done.stderr
    for name in ("params.yaml", "dvc.lock"):
        shutil.copy(project / name, colleague)
    done = subprocess.run(lacking, cwd=colleague, env=environment(), capture_output=True, text=True)
    assert done.returncode == 2 and "dvc remote add" in done.stderr
    run(project, "dvc", "remote", "add", "--default", "shared", str(tmp_path / "remote"))
    run(project, "dvc", "push")
    shutil.copy(project / ".dvc/config", colleague / ".dvc/config")
    run(colleague, *lacking)
    for name in ("report/report.html", "classify/dwnet_micro/model.safetensors", "tune/best.json"):
        assert sha256_file(colleague / "results" / name) == sha256_file(project / "results" / name)
    assert not (colleague / "runs").exists() and not (colleague / "data").exists()


def test_the_stage_digest_is_what_dvc_locked(project: Path) -> None:
    """The tag of the MLflow run equals the digest of the entry that DVC wrote."""
    from mlflow import MlflowClient

    from pipeline.core.files import digest

    stage = yaml.safe_load((project / "dvc.lock").read_text())["stages"]["classify@dwnet_micro"]
    locked = {
        "deps": [{key: dep[key] for key in ("path", "md5", "size")} for dep in stage["deps"]],
        "params": stage["params"]["params.yaml"],
    }
    metrics = json.loads((project / "results/classify/dwnet_micro/metrics.json").read_text())
    client = MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    tags = client.get_run(metrics["seeds"][0]["mlflow_run_id"]).data.tags
    assert tags["stage"] == "classify@dwnet_micro" and tags["stage_digest"] == digest(locked)


KILLED = [
    *(
        ("fetch@imagenet", point)
        for point in ("stage.begun", "file.written name=imagenet.json", "stage.done")
    ),
    *(
        ("shard@imagenet", point)
        for point in ("stage.begun", "shards.joined", "file.written name=manifest.json")
    ),
    *(("shard@imagenet", point) for point in ("shards.renamed", "stage.done")),
    *(("classify@dwnet_micro", point) for point in ("stage.begun", "mlflow.opened", "mlflow.open")),
    *(
        ("classify@dwnet_micro", point)
        for point in ("mlflow.closed", "results.written", "stage.done")
    ),
    *(
        ("profile@dwnet_micro", point)
        for point in ("stage.begun", "file.written name=profile.json", "stage.done")
    ),
    *(
        ("compare", point)
        for point in ("stage.begun", "file.written name=report.html", "stage.done")
    ),
]


def outcome(project: Path) -> dict[str, str]:
    """Return the digests of all that no clock is part of."""
    data = [
        path
        for name in ("raw", "shards")
        for path in (project / "data" / name).rglob("*")
        if path.is_file()
    ]
    weights = (project / "results/classify").rglob("model.safetensors")
    drawn = project / "data/raw/synthetic"
    return {str(path): sha256_file(path) for path in (*data, *weights) if drawn not in path.parents}


class Watching:
    """Counts, as long as the block runs, how many processes of one stage are alive at once."""

    def __init__(self, project: Path, stage: str) -> None:
        verb, _, name = stage.partition("@")
        self.words = [
            f"pipeline.{'train' if verb == 'classify' else verb}",
            *([name] if name else []),
        ]
        self.project, self.most, self._stop = project, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.most = max(self.most, sum(map(self._is_one, psutil.process_iter(["cmdline"]))))

    def _is_one(self, process: psutil.Process) -> bool:
        words = process.info["cmdline"] or []
        try:
            return (
                "-m" in words[:3]
                and all(word in words for word in self.words)
                and process.cwd() == str(self.project)
            )
        except psutil.Error:
            return False

    def __enter__(self) -> "Watching":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def kill_dvc(project: Path, stage: str, point: str, marker: Path, sent: signal.Signals) -> None:
    """End `dvc repro` while its stage is held at a point, run it again at once, and check that all
    is as before.
    """
    before = outcome(project)
    if stage.startswith("classify"):
        shutil.rmtree(project / "runs")
    faulty = {**environment(), failpoints.VARIABLE: f"{point} do=wait once={marker}"}
    command = ["dvc", "repro", "--force", "--single-item", stage]
    with Watching(project, stage) as watching:
        dvc = subprocess.Popen(
            command, cwd=project, env=faulty, start_new_session=True, stdout=subprocess.DEVNULL
        )
        held = wait_for(marker, dvc)
        os.killpg(dvc.pid, sent) if sent == signal.SIGINT else dvc.send_signal(sent)
        dvc.wait()
        run(project, *command)
        assert gone(held)
        run(project, "dvc", "repro")
    assert watching.most == 1
    assert outcome(project) == before
    assert "Data and pipelines are up to date" in run(project, "dvc", "repro")
    nothing_left_running(project)


def nothing_left_running(project: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    runs = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()]
    )
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len({run.data.tags["run_id"] for run in runs}) == len(runs)
    for found in runs:
        steps = [point.step for point in client.get_metric_history(found.info.run_id, "eval/top1")]
        whole_search = found.data.tags["run_id"].startswith(
            "searches/"
        )  # its curves are its trials'
        assert len(set(steps)) == len(steps) and (len(steps) > 0) != whole_search


def test_a_killed_dvc_takes_its_stage_along(project: Path, tmp_path: Path) -> None:
    kill_dvc(
        project,
        "shard@imagenet",
        "file.written name=manifest.json",
        tmp_path / "met",
        signal.SIGKILL,
    )


@pytest.mark.faults
@pytest.mark.parametrize(("stage", "point"), KILLED)
def test_dvc_killed_anywhere_changes_nothing(
    project: Path, tmp_path: Path, stage: str, point: str
) -> None:
    sent = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT][KILLED.index((stage, point)) % 3]
    kill_dvc(project, stage, point, tmp_path / "met", sent)


POINTS, FIRST_S = 30, 60.0
SENT = [
    (kind, whom)
    for kind in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
    for whom in ("the process", "the group")
]


def smallest(folder: Path) -> Path:
    """Make a fresh clone whose `make repro` fetches and shards three data sets and trains one
    variant.
    """
    clone(folder)
    stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    kept = {name: stages[name] for name in ("fetch", "shard", "classify")}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": kept}))
    params = yaml.safe_load(SMALL)
    params["classify"]["recipe"]["duration"] = {"steps": 12}
    params["classify"]["variants"] = {"dwnet_micro": {"mixer": "dwnet", "size": "micro"}}
    params["classify"] |= {"dataset": "imagenet", "seeds": [0]}
    for dataset in ("imagenet", "coco", "ade20k"):
        params["data"][dataset] = {"synthetic": {"train": 48, "val": 16, "image_size": 32}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


def make_repro(folder: Path, log: Path) -> "subprocess.Popen[bytes]":
    """Start what `make repro` is, with a Ray head of its own."""
    alone = {name: value for name, value in environment().items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "pipeline.repro"]
    with open(log, "wb") as file:
        return subprocess.Popen(
            command, cwd=folder, env=alone, stdout=file, stderr=file, start_new_session=True
        )


def at_work_in(folder: Path) -> list[psutil.Process]:
    """Return what still runs in a project."""
    alive = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(
                folder
            ):
                alive.append(process)
    return alive


@pytest.mark.faults
@pytest.mark.parametrize("point", range(POINTS))
def test_a_first_make_repro_that_was_ended_anywhere_ends_well_when_it_is_typed_again(
    tmp_path: Path, point: int
) -> None:
    folder = smallest(tmp_path / "project")
    sent, whom = SENT[point % len(SENT)]
    logs = [tmp_path / name for name in ("first", "again")]
    first = make_repro(folder, logs[0])
    with suppress(subprocess.TimeoutExpired):
        first.wait((point + 0.5) * FIRST_S / POINTS)
    if first.poll() is None:
        (os.killpg if whom == "the group" else os.kill)(first.pid, sent)
        code = first.wait(120)
        assert code == (-sent if sent == signal.SIGKILL else 128 + sent), logs[0].read_text()
    again = make_repro(folder, logs[1])
    assert again.wait(500) == 0 and "The report" in logs[1].read_text(), logs[1].read_text()
    assert "Traceback" not in logs[0].read_text() + logs[1].read_text()
    assert (folder / "results/classify/dwnet_micro/metrics.json").exists()
    nothing_left_running(folder)
    psutil.wait_procs(at_work_in(folder), timeout=30)
    assert at_work_in(folder) == []


@pytest.mark.faults
def test_a_full_disk_of_dvcs_cache_is_one_sentence(tmp_path: Path) -> None:
    folder = smallest(tmp_path / "project")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]).returncode:
        pytest.skip("a disk of its own needs the right to mount one")
    try:
        (folder / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {disk}/cache\n")
        first = make_repro(folder, tmp_path / "first")
        assert first.wait(500) == 1
        lines = (tmp_path / "first").read_text().splitlines()
        assert lines[-1].startswith(f"error: no room on the disk of {disk}"), lines[-5:]
        assert not any("Traceback" in line for line in lines)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = make_repro(folder, tmp_path / "again")
        assert again.wait(500) == 0
    finally:
        subprocess.run(["umount", "-l", str(disk)])


@pytest.mark.faults
def test_another_params_file_is_run_whole_and_goes_on_where_it_was(project: Path) -> None:
    recipe = {**yaml.safe_load(SMALL)["classify"]["recipe"], "duration": {"epochs": 1}}
    params = {
        "data": {"cifar10": {"synthetic": {"train": 48, "val": 16, "image_size": 32}}},
        "classify": {
            "dataset": "cifar10",
            "recipe": recipe,
            "variants": {"dwnet_micro": {"mixer": "dwnet", "size": "micro"}},
        },
        "detect": {"variants": {}},
        "segment": {"variants": {}},
    }
    (project / "other.yaml").write_text(yaml.safe_dump(params))
    command = (sys.executable, "-m", "pipeline.repro", "--params", "other.yaml")
    results = project / "adhoc" / "other" / "results"

    killed = subprocess.run(
        command,
        cwd=project,
        env=environment() | {failpoints.VARIABLE: "stage.begun stage=shard@cifar10"},
        capture_output=True,
        text=True,
    )
    assert killed.returncode != 0 and "stage 2 of 5: shard@cifar10" in killed.stdout
    assert "stage 3" not in killed.stdout and not results.exists()

    printed = run(project, *command)
    assert "stage 5 of 5: compare" in printed and "classify dwnet_micro" in printed
    assert (results / "report" / "report.html").exists()

    again = run(project, *command)
    assert "stage 1 of 3: classify@dwnet_micro" in again and "starts at step" not in again
