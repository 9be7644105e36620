"""Detection and segmentation for real: Ray Train on two ranks from published weights, killed,
evaluated again.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import build_shards, in_the_authors_names, make_project, run_stage
from safetensors.torch import save_file

import models
from pipeline.core import failpoints
from pipeline.core.errors import UserError
from pipeline.core.files import sha256_file

PARAMS = """
data:
  coco: {synthetic: {train: 14, val: 7, image_size: 64}}
  ade20k: {synthetic: {train: 14, val: 7, image_size: 64}}
shard: {samples_per_shard: 5}
classify:
  variants: {dwnet_micro: {mixer: dwnet, size: micro}, dynamic_dwnet_micro: {mixer: dynamic_dwnet, size: micro}}
detect:
  recipe:
    duration: {steps: 6}
    micro_batch: 2
    micro_batches: 2
    optimizer: {lr: 0.001, lr_batch: null}
    schedule: {warmup: {steps: 2}}
    augment: {short_sides: [64], long_side: 96, crop_short_sides: [64], crop: [40, 60]}
    proposals: {sampled: 32, kept_train: 60, kept_test: 40}
    cascade:
      {fpn_channels: 16, box_convs: 1, box_hidden: 16, mask_convs: 1, mask_size: 14, regions: 16, score_threshold: 0.0,
       test_sides: [64, 96]}
    evaluate_every: {steps: 3}
    checkpoint_every: {steps: 2}
  variants: {dwnet_micro: {mixer: dwnet, size: micro}, dynamic_dwnet_micro: {mixer: dynamic_dwnet, size: micro}}
segment:
  recipe:
    duration: {steps: 6}
    micro_batch: 2
    micro_batches: 2
    optimizer: {lr: 0.001, lr_batch: null}
    schedule: {kind: poly, warmup: {steps: 2}}
    augment: {resize: [128, 64], crop: [64, 64]}
    upernet: {channels: 16, auxiliary_channels: 8, test_sides: [128, 64]}
    evaluate_every: {steps: 3}
    checkpoint_every: {steps: 2}
  variants: {dwnet_micro: {mixer: dwnet, size: micro}}
"""
FAULT = "step rank=1 step=5"
DATASET = {"detect": "coco", "segment": "ade20k"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """A project with shards of both data sets and the published weights of a classifier."""
    folder = make_project(tmp_path_factory.mktemp("dense"))
    (folder / "params.yaml").write_text(PARAMS)
    for name in DATASET.values():
        run_stage(folder, "pipeline.fetch", name)
        build_shards(folder, name)
    torch.manual_seed(0)
    start = folder / "results/classify/dwnet_micro"
    start.mkdir(parents=True)
    save_file(
        models.create_model("dwnet_micro", num_classes=10).state_dict(), start / "model.safetensors"
    )
    return folder


def train(project: Path, task: str, out: str) -> dict[str, Any]:
    options = [
        "--out",
        str(project / "out" / out),
        "--set",
        f"cluster.storage={project}/runs-{out}",
    ]
    run_stage(project, "pipeline.train", task, "dwnet_micro", *options)
    metrics: dict[str, Any] = json.loads((results(project, task, out) / "metrics.json").read_text())
    return metrics


def results(project: Path, task: str, out: str) -> Path:
    return project / "out" / out / "results" / task / "dwnet_micro"


@pytest.mark.faults
@pytest.mark.parametrize("task", ["detect", "segment"])
def test_a_killed_rank_changes_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    whole = train(project, task, "whole")
    monkeypatch.setenv(failpoints.VARIABLE, f"{FAULT} do=kill once={tmp_path / 'met'}")
    killed = train(project, task, "killed")
    monkeypatch.delenv(failpoints.VARIABLE)
    assert (tmp_path / "met").exists() and whole["world_size"] == killed["world_size"] == 2
    mine, theirs = (results(project, task, out) for out in ("whole", "killed"))
    assert sha256_file(mine / "model.safetensors") == sha256_file(theirs / "model.safetensors")
    assert whole["final"] == killed["final"] and whole["best"] == killed["best"]
    assert (mine / "per_class.csv").read_text() == (theirs / "per_class.csv").read_text()
    assert (mine / "samples.png").stat().st_size > 1000
    (log,) = project.glob(f"runs-whole/{whole['seeds'][0]['run_id']}/progress.jsonl")
    assert "model.safetensors, fresh: " in log.read_text()  # from the classifier


def test_published_detections_are_judged_alike_by_pycocotools(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights published by two ranks, evaluated in one process; its results file by another
    evaluator.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    published = train(project, "detect", "whole")["final"]
    weights = results(project, "detect", "whole") / "model.safetensors"
    capsys.readouterr()
    options = ["--weights", str(weights), "--predictions", str(tmp_path / "found.json")]
    run_stage(project, "pipeline.evaluate", "detect", "dwnet_micro", *options)
    measured = json.loads(capsys.readouterr().out)
    for name, value in measured.items():
        assert value == pytest.approx(published[name], abs=1e-3), name
    (annotations,) = project.glob("data/raw/synthetic/coco*/annotations/instances_val2017.json")
    truth = COCO(str(annotations))
    for kind, name in (("bbox", "box_ap"), ("segm", "mask_ap")):
        judge = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
        assert 100 * judge.stats[0] == pytest.approx(measured[name], abs=1e-6)


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_the_authors_checkpoint_is_evaluated_as_the_same_weights_of_ours_are(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str
) -> None:
    """A file as mmcv's runner writes it, in the names of mmdetection or mmsegmentation, from the
    command line.
    """
    from pipeline.params import load
    from pipeline.shards.manifest import Manifest
    from pipeline.tasks.base import create

    section = getattr(load(project / "params.yaml"), task)
    manifest = Manifest.load(project / "data" / "shards" / section.dataset)
    torch.manual_seed(3)
    model = create(task, section, "dwnet_micro", manifest).build()
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()},
        tmp_path / "w.safetensors",
    )
    weights = in_the_authors_names(model)
    meta = {
        "epoch": 36,
        "CLASSES": tuple(entry.name for entry in manifest.classes),
        "mmdet_version": "2.11.0",
    }
    torch.save(
        {"meta": meta, "state_dict": weights, "optimizer": {"state": {}}}, tmp_path / "w.pth"
    )
    del weights[next(iter(weights))]
    torch.save({"state_dict": weights}, tmp_path / "cut.pth")

    def evaluated(file: str) -> tuple[dict[str, float], bytes]:
        found = tmp_path / f"{file}.json"
        options = ["--predictions", str(found)] if task == "detect" else []
        capsys.readouterr()
        run_stage(
            project,
            "pipeline.evaluate",
            task,
            "dwnet_micro",
            "--weights",
            str(tmp_path / file),
            *options,
        )
        return json.loads(capsys.readouterr().out), found.read_bytes() if options else b""

    theirs = evaluated("w.pth")
    assert theirs == evaluated("w.safetensors") and sum(theirs[0].values()) > 0
    assert task == "segment" or len(json.loads(theirs[1])) > 7
    with pytest.raises(
        UserError,
        match=r"cut\.pth: these weights do not fit dwnet_micro: 1 missing: backbone\.stem\.",
    ):
        evaluated("cut.pth")
    classifier = project / "results" / "classify" / "dwnet_micro" / "model.safetensors"
    kind = type(model).__name__.lower()
    with pytest.raises(
        UserError, match=f"holds the weights of a classifier, where those of a {kind} are needed"
    ):
        evaluated(str(classifier))


def test_a_variant_without_published_weights_says_how_to_get_them(project: Path) -> None:
    with pytest.raises(UserError, match=r"python -m pipeline\.train classify dynamic_dwnet_micro"):
        run_stage(project, "pipeline.train", "detect", "dynamic_dwnet_micro")
