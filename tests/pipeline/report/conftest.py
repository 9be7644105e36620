"""A project folder with results that no training made, for tests of the report."""

import argparse
import csv
import hashlib
import io
import json
import random
import struct
import zlib
from base64 import b64encode
from itertools import permutations, product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.params import load
from pipeline.project.call import Call, Folders
from pipeline.report.document import to_markdown
from pipeline.report.render import gather, make_report, tables
from pipeline.report.sections import Material, report
from pipeline.report.table import to_csv

PAPER_DATA = {
    "classify": {
        "dataset": "imagenet",
        "train_samples": 1_281_167,
        "val_samples": 50_000,
        "classes": 1000,
    },
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
SMALL_RECIPE = {
    "duration": {"epochs": 12.0, "steps": None},
    "image_size": 64,
    "micro_batch": 32,
    "micro_batches": 2,
}
METRICS = {"classify": ("top1", "top5"), "detect": ("box_ap", "mask_ap"), "segment": ("miou",)}
COUNTS_OF_CELLS = {"placed_all_static": 301_234, "shared_channel_dynamic": 287_654}
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

    def name(
        self, task: str, variant: str, mixer: str, size: str = "micro", **overrides: Any
    ) -> None:
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
        facts: dict[str, Any] = {
            "source": "/data/imagenet",
            **PAPER_DATA[task],
            "manifest": "ab" * 32,
        }
        numbers: dict[str, Any] = dict(PAPER_RECIPE[task])
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
            "task": task,
            "variant": variant,
            "mixer": mixer,
            "size": size,
            "model": f"{mixer}_{size}",
            "overrides": overrides,
            "main_metric": METRICS[task][0],
            "data": facts,
            "recipe": numbers,
            "parameters": COUNTS.get((mixer, size)) or self.random.randint(90_000, 400_000),
            "macs": self.random.randint(10_000_000, 90_000_000) if task == "classify" else None,
            "world_size": 2,
            "device": "cpu",
            "commit": "0123456789abcdef",
            "dirty": False,
            "final": seeds[0]["final"],
            "best": seeds[0]["best"],
            "train_images_per_second": seeds[0]["train_images_per_second"],
            "wall_time_s": seeds[0]["wall_time_s"],
            "seeds": seeds,
        }
        self.write(task, variant, metrics)
        self.write_history(task, variant, metrics)
        return metrics

    def seed_row(self, task: str, seed: int, value: float, epochs: float) -> dict[str, Any]:
        main, *others = METRICS[task]
        rest = {name: self.random.uniform(30, 90) for name in others}
        final = {
            main: value,
            **rest,
            "loss": self.random.uniform(0.5, 2),
            "epoch": epochs,
            "step": 560,
        }
        best = {**final, main: value + self.random.uniform(0, 2), "epoch": max(1.0, epochs - 1)}
        digest = hashlib.sha256(str(self.random.random()).encode()).hexdigest()
        return {
            "seed": seed,
            "run_id": digest,
            "mlflow_run_id": digest[:32],
            "final": final,
            "best": best,
            "train_images_per_second": self.random.uniform(300, 900),
            "wall_time_s": self.random.uniform(30, 90),
        }

    def write(self, task: str, variant: str, metrics: dict[str, Any]) -> Path:
        path = self.root / "results" / task / variant / "metrics.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(metrics))
        return path

    def predictions(self, task: str, variant: str, images: int = 1000) -> None:
        """Publish which images each seed had right, as many as its main metric says."""
        folder = self.root / "results" / task / variant
        metrics = json.loads((folder / "metrics.json").read_text())
        draw = np.random.default_rng(0)  # the same images are hard for everybody
        hard = draw.random(images)
        rows = []
        for row in metrics["seeds"]:
            count = round(row["final"][metrics["main_metric"]] * images / 100)
            right = np.zeros(images, bool)
            right[np.argsort(hard + 0.3 * draw.random(images))[:count]] = True
            row["final"][metrics["main_metric"]] = 100 * count / images
            bits = b64encode(np.packbits(right).tobytes()).decode()
            rows.append({"seed": row["seed"], "images": images, "bits": bits})
        self.write(task, variant, metrics)
        data = metrics["data"]
        found = {"metric": "top1", "manifest": data["manifest"], "evaluated_on": "val"}
        (folder / "predictions.json").write_text(json.dumps({**found, "seeds": rows}))

    def classes(self, task: str, variant: str, names: list[str], confused: bool = False) -> None:
        """Publish results of these classes, and what was taken for what."""
        folder = self.root / "results" / task / variant
        seeds = [row["seed"] for row in json.loads((folder / "metrics.json").read_text())["seeds"]]
        columns = {"classify": ["top1"], "detect": ["box_ap", "mask_ap"]}.get(task, ["iou"])
        with open(folder / "per_class.csv", "w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["seed", "class", *columns])
            for seed, name in product(seeds, names):
                out.writerow([seed, name, *(self.random.uniform(1, 99) for _ in columns)])
        if confused:
            with open(folder / "confused.csv", "w", newline="") as file:
                out = csv.writer(file)
                out.writerow(["seed", "label", "guess", "images"])
                for seed, (label, guess) in product(seeds, permutations(names, 2)):
                    out.writerow([seed, label, guess, self.random.randint(1, 90)])

    def write_history(self, task: str, variant: str, metrics: dict[str, Any]) -> None:
        main = metrics["main_metric"]
        path = self.root / "results" / task / variant / "history.csv"
        with open(path, "w", newline="") as file:
            out = csv.writer(file)
            out.writerow(
                ["seed", "epoch", "step", "lr", "train_loss", "images_per_second", "loss", main]
            )
            for row in metrics["seeds"]:
                for epoch in range(1, 13):
                    reached = row["final"][main] * (1 - 0.75**epoch) + self.random.uniform(-1, 1)
                    out.writerow(
                        [
                            row["seed"],
                            epoch,
                            epoch * 46,
                            1e-3,
                            2.3 * 0.9**epoch,
                            500,
                            1.8 * 0.9**epoch,
                            reached,
                        ]
                    )

    def profile(
        self, variant: str, mixer: str, size: str = "micro", **changes: Any
    ) -> dict[str, Any]:
        speeds = [self.random.uniform(900, 3000), self.random.uniform(300, 900)]
        facts = {
            "variant": variant,
            "mixer": mixer,
            "size": size,
            "model": f"{mixer}_{size}",
            "parameters": COUNTS.get((mixer, size)) or self.random.randint(90_000, 400_000),
            "macs": self.random.uniform(1e7, 9e7),
            "overrides": {},
            "macs_rule": "flops()",
            "image_size": 64,
            "batch_size": 64,
            "device": "cpu (2 cores)",
            "threads": 2,
            "precision": "fp32",
            "layout": "channels_last",
            "inference_images_per_second": speeds[0],
            "train_images_per_second": speeds[1],
            "inference_quartiles": [0.9 * speeds[0], 1.05 * speeds[0]],
            "train_quartiles": [0.95 * speeds[1], 1.2 * speeds[1]],
            "boot": "b" * 12,
            "measured": 1_777_629_600,
            "peak_memory_mb": self.random.uniform(150, 900),
            "warmup": 50,
            "timed": 30,
            **changes,
        }
        path = self.root / "results" / "profile" / variant / "profile.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts))
        return facts

    def factorial(
        self, seeds: int = 3, data: dict[str, Any] | None = None, **changes: Any
    ) -> dict[str, Any]:
        """Publish a factorial of 12 cells, two controls, and pairs beside it; `changes` are of its
        design.
        """
        cells: dict[str, dict[str, Any]] = {
            f"{'shared' if shared else 'placed'}_{groups}_{'dynamic' if dynamic else 'static'}": {
                "shared_positions": shared,
                "channel_groups": groups,
                "dynamic": dynamic,
            }
            for shared in (True, False)
            for groups in ("channel", "group", "all")
            for dynamic in (False, True)
        }
        beside = ("sliding", "window", "global", "dot_product", "linear", "swin_bn", "swin_ln")
        names = [*cells, "control_a", "control_b", *beside]
        design = {
            "task": "classify",
            "metric": "top1",
            "image_size": 64,
            "seeds": list(range(seeds)),
            "data": {
                "manifest": "ab" * 32,
                **SMALL_DATA,
                "dataset": "imagenet",
                "evaluated_on": "val",
                **(data or {}),
            },
            "budgets": {"short": {"epochs": 12.0, "recipe": SMALL_RECIPE}},
            "settings": {
                name: {"mixer": "dwnet", "size": "micro", "model": "dwnet_micro", "overrides": {}}
                for name in names
            },
            "cells": cells,
            "controls": {"placed_all_static": "control_a", "shared_channel_dynamic": "control_b"},
            "contrasts": {
                "neighbourhood": [["sliding", "window"], ["global", "sliding"]],
                "weights": [["dot_product", "linear"]],
                "bridge": [["swin_bn", "swin_ln"]],
            },
            "left_out": {"wide": "needs 3 times the memory"},
            "mlflow_run_id": "fa" * 16,
            "commit": "0123456789abcdef",
            "dirty": False,
            **changes,
        }
        self._publish("factorial", "design.json", json.dumps(design))
        blocks = [self.random.gauss(0, 2) for _ in range(seeds)]
        rows = []
        controls = {
            design["controls"].get(cell, ""): count for cell, count in COUNTS_OF_CELLS.items()
        }
        matched = {**COUNTS_OF_CELLS, **controls}
        for name in design["settings"]:
            cell = cells.get(
                name, {"shared_positions": True, "channel_groups": "channel", "dynamic": False}
            )
            planted = 50 + 2.5 * cell["shared_positions"] + 1.5 * cell["dynamic"]
            planted -= {"channel": 0, "group": 1.3, "all": 4.1}[cell["channel_groups"]]
            parameters = matched.get(name) or self.random.randint(90_000, 400_000)
            macs = self.random.uniform(1e7, 9e7)
            for seed in range(seeds):
                value = planted + blocks[seed] + self.random.gauss(0, 0.4)
                row = {"budget": "short", "setting": name, "seed": seed}
                rows.append(row | self.trial(value, parameters, macs))
        self.write_trials("factorial", rows)
        return design

    def trial(self, value: float, parameters: int, macs: float) -> dict[str, Any]:
        """The columns of a trial that say how it went."""
        digest = hashlib.sha256(str(self.random.random()).encode()).hexdigest()
        return {
            "run_id": digest,
            "state": "finished",
            "epoch": 12.0,
            "top1": value,
            "top5": self.random.uniform(80, 90),
            "loss": self.random.uniform(0.5, 2),
            "best_top1": value + self.random.uniform(0, 1),
            "parameters": parameters,
            "macs": macs,
            "train_images_per_second": self.random.uniform(300, 900),
            "wall_time_s": self.random.uniform(30, 90),
            "world_size": 2,
            "device": "cpu",
            "mlflow_run_id": digest[:32],
            "error": "",
        }

    def write_trials(self, stage: str, rows: list[dict[str, Any]]) -> None:
        """Write a stage's trials.csv."""
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self._publish(stage, "trials.csv", out.getvalue())

    def trials(self, stage: str) -> list[dict[str, Any]]:
        """The rows of a stage's trials.csv, to change and write again."""
        with open(self.root / "results" / stage / "trials.csv", newline="") as file:
            return list(csv.DictReader(file))

    def search(self, **changes: Any) -> dict[str, Any]:
        """Publish a search over mixers, kernels and groups, two seeds a setting; `changes` are of
        search.json.
        """
        space: dict[str, list[Any]] = {
            "mixer": ["dwnet", "dynamic_dwnet"],
            "kernel_size": [3, 7],
            "group_channels": [1, 8],
        }
        data = {
            "manifest": "ab" * 32,
            **SMALL_DATA,
            "dataset": "imagenet",
            "evaluated_on": "held_out",
        }
        search = {
            "task": "classify",
            "metric": "top1",
            "mode": "max",
            "searcher": "grid",
            "scheduler": "none",
            "hold_out": 0.1,
            "space": space,
            "seeds": [0, 1],
            "epochs": 12.0,
            "image_size": 64,
            "data": data,
            "recipe": SMALL_RECIPE,
            "left_out": [{"values": {"mixer": "swin"}, "reason": "has no groups"}],
            "trials": 16,
            "mlflow_run_id": "5e" * 16,
            "commit": None,
            "dirty": True,
            **changes,
        }
        self._publish("tune", "search.json", json.dumps(search, sort_keys=True))
        rows = []
        for mixer, kernel, groups in product(*space.values()):
            parameters, macs = self.random.randint(90_000, 400_000), self.random.uniform(1e7, 9e7)
            for seed in (0, 1):
                value = (
                    40 + kernel - 0.4 * groups + 3 * (mixer == "dwnet") + self.random.gauss(0, 1)
                )
                values = {
                    "mixer": mixer,
                    "kernel_size": kernel,
                    "group_channels": groups,
                    "seed": seed,
                }
                rows.append(values | self.trial(value, parameters, macs))
        self.write_trials("tune", rows)
        values = {"mixer": "dwnet", "kernel_size": 7, "group_channels": 1}
        chosen = [row["top1"] for row in rows if {key: row[key] for key in values} == values]
        best = {
            "metric": "top1",
            "values": values,
            "seeds": [0, 1],
            "mean": fmean(chosen),
            "sd": stdev(chosen),
            "run_ids": [],
            "variant": {"mixer": "dwnet", "size": "micro", "kernel_size": 7},
        }
        self._publish("tune", "best.json", json.dumps(best))
        for name in ("curves", "pareto"):
            (self.root / f"results/tune/{name}.png").write_bytes(tiny_png())
        return search

    def _publish(self, stage: str, name: str, text: str) -> Path:
        path = self.root / "results" / stage / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def call(self) -> Call:
        params = load(self.root / "params.yaml")
        return Call(argparse.Namespace(), params, self.root, Folders(self.root))

    def report(self) -> Path:
        """Make the report, plots and all, and return its folder."""
        return make_report(self.call())

    def material(self) -> Material:
        """What the report is made from."""
        return gather(self.call())

    def rows(self) -> list[dict[str, str]]:
        """The lines of results.csv, without the time that plots take."""
        return list(csv.DictReader(io.StringIO(to_csv(self.material().judged))))

    def text(self) -> str:
        """The text of report.md, without plots."""
        return to_markdown(report(self.material()))

    def texts(self) -> dict[str, str]:
        """report.md and the tables, without plots."""
        material = self.material()
        return {"report.md": to_markdown(report(material)), **tables(material)}


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report of a test does not depend on where this machine records its runs."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def laptop(project: Project) -> Project:
    """What a small run leaves: four mixers, two kernel sizes, three seeds, and the other two
    tasks.
    """
    return fill_laptop(project)


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same with its report made; for tests that only read."""
    project = fill_laptop(Project(tmp_path_factory.mktemp("reported")))
    project.report()
    return project


def fill_laptop(project: Project) -> Project:
    variants: list[tuple[str, str, float, dict[str, Any]]] = [
        ("swin_micro", "swin", 55.0, {}),
        ("dwnet_micro", "dwnet", 57.0, {"kernel_size": 7}),
        ("dwnet_micro_k3", "dwnet", 52.0, {"kernel_size": 3}),
        ("dynamic_dwnet_micro", "dynamic_dwnet", 58.5, {}),
        ("i_dynamic_dwnet_micro", "i_dynamic_dwnet", 58.2, {}),
    ]
    for variant, mixer, base, overrides in variants:
        project.run(
            "classify",
            variant,
            mixer,
            values=[base + project.random.gauss(0, 1.5) for _ in range(3)],
            **overrides,
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
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    pixels = b"".join(b"\0" + b"\x90" * 320 for _ in range(80))
    header = struct.pack(">IIBBBBB", 320, 80, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )
