"""`dvc repro` from nothing to the report, as a user runs it; then nothing; then only what changed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helpers import PROJECT, SMALL

COPIED = ["pipeline", "models", "dvc.yaml"]


def run(project: Path, *command: str) -> str:
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def would_run(project: Path) -> set[str]:
    said = run(project, "dvc", "repro", "--dry")
    return {line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("whole") / "project"
    folder.mkdir()
    for name in COPIED:
        source = PROJECT / name
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / name, ignore=ignore) if source.is_dir() else shutil.copy(source, folder)
    params = yaml.safe_load(SMALL)
    params["classify"]["recipe"]["duration"] = {"epochs": 2}
    params["classify"].update({"dataset": "imagenet", "seeds": [0]})
    for dataset in ("imagenet", "coco", "ade20k"):
        params["data"][dataset] = {"synthetic": {"train": 48, "val": 16, "image_size": 32}}
    params |= {"compare": {"within_noise": 2.0}, "cluster": {"together": True}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    run(folder, "dvc", "init", "--quiet", "--no-scm")
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
        assert json.loads((project / "results/profile" / variant / "profile.json").read_text())["parameters"] > 1e5
    report = (project / "results/report/report.md").read_text()
    top1 = json.loads((project / "results/classify/dwnet_micro/metrics.json").read_text())["final"]["top1"]
    assert "small-scale run" in report and f"{top1:.1f}" in report
    assert "reproduced |" not in report.replace("not reproduced |", "")


def test_doing_it_again_does_nothing(project: Path) -> None:
    before = (project / "dvc.lock").read_bytes()
    assert "Data and pipelines are up to date" in run(project, "dvc", "repro")
    assert (project / "dvc.lock").read_bytes() == before


def test_a_new_mixer_file_trains_nothing(project: Path) -> None:
    mixer = project / "models/mixers/mine.py"
    mixer.write_text((project / "models/mixers/dwnet.py").read_text())
    assert would_run(project) == set()
    mixer.unlink()


def test_a_changed_variant_runs_alone(project: Path) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["classify"]["variants"]["dwnet_micro"]["kernel_size"] = 3
    original = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    assert would_run(project) == {"classify@dwnet_micro", "profile@dwnet_micro", "compare"}
    (project / "params.yaml").write_text(original)


def test_the_stage_digest_is_what_dvc_locked(project: Path) -> None:
    """The tag of the MLflow run equals the digest of the entry that DVC wrote."""
    from mlflow import MlflowClient

    from pipeline.files import digest

    stage = yaml.safe_load((project / "dvc.lock").read_text())["stages"]["classify@dwnet_micro"]
    locked = {
        "deps": [{key: dep[key] for key in ("path", "md5", "size")} for dep in stage["deps"]],
        "params": stage["params"]["params.yaml"],
    }
    metrics = json.loads((project / "results/classify/dwnet_micro/metrics.json").read_text())
    client = MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    tags = client.get_run(metrics["seeds"][0]["mlflow_run_id"]).data.tags
    assert tags["stage"] == "classify@dwnet_micro" and tags["stage_digest"] == digest(locked)
