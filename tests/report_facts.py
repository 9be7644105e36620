"""What a report may say: every number of the results, and what follows from them, computed here a
second time.

Nothing of the report's own code is used: JSON, CSV, NumPy and SciPy.
"""

import csv
import json
import re
from base64 import b64decode
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import integrate, optimize, stats

TASKS = {"classification": "classify", "detection": "detect", "segmentation": "segment"}
MAIN = {"classify": "top1", "detect": "box_ap", "segment": "miou"}
OF_CLASSES = {"classify": "top1", "detect": "box_ap", "segment": "iou"}
MARGIN = {"classify": 0.3, "detect": 0.4, "segment": 0.5}  # of the parameters
CLAIMS = Path(__file__).parents[1] / "pipeline" / "report" / "claims.yaml"

# What is no measurement. Everywhere: the paper's number, a percentage of an interval, the smallest
# p that is written.
CONSTANTS = {"2106.04263", "95", "0.001"}
OF_SECTIONS = {
    "Five questions": {"5", "80", "95", "6", "2021"},
    "How to read this": {
        "0.2",
        "0.3",
        "0.4",
        "0.5",
        "0.1",
        "2",
        "95",
        "100",
        "80",
        "5",
        "0",
        "3",
    },  # tolerances, rules
    "4.": {"5", "80"},  # level and power of the smallest detectable effect
    "1.": {"5", "80", "100"},
    "2.": {"5", "80", "100"},
    "3.": {"100"},
    "5.": {"100"},
}
# Data and length of the paper, and its image size, in brackets behind those of a small run.
PAPER = {
    "1,281,167",
    "50,000",
    "1,000",
    "300",
    "118,287",
    "5,000",
    "80",
    "36",
    "20,210",
    "2,000",
    "150",
    "126",
    "224",
}

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?")
ORDER = ("mixer", "kernel_size", "group_channels")  # in which a setting of the search is named
PAIR = re.compile(r"`([^`]+)` (?:minus|against|took, beside) `([^`]+)`")
MAIN_EFFECTS = {  # as the sentences of questions 1 and 2 call them
    "sharing over positions (yes minus no)": "shared over positions",
    "weights of their own for every channel minus one set a group": "channel − group",
    "weights of their own for every channel minus one set for all": "channel − all",
    "one set of weights a group of channels minus one set for all": "group − all",
    "dynamic weights (minus static)": "dynamic",
}
# Where a column's numbers are among those of an effect, and of a pair.
OF_EFFECT = {
    "points": (0,),
    "95% interval": (1, 2),
    "p": (3,),
    "p, adjusted": (6,),
    "t or F": (7,),
    "stands on": (8, 9),
    "smallest detectable": (4,),
    "runs": (5,),
}
OF_PAIR = {
    "seeds": slice(0, 1),
    "margin": slice(1, 2),
    "points": slice(2, 3),
    "sd": slice(3, 4),
    "95% interval": slice(4, 6),
}
CHANCE = "left beats right, sign-flip p"
MEASURES = ("inference_images_per_second", "train_images_per_second", "peak_memory_mb")
Values = list[float]
Difference = tuple[str, str, str | bool, str | bool]
"""A name, a factor, and the two levels of it that are compared."""


