"""The search's settings as a picture: every mean, interval and number of seeds, on one scale."""

import csv
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

NUMBER = re.compile(r"<text[^>]*>(.*?)</text>", re.DOTALL)


def rewritten(project: Any, keep: tuple[str, ...]) -> None:
    """Leave only these axes to the published search, the first value of the others."""
    folder = project.root / "results/tune"
    search = json.loads((folder / "search.json").read_text())
    dropped = {key: values[0] for key, values in search["space"].items() if key not in keep}
    for key in dropped:
        search["space"][key] = search["space"][key][:1]
    (folder / "search.json").write_text(json.dumps(search))
    with open(folder / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [row for row in rows if all(row[key] == str(v) for key, v in dropped.items())]
    with open(folder / "trials.csv", "w", newline="") as file:
        out = csv.DictWriter(file, list(kept[0]))
        out.writeheader()
        out.writerows(kept)


def settings(project: Any) -> dict[tuple[str, ...], list[float]]:
    with open(project.root / "results/tune/trials.csv", newline="") as file:
        found: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for row in csv.DictReader(file):
            names = ("mixer", "kernel_size", "group_channels")
            found[tuple(row[name] for name in names)].append(float(row["top1"]))
    return found


def words(path: Path) -> list[str]:
    return [
        " ".join(re.sub(r"<[^>]*>", " ", text).split()) for text in NUMBER.findall(path.read_text())
    ]


def test_two_parameters_are_maps_with_mean_interval_and_seeds(laptop: Any) -> None:
    laptop.search()
    shown = words(laptop.report() / "search_settings.svg")
    for values in settings(laptop).values():
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        half = (high - low) / 2
        assert f"{np.mean(values):.1f} ± {half:.1f}" in shown
    assert shown.count("n = 2") == len(settings(laptop))
    assert "channels that share a weight" in shown and "kernel size" in shown


def test_one_parameter_is_a_line_for_each_mixer(laptop: Any) -> None:
    laptop.search()
    rewritten(laptop, ("mixer", "kernel_size"))
    folder = laptop.report()
    shown = words(folder / "search_settings.svg")
    kernels = sorted({int(kernel) for _, kernel, _ in settings(laptop)})
    assert [text for text in shown if text.isdigit() and int(text) in kernels] != []
    assert {mixer for mixer, _, _ in settings(laptop)} <= set(shown)
    report = (folder / "report.md").read_text()
    assert "means over seeds with 95% intervals" in report
    assert report.count("search_settings.svg") == 1


def test_where_the_mixer_alone_varies_there_is_no_such_picture(laptop: Any) -> None:
    laptop.search()
    rewritten(laptop, ("mixer",))
    folder = laptop.report()
    assert not (folder / "search_settings.svg").exists()
    assert "search_settings" not in (folder / "report.md").read_text()
