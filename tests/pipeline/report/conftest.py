"""A project folder with results that no training made, for tests of the report."""

import argparse
import csv
import hashlib
import io
import json
import random
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import cli
from pipeline.params import load
from pipeline.report.claims import Claim, load_claims
from pipeline.report.document import to_markdown
from pipeline.report.render import make_report
from pipeline.report.results import read_results
from pipeline.report.sections import Material, report
from pipeline.report.table import to_csv
from pipeline.report.verdict import judge_all

PAPER_DATA = {
    "classify": {"dataset": "imagenet", "train_samples": 1_281_167, "val_samples": 50_000, "classes": 1000},
    "detect": {"dataset": "coco", "train_samples": 117_266, "val_samples": 5_000, "classes": 80},
    "segment": {"dataset": "ade20k", "train_samples": 20_210, "val_samples": 2_000, "classes": 150},
}
PAPER_RECIPE = {
    "classify": {
        "duration": {"epochs": 300.0, "steps": None},
        "image_size": 224,
        "micro_batch": 128,
        "micro_batches": 8,
    },
    "detect": {"duration": {"epochs": 36.0, "steps": None}, "micro_batch": 2, "micro_batches": 8},
    "segment": {
        "duration": {"epochs": None, "steps": 160_000},
        "image_size": 512,
        "micro_batch": 2,
        "micro_batches": 8,
    },
}
SMALL_DATA = {"source": "synthetic", "train_samples": 3000, "val_samples": 1000, "classes": 10}
SMALL_RECIPE = {"duration": {"epochs": 12.0, "steps": None}, "image_size": 64, "micro_batch": 32, "micro_batches": 2}
METRICS = {"classify": ("top1", "top5"), "detect": ("box_ap", "mask_ap"), "segment": ("miou",)}
COUNTS = {("dwnet", "tiny"): 24_172_744, ("swin", "tiny"): 28_288_354}


class Project:
    """Writes params.yaml and results, and reads the report back."""

    def __init__(self, root: Path, seed: int = 0) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.tree: dict[str, Any] = {"classify": {}, "detect": {}, "segment": {}}
        self.write_params()

    def write_params(self) -> None:
        recipe = {"init_from": None}  # so that no classifier has to be there
        tree = {
            task: {"dataset": PAPER_DATA[task]["dataset"], "recipe": recipe, "variants": variants}
            for task, variants in self.tree.items()
        }
        (self.root / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))

    def name(self, task: str, variant: str, mixer: str, size: str = "micro", **overrides: Any) -> None:
        """Name a variant in params.yaml without running it."""
        self.tree[task][variant] = {"mixer": mixer, "size": size, **overrides}
        self.write_params()

    def run(
        self,
        task: str,
        variant: str,
        mixer: str,
        size: str = "micro",
        values: list[float] | None = None,
        scale: str = "small",
        data: dict[str, Any] | None = None,
        recipe: dict[str, Any] | None = None,
        **overrides: Any,
    ) -> dict[str, Any]:
        """Publish a run with one seed a value of its main metric."""
        self.name(task, variant, mixer, size, **overrides)
        values = values if values is not None else [self.random.uniform(20, 70)]
        facts = {"source": "/data/imagenet", **PAPER_DATA[task], "manifest": "ab" * 32}
        numbers = dict(PAPER_RECIPE[task])
        if scale == "small":
            facts |= SMALL_DATA
            numbers |= SMALL_RECIPE
        facts |= data or {}
        numbers |= recipe or {}
        steps = numbers["duration"].get("steps") or 0
        trained = steps * numbers["micro_batch"] * numbers["micro_batches"] / facts["train_samples"]
        epochs = numbers["duration"].get("epochs") or trained
        seeds = [self.seed_row(task, index, value, epochs) for index, value in enumerate(values)]
        metrics = {
            "task": task, "variant": variant, "mixer": mixer, "size": size, "model": f"{mixer}_{size}",
            "overrides": overrides, "main_metric": METRICS[task][0], "data": facts, "recipe": numbers,
            "parameters": COUNTS.get((mixer, size)) or self.random.randint(90_000, 400_000), "world_size": 2,
            "device": "cpu", "commit": "0123456789abcdef", "dirty": False, "final": seeds[0]["final"],
            "best": seeds[0]["best"], "train_images_per_second": seeds[0]["train_images_per_second"],
            "wall_time_s": seeds[0]["wall_time_s"], "seeds": seeds,
        }  # fmt: skip
        self.write(task, variant, metrics)
        self.write_history(task, variant, metrics)
        return metrics

    def seed_row(self, task: str, seed: int, value: float, epochs: float) -> dict[str, Any]:
        main, *others = METRICS[task]
        rest = {name: self.random.uniform(30, 90) for name in others}
        final = {main: value, **rest, "loss": self.random.uniform(0.5, 2), "epoch": epochs, "step": 560}
        best = {**final, main: value + self.random.uniform(0, 2), "epoch": max(1.0, epochs - 1)}
        digest = hashlib.sha256(str(self.random.random()).encode()).hexdigest()
        return {
            "seed": seed, "run_id": digest, "mlflow_run_id": digest[:32], "final": final, "best": best,
            "train_images_per_second": self.random.uniform(300, 900), "wall_time_s": self.random.uniform(30, 90),
        }  # fmt: skip

    def write(self, task: str, variant: str, metrics: dict[str, Any]) -> Path:
        path = self.root / "results" / task / variant / "metrics.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(metrics))
        return path

    def write_history(self, task: str, variant: str, metrics: dict[str, Any]) -> None:
        main = metrics["main_metric"]
        path = self.root / "results" / task / variant / "history.csv"
        with open(path, "w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["seed", "epoch", "step", "lr", "train_loss", "images_per_second", "loss", main])
            for row in metrics["seeds"]:
                for epoch in range(1, 13):
                    reached = row["final"][main] * (1 - 0.75**epoch) + self.random.uniform(-1, 1)
                    out.writerow(
                        [row["seed"], epoch, epoch * 46, 1e-3, 2.3 * 0.9**epoch, 500, 1.8 * 0.9**epoch, reached]
                    )

    def profile(self, variant: str, mixer: str, size: str = "micro", **changes: Any) -> dict[str, Any]:
        facts = {
            "variant": variant, "mixer": mixer, "size": size, "model": f"{mixer}_{size}",
            "parameters": COUNTS.get((mixer, size)) or self.random.randint(90_000, 400_000),
            "flops": self.random.uniform(1e7, 9e7), "flops_rule": "flops()", "image_size": 64, "batch_size": 64,
            "device": "cpu (2 cores)", "precision": "fp32", "layout": "channels_last",
            "inference_images_per_second": self.random.uniform(900, 3000),
            "train_images_per_second": self.random.uniform(300, 900), "peak_memory_mb": self.random.uniform(150, 900),
            "warmup": 50, "timed": 30, **changes,
        }  # fmt: skip
        path = self.root / "results" / "profile" / variant / "profile.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts))
        return facts

    def call(self) -> cli.Call:
        params = load(self.root / "params.yaml")
        return cli.Call(argparse.Namespace(), params, self.root, cli.Folders(self.root))

    def report(self) -> Path:
        """Make the report, plots and all, and return its folder."""
        return make_report(self.call())

    def rows(self) -> list[dict[str, str]]:
        """The lines of results.csv, without the time that plots take."""
        call = self.call()
        judged = judge_all(claims(), read_results(call), call.params.compare)
        return list(csv.DictReader(io.StringIO(to_csv(judged))))

    def text(self) -> str:
        """The text of report.md, without plots."""
        call = self.call()
        results = read_results(call)
        judged = judge_all(claims(), results, call.params.compare)
        return to_markdown(report(Material(call.params, results, judged, [], self.root / "results/report")))


@cache
def claims() -> list[Claim]:
    return load_claims()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def laptop(project: Project) -> Project:
    """What a small run leaves: four mixers, two kernel sizes, three seeds, and the other two tasks."""
    return fill_laptop(project)


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same with its report made; for tests that only read."""
    project = fill_laptop(Project(tmp_path_factory.mktemp("reported")))
    project.report()
    return project


def fill_laptop(project: Project) -> Project:
    for variant, mixer, base, overrides in (
        ("swin_micro", "swin", 55.0, {}),
        ("dwnet_micro", "dwnet", 57.0, {"kernel_size": 7}),
        ("dwnet_micro_k3", "dwnet", 52.0, {"kernel_size": 3}),
        ("dynamic_dwnet_micro", "dynamic_dwnet", 58.5, {}),
        ("i_dynamic_dwnet_micro", "i_dynamic_dwnet", 58.2, {}),
    ):
        project.run(
            "classify", variant, mixer, values=[base + project.random.gauss(0, 1.5) for _ in range(3)], **overrides
        )
        project.profile(variant, mixer)
    project.run("detect", "dwnet_micro", "dwnet", values=[12.5])
    project.run("detect", "swin_micro", "swin", values=[11.0])
    project.run("segment", "dwnet_micro", "dwnet", values=[30.5])
    project.name("segment", "swin_micro", "swin")
    (project.root / "results/classify/dwnet_micro/samples.png").write_bytes(tiny_png())
    return project


def tiny_png() -> bytes:
    """A grey picture of 320 x 80 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = b"".join(b"\0" + b"\x90" * 320 for _ in range(80))
    header = struct.pack(">IIBBBBB", 320, 80, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