class Facts:
    """The numbers that may stand beside a name, from the results of a project."""

    def __init__(self, root: Path) -> None:
        self.results = root / "results"
        self.of_name: dict[tuple[str, str], Values] = defaultdict(list)
        self.of_task: dict[str, Values] = defaultdict(list)
        self.values: dict[tuple[str, str], dict[int, float]] = {}
        self.costs: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
        self.shown: dict[tuple[str, str], Values] = defaultdict(
            list
        )  # costs in the units that the report has
        self.effects: dict[str, Values] = {}
        self.levels: dict[str, Values] = {}
        self.of_section: dict[str, Values] = defaultdict(list)
        self.quartiles: dict[tuple[str, str], list[Values]] = defaultdict(list)
        self.right: dict[tuple[str, str], dict[int, Any]] = {}
        self.claims = claimed()
        self._pairs: dict[tuple[tuple[str, str], tuple[str, str]], Values] = {}
        for task in TASKS.values():
            for path in sorted((self.results / task).glob("*/metrics.json")):
                metrics = json.loads(path.read_text())
                self._variant(task, path.parent.name, metrics)
                spent = metrics["wall_time_s"] / 60
                self.of_section["Provenance"] += [metrics["world_size"], spent]
        for path in sorted((self.results / "profile").glob("*/profile.json")):
            self._profile(path.parent.name, json.loads(path.read_text()))
        if (self.results / "factorial").is_dir():
            self._factorial(json.loads((self.results / "factorial" / "design.json").read_text()))
        if (self.results / "tune").is_dir():
            self._search(json.loads((self.results / "tune" / "search.json").read_text()))
        for folder in ("factorial", "tune"):
            self.of_section["Factorial" if folder == "factorial" else "Search"] += hours(
                self._rows(folder)
            )
        self.of_section["4."] += hours(self._rows("factorial"))

    def pair(self, left: tuple[str, str], right: tuple[str, str]) -> Values:
        """Seeds, margin, mean, deviation, interval, and ratios of costs of one setting beside
        another.
        """
        if left not in self.values or right not in self.values:
            return []
        if (left, right) not in self._pairs:
            self._pairs[left, right] = self._beside(left, right)
        return self._pairs[left, right]

    def uncertain(self, left: tuple[str, str], right: tuple[str, str]) -> dict[str, Values]:
        """What stands beside the interval over seeds: chances, and intervals over images."""
        if left not in self.values or right not in self.values:
            return {}
        one, other = self.values[left], self.values[right]
        seeds = sorted(one.keys() & other.keys())
        differences = np.array([one[seed] - other[seed] for seed in seeds])
        found: dict[str, Values] = {}
        if len(seeds) > 1:
            flips = np.array(list(product((1, -1), repeat=len(seeds))))
            means = abs(flips @ differences)
            reached = means >= abs(differences.sum()) * (1 - 1e-9) - 1e-12
            share = ((differences > 0) + 0.5 * (differences == 0)).mean()
            found[CHANCE] = [float(reached.mean()), 100 * float(share)]
            found["over seeds"] = interval(differences)
        if seeds and left in self.right and right in self.right:
            mine, yours = self.right[left], self.right[right]
            points = np.array([100.0 * mine[seed] - 100.0 * yours[seed] for seed in seeds])
            found |= over_images(points, differences)
        return found

    def _beside(self, left: tuple[str, str], right: tuple[str, str]) -> Values:
        one, other = self.values[left], self.values[right]
        seeds = sorted(one.keys() & other.keys())
        differences = np.array([one[seed] - other[seed] for seed in seeds])
        found = [len(seeds), MARGIN[left[0]]]
        if len(seeds):
            found.append(differences.mean())
        if len(seeds) > 1:
            found += [differences.std(ddof=1), *interval(differences)]
        for mine, yours in zip(self.costs[left], self.costs[right], strict=False):
            found += [
                a / b for a, b in zip(mine, yours, strict=True) if a and b and a == a and b == b
            ]
        for mine, yours in zip(self.quartiles[left], self.quartiles[right], strict=False):
            found += [mine[0] / yours[1], mine[1] / yours[0]] if mine and yours else []
        return found

    def _variant(self, task: str, name: str, metrics: dict[str, Any]) -> None:
        predictions = self.results / task / name / "predictions.json"
        if predictions.exists():
            self.right[task, name] = {
                row["seed"]: np.unpackbits(
                    np.frombuffer(b64decode(row["bits"]), np.uint8), count=row["images"]
                )
                for row in json.loads(predictions.read_text())["seeds"]
            }
        self._classes(task, self.results / task / name, len(metrics["seeds"]))
        rows, main, data, recipe = metrics["seeds"], MAIN[task], metrics["data"], metrics["recipe"]
        self.of_section["reach"] += [data["train_samples"], recipe["duration"]["epochs"], len(rows)]
        self._sample(task, name, {row["seed"]: row["final"][main] for row in rows})
        found = self.of_name[task, name]
        for metric in rows[0]["final"]:
            found += spread([row["final"][metric] for row in rows])
            found += interval(np.array([row["final"][metric] for row in rows])) if rows[1:] else []
            found += [np.mean([row["best"][metric] for row in rows])]
        for row in rows:
            found += [row["seed"], row["wall_time_s"]]
            found += [row[part][key] for part in ("final", "best") for key in (main, "epoch")]
        speed = float(np.mean([row["train_images_per_second"] for row in rows]))
        samples = [data["train_samples"], data["val_samples"]]
        found += [
            *samples,
            data["classes"],
            metrics["parameters"] / 1e6,
            speed,
            recipe.get("image_size", 0),
        ]
        found += [recipe["duration"]["epochs"] or 0]
        found += [sum(row["wall_time_s"] for row in rows) * metrics["world_size"] / 3600]
        self.of_task[task] += [*samples, metrics["world_size"]]
        macs = [metrics["macs"] / 1e9] if metrics.get("macs") else []
        self.costs[task, name].append([metrics["parameters"], metrics.get("macs") or 0, speed])
        self.shown[task, name] += [metrics["parameters"] / 1e6, *macs, speed]
        found += macs

    def _classes(self, task: str, folder: Path, seeds: int) -> None:
        """Means of single classes, and of how many images of one were taken for another."""
        if (folder / "per_class.csv").exists():
            values: dict[str, Values] = defaultdict(list)
            with open(folder / "per_class.csv", newline="") as file:
                for row in csv.DictReader(file):
                    values[row["class"]].append(float(row[OF_CLASSES[task]]))
            for name, found in values.items():
                self.of_name[task, name].append(float(np.mean(found)))
            self.of_section["By class"] += [len(values), min(20, len(values))]
        if (folder / "confused.csv").exists():
            images: dict[tuple[str, str], float] = defaultdict(float)
            with open(folder / "confused.csv", newline="") as file:
                for row in csv.DictReader(file):
                    images[row["label"], row["guess"]] += float(row["images"]) / seeds
            for (label, _), count in images.items():
                self.of_name[task, label].append(count)

    def _profile(self, name: str, profile: dict[str, Any]) -> None:
        task = "classify"
        costs = [
            profile["parameters"],
            profile["macs"],
            *(profile[measure] for measure in MEASURES),
        ]
        scaled = [
            profile["parameters"] / 1e6,
            profile["macs"] / 1e9,
            *costs[2:],
            profile["image_size"],
        ]
        self.of_name[task, name] += [*scaled, 1]
        for key in ("inference_quartiles", "train_quartiles"):
            self.of_name[task, name] += profile.get(key) or []
            self.quartiles[task, name].append(profile.get(key) or [])
        self.costs[task, name].append(costs)
        self.shown[task, name] += scaled[:-1]
        protocol = [profile[key] for key in ("warmup", "timed", "batch_size", "image_size")]
        self.of_task[task] += protocol
        self.of_section["3."] += protocol

    def _sample(self, task: str, name: str, values: dict[int, float]) -> None:
        self.values[task, name] = values
        self.of_name[task, name] += [
            len(values),
            *spread(list(values.values())),
            *values.values(),
            *values,
        ]

    def _rows(self, folder: str) -> list[dict[str, str]]:
        path = self.results / folder / "trials.csv"
        if not path.exists():
            return []
        with open(path, newline="") as file:
            return list(csv.DictReader(file))

    def _trials(self, task: str, names: Iterable[tuple[str, dict[str, str]]], metric: str) -> None:
        """Rows of trials.csv by the name that the report gives to their setting."""
        rows: dict[str, list[dict[str, str]]] = defaultdict(list)
        for name, row in names:
            rows[name].append(row)
            shown = [row[key] for key in ("seed", "epoch", metric, f"best_{metric}", "wall_time_s")]
            self.of_name[task, name] += [float(value) for value in shown if value]
        for name, found in rows.items():
            done = [row for row in found if row["state"] == "finished"]
            if done:
                self._sample(task, name, {int(row["seed"]): float(row[metric]) for row in done})
                costs = [float(done[0]["parameters"]), float(done[0]["macs"] or "nan")]
                costs.append(
                    float(np.mean([float(row["train_images_per_second"]) for row in done]))
                )
                self.shown[task, name] += [costs[0] / 1e6, costs[1] / 1e9, costs[2]]
                self.of_name[task, name] += self.shown[task, name]
                self.costs[task, name].append(costs)

    def _factorial(self, design: dict[str, Any]) -> None:
        rows, metric = self._rows("factorial"), design["metric"]
        self._trials(design["task"], ((row["setting"], row) for row in rows), metric)
        data = [design["data"][key] for key in ("train_samples", "val_samples", "classes")]
        self.of_section["Factorial"] += [len(design["seeds"]), design["image_size"], *data]
        self.of_section["Factorial"] += [budget["epochs"] for budget in design["budgets"].values()]
        done = [
            row for row in rows if row["state"] == "finished" and row["setting"] in design["cells"]
        ]
        values = {(row["setting"], int(row["seed"])): float(row[metric]) for row in done}
        if len(values) == len(design["cells"]) * len(design["seeds"]):
            self.effects, scatter = effects(design["cells"], values, design["seeds"])
            self.levels = levels(design["cells"], values, design["seeds"])
            found = [values[4] for values in self.effects.values()]
            self.of_section["detectable"] = [value for value in found if value == value]
            self.of_section["4."] += [*scatter, len(design["seeds"])]

    def _search(self, search: dict[str, Any]) -> None:
        rows, metric = self._rows("tune"), search["metric"]
        named = (
            (", ".join(row[key] if key == "mixer" else f"{key} {row[key]}" for key in ORDER), row)
            for row in rows
        )
        self._trials(search["task"], named, metric)
        best = json.loads((self.results / "tune" / "best.json").read_text())
        data = search["data"]
        self.of_section["Search"] += [
            len(search["seeds"]),
            search["epochs"],
            search["image_size"],
            data["train_samples"],
            data["val_samples"],
            data["classes"],
            100 * search["hold_out"],
            *Counter(row["state"] for row in rows).values(),
        ]
        if best["values"]:
            self.of_section["Search"] += floor(rows, search, best["mean"])
            self.of_section["Search"] += [best["mean"], best["sd"] or 0.0, len(best["seeds"])]


def floor(rows: list[dict[str, str]], search: dict[str, Any], best: float) -> Values:
    """The best of equal settings by luck: how many, on how many images, what it would show, how far
    that is from the mean, and how far the best one is.
    """
    settings: dict[tuple[str, ...], Values] = defaultdict(list)
    for row in rows:
        settings[tuple(row[key] for key in search["space"])].append(float(row[search["metric"]]))
    images = round(search["hold_out"] * search["data"]["train_samples"])
    mean = float(np.mean([np.mean(values) for values in settings.values()]))
    inside = sum(((np.array(values) - np.mean(values)) ** 2).sum() for values in settings.values())
    freedom = sum(len(values) - 1 for values in settings.values())
    variance = mean * (100 - mean) / images
    if freedom:
        variance += inside / freedom * np.mean([1 / len(values) for values in settings.values()])
    count = len(settings)
    highest = integrate.quad(
        lambda x: x * count * stats.norm.pdf(x) * stats.norm.cdf(x) ** (count - 1), -9, 9
    )[0]
    above = highest * float(np.sqrt(variance))
    return [count, images, mean + above, above, best - mean]


def spread(values: list[float]) -> Values:
    """Mean and sample standard deviation."""
    return [float(np.mean(values)), *([float(np.std(values, ddof=1))] if len(values) > 1 else [])]


def interval(differences: Any) -> Values:
    """The 95% t-interval of a mean."""
    if differences.std() == 0:
        return [differences.mean()]
    return list(
        stats.t.interval(0.95, len(differences) - 1, differences.mean(), stats.sem(differences))
    )


def over_images(points: Any, differences: Any) -> dict[str, Values]:
    """Intervals over images, and over images and seeds, of differences (seeds, images)."""
    seeds, images = points.shape
    values, counts = np.unique(points.mean(0), return_counts=True)
    draws = np.random.default_rng(0).multinomial(images, counts / images, 9999)
    means = (draws * values).sum(1) / images
    found = {"images": [float(images)], "over images": list(np.percentile(means, [2.5, 97.5]))}
    if seeds > 1:
        error = stats.sem(differences) ** 2
        rest = max(0.0, means.var() - points.var(0, ddof=1).mean() / seeds / images)
        freedom = (seeds - 1) * ((error + rest) / error) ** 2
        half = stats.t.ppf(0.975, freedom) * np.sqrt(error + rest)
        found["over both"] = [differences.mean() - half, differences.mean() + half]
    return found


def hours(rows: list[dict[str, str]]) -> Values:
    """Wall time times workers, by device."""
    spent: dict[str, float] = defaultdict(float)
    for row in rows:
        spent[row["device"]] += float(row["wall_time_s"]) * float(row["world_size"]) / 3600
    return list(spent.values())


def effects(
    cells: dict[str, Any], values: dict[tuple[str, int], float], seeds: list[int]
) -> tuple[dict[str, Values], Values]:
    """Effects of a whole factorial design from means alone: by name, and the scatter with its degrees
    of freedom.
    """
    table = np.array([[values[cell, seed] for seed in seeds] for cell in cells])
    residuals = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + table.mean()
    freedom = (len(cells) - 1) * (len(seeds) - 1)
    variance = (residuals**2).sum() / freedom
    axes: dict[str, list[Difference]] = {
        "shared over positions": [("shared over positions", "shared_positions", True, False)],
        "channel groups": [
            (f"{left} − {right}", "channel_groups", left, right)
            for left, right in combinations(("channel", "group", "all"), 2)
        ],
        "dynamic": [("dynamic", "dynamic", True, False)],
    }
    tested: dict[str, Values] = {}
    terms: dict[str, list[str]] = defaultdict(list)
    for order in (1, 2, 3):
        for chosen in combinations(axes.items(), order):
            for parts in product(*(pairs for _, pairs in chosen)):
                weights = np.ones(len(cells))
                for _, key, left, right in parts:
                    weights *= [
                        (cell[key] == left) * 1.0 - (cell[key] == right) for cell in cells.values()
                    ]
                weights /= (weights > 0).sum() / 2 ** (order - 1)
                name = (
                    parts[0][0]
                    if order == 1
                    else " × ".join(f"({p[0]})" if "−" in p[0] else p[0] for p in parts)
                )
                rank = 2 if any(key == "channel_groups" for _, key, *_ in parts) else 1
                tested[name] = _tested(weights, table, variance, freedom, rank)
                terms[" × ".join(name for name, _ in chosen)].append(name)
    for name, pairs in list(terms.items()):
        if len(pairs) > 1:  # of three equal differences' squares, two thirds are the sum of squares
            f = sum(tested[pair][7] ** 2 for pair in pairs) / 3
            terms[f"{name} as a whole"] = terms.pop(name)
            p = stats.f.sf(f, 2, freedom)
            tested[f"{name} as a whole"] = [np.nan, np.nan, np.nan, p, np.nan, np.nan, p, f]
            tested[f"{name} as a whole"] += [2, freedom]
    _raise(tested, terms)
    return tested, [float(np.sqrt(variance)), freedom]


def levels(cells: dict[str, Any], values: dict[tuple[str, int], float], seeds: list[int]) -> Any:
    """Main effects at each level of other factors, by the names that the report gives them."""
    table = np.array([[values[cell, seed] for seed in seeds] for cell in cells])
    residuals = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + table.mean()
    freedom = (len(cells) - 1) * (len(seeds) - 1)
    variance = (residuals**2).sum() / freedom
    mains: list[Difference] = [("shared over positions", "shared_positions", True, False)]
    groups = ("channel", "group", "all")
    mains += [(f"{a} − {b}", "channel_groups", a, b) for a, b in combinations(groups, 2)]
    mains += [("dynamic", "dynamic", True, False)]
    words = {
        ("shared_positions", True): "shared over positions",
        ("shared_positions", False): "per position",
        ("channel_groups", "channel"): "per channel",
        ("channel_groups", "group"): "per group",
        ("channel_groups", "all"): "shared by all channels",
        ("dynamic", True): "dynamic",
        ("dynamic", False): "static",
    }
    found = {}
    for name, key, left, right in mains:
        others = [[place for place in words if place[0] == other] for other in AXES if other != key]
        for places in [*([one] for part in others for one in part), *product(*others)]:
            weights = np.array(
                [
                    all(cell[other] == level for other, level in places)
                    * ((cell[key] == left) * 1.0 - (cell[key] == right))
                    for cell in cells.values()
                ]
            )
            weights /= (weights > 0).sum()
            label = ", ".join([name, *(words[place] for place in places)])
            found[label] = _tested(weights, table, variance, freedom, 1)
    return found


AXES = ("shared_positions", "channel_groups", "dynamic")


def _tested(weights: Any, table: Any, variance: float, freedom: int, rank: int) -> Values:
    """Estimate, interval, p, smallest detectable, runs, a place for the adjusted p, and t."""
    estimate = weights @ table.mean(1)
    error = np.sqrt(variance * (weights**2).sum() / table.shape[1])
    half = stats.t.ppf(0.975, freedom) * error
    t = estimate / error
    p = 2 * stats.t.sf(abs(t), freedom)
    runs = int((weights != 0).sum()) * table.shape[1]
    found = detectable(freedom, rank) * error
    return [estimate, estimate - half, estimate + half, p, found, runs, p, t]


def _raise(tested: dict[str, Values], terms: dict[str, list[str]]) -> None:
    """Put the adjusted p in its place: the lowest level at which the steps tell apart."""
    families = [
        [tested[name if len(pairs) > 1 else pairs[0]][3], *(tested[pair][3] for pair in pairs)]
        for name, pairs in terms.items()
    ]
    tries = sorted(
        {1.0, *(min(1.0, n * p) for family in families for p in family for n in range(1, 8))}
    )
    for values in tested.values():
        values[6] = 1.0
    for level in reversed(tries):
        told = _steps(families, level + 1e-12)
        for (name, pairs), found in zip(terms.items(), told, strict=True):
            for one, apart in zip([name, *pairs], found, strict=True):
                if apart and one in tested:
                    tested[one][6] = level


def _steps(families: list[Values], level: float) -> list[list[bool]]:
    """What is told apart at a level: a term's p opens its pairs, a cleared term leaves its share."""
    told = [[False] * len(family) for family in families]
    while True:
        share = level / max(1, sum(not all(found) for found in told))
        new = [
            [found[at] or (p <= share and (at == 0 or found[0])) for at, p in enumerate(family)]
            for family, found in zip(families, told, strict=True)
        ]
        if new == told:
            return told
        told = new


@cache
def detectable(freedom: int, rank: int) -> float:
    """The noncentrality that the rule over seven terms finds in 80%, a pair's third level midway."""
    level = 0.05 / 7
    limit = stats.t.ppf(1 - level / 2, freedom) ** 2
    of_term = 2 * stats.f.isf(level, 2, freedom)
    scatter = np.sqrt(stats.chi2.ppf((np.arange(500) + 0.5) / 500, freedom) / freedom)

    def lacking(shift: float) -> float:
        if rank == 1:
            return float(stats.nct.sf(np.sqrt(limit), freedom, shift) - 0.8)
        x = np.linspace(shift - 8, shift + 8, 801)[:, None]
        rest = np.maximum(of_term * scatter**2 - x**2, 0.0)  # what the other direction must add
        found = stats.chi2.sf(rest, 1) * (x**2 > limit * scatter**2)
        mass = stats.norm.pdf(x - shift)
        return float((found.mean(1) * mass[:, 0]).sum() / mass.sum() - 0.8)

    return float(optimize.brentq(lacking, 1.5, 20, xtol=1e-4))


def claimed() -> Values:
    """Every number of claims.yaml, those in the names of its tables and networks too."""
    rows = yaml.safe_load(CLAIMS.read_text())
    named = (
        number
        for row in rows
        for number in NUMBER.findall(f"{row['table']} {row['model']}".replace("/", " "))
    )
    return [*(float(value) for row in rows for value in row["values"].values()), *map(float, named)]


def is_one_of(token: str, values: Iterable[float]) -> bool:
    """Whether a number as written is one of these values, rounded as it is."""
    bare = token.lstrip("+-").replace(",", "")
    number = float(bare)
    half = (
        0.5 * 10.0 ** -len(bare.partition(".")[2]) + 1e-9
    )  # on the edge of two roundings a value may fall either way
    return any(
        (abs(abs(value) - number) <= half or bare in (f"{abs(value):.3g}", f"{abs(value):.4g}"))
        and (number == 0 or _sign(token, value))
        for value in values
    )


def _sign(token: str, value: float) -> bool:
    return value >= 0 if token[0] == "+" else value < 0 if token[0] == "-" else True


def unfound(markdown: str, facts: Facts) -> list[str]:
    """Every number of a report that its results do not hold where it stands, with the line it is
    in.
    """
    section = heading = ""
    head: list[str] = []  # of the table
    seeds: set[float] = set()  # of the pairs under a heading
    lost: list[str] = []
    lines = markdown.splitlines()
    for place, line in enumerate(lines):
        if line.startswith("#"):
            section, heading = (
                (line[3:], "") if line.startswith("## ") else (section, line.strip("# "))
            )
            seeds = set()
            continue
        pairs = PAIR.findall(line)
        tasks = tasks_of(line) or tasks_of(heading) or list(TASKS.values())
        seeds |= {
            facts.pair((task, left), (task, right))[0]
            for task in tasks
            for left, right in pairs
            if (task, left) in facts.values and (task, right) in facts.values
        }
        if count := re.search(r"<summary>.*: (\d+) published numbers", line):
            below = lines[place + 4 : lines.index("</details>", place)]
            held = sum(row.split(" | ")[2].count(";") + 1 for row in below if row.startswith("| "))
            lost += [] if int(count.group(1)) == held else [f"{count.group(1)} in: {line}"]
            continue
        cells = line.strip("| ").split(" | ") if line.startswith("| ") else [line]
        if lines[place + 1 : place + 2] and lines[place + 1].startswith("| ---"):
            head = cells
        for column, cell in enumerate(cells):
            over = head[column] if line.startswith("| ") and column < len(head) else ""
            for piece, values, constants in _pieces(
                facts, section, heading, line, cell, over, tasks, seeds
            ):
                tokens = NUMBER.findall(
                    plain(piece.replace("/", " ") if section == "Not run" else piece)
                )
                lost += [
                    f"{t} in: {line}"
                    for t in tokens
                    if t not in constants and not is_one_of(t, values)
                ]
    return lost


def plain(text: str) -> str:
    """A text without names, links and words that hold a digit, as top-1 does."""
    text = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", " ", text))
    return re.sub(r"question \d|(?<![\w.])[A-Za-z_][\w-]*", " ", text)


def tasks_of(text: str) -> list[str]:
    """The tasks that a text names."""
    return [task for word, task in TASKS.items() if word in text.lower()]


def _pieces(
    facts: Facts,
    section: str,
    heading: str,
    line: str,
    cell: str,
    over: str,
    tasks: list[str],
    seeds: set[float],
) -> Iterator[tuple[str, Values, set[str]]]:
    """A cell or line in pieces, each with the numbers and the constants that may stand in it."""
    question = heading[:2] if section == "Five questions" else ""
    constants = CONSTANTS | OF_SECTIONS.get(question or section, set())
    if (section, over) == ("", "the paper"):
        yield cell, facts.claims, constants
    elif not section and line.startswith("> "):
        yield cell, facts.of_section["reach"], constants
    elif section == "Provenance":
        yield cell, facts.of_section[section], constants
    elif section == "Not run" or (
        section == "Measured beside published" and over.startswith("published")
    ):
        yield cell, facts.claims, constants
    elif line.startswith("**How sure:**"):
        ends = [min(seeds), max(seeds)] if seeds else []
        yield cell, [*ends, *facts.of_section[question], *[0.0] * (0.0 in seeds)], constants
    elif found := [part for part in re.split(r"\*\*([^*]+)\*\*", line) if line.startswith("- ")][
        1:
    ]:
        shared = facts.of_section["detectable"] if question == "4." else []
        effects_here = [MAIN_EFFECTS.get(name, name) in facts.effects for name in found[::2]]
        if not any(effects_here):
            yield cell, _of_line(facts, section, question, line, tasks), constants
            return
        for name, rest in zip(found[::2], found[1::2], strict=True):
            effect = MAIN_EFFECTS.get(name, name)
            simple = [v[:3] for at, v in facts.levels.items() if at.startswith(f"{effect}, ")]
            yield (
                rest,
                [*facts.effects[effect], *shared, *(n for v in simple for n in v)],
                constants,
            )
    elif shown := next((name for name in facts.effects if f"| {name} |" in line), None):
        values = facts.effects[shown]
        yield cell, [n for at in OF_EFFECT.get(over, ()) for n in values[at : at + 1]], constants
    elif level := next((name for name in facts.levels if line.startswith(f"| {name} |")), None):
        yield cell, [facts.levels[level][place] for place in OF_EFFECT.get(over, ())], constants
    elif over in ("over seeds", "over images", "over both", "images", CHANCE):
        beside = [
            value
            for task in tasks
            for left, right in PAIR.findall(line)
            for value in facts.uncertain((task, left), (task, right)).get(over, [])
        ]
        yield cell, beside, constants
    elif over in OF_PAIR and (pairs := PAIR.findall(line)):
        numbers = [
            facts.pair((task, left), (task, right)) for task in tasks for left, right in pairs
        ]
        yield cell, [value for pair in numbers for value in pair[OF_PAIR[over]]], constants
    else:
        yield (
            cell,
            _of_line(facts, section, question, line, tasks),
            constants | (PAPER if "Why this is" in line or "training images (" in line else set()),
        )


def _of_line(facts: Facts, section: str, question: str, line: str, tasks: list[str]) -> Values:
    """The numbers of the pairs that a line is about; else of the names in it; else of its task and
    section.
    """
    if pairs := PAIR.findall(line):
        return [
            value
            for task in tasks
            for left, right in pairs
            for value in [
                *facts.pair((task, left), (task, right)),
                *facts.shown[task, left],
                *facts.shown[task, right],
            ]
        ]
    names = [
        name
        for name in re.findall(r"`([^`]+)`", line)
        if any((task, name) in facts.of_name for task in tasks)
    ]
    if names:
        extra = (
            facts.of_section[section]
            if line.startswith("- ") and section in ("Search", "Factorial")
            else []
        )
        return [
            value
            for task in tasks
            for name in names
            for value in facts.of_name.get((task, name), [])
        ] + extra
    of_tasks = (
        []
        if section in ("Search", "Factorial")
        else [value for task in tasks for value in facts.of_task[task]]
    )
    return [*of_tasks, *facts.of_section[question or section]]
