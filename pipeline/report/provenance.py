"""Where the numbers of a report come from: code, data, device and time of each training, and the
libraries of whoever wrote the report.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.core.files import sha256_file
from pipeline.report.claims import TASK_NAMES
from pipeline.report.document import Block, Paragraph, Table, code, plain
from pipeline.report.results import Results
from pipeline.runs.results.training import Metrics

HEAD = ["configuration", "code", "data", "manifest", "device", "workers", "minutes"]
CAPTION = "Each training: commit and its day, and the digest of its shards' manifest."
SHOWN = 10
"""Digits of a digest."""
LIBRARIES = ("torch", "torchvision", "timm", "ray", "mlflow", "dvc", "webdataset", "pillow")
LOCK = "requirements.lock"


def provenance(results: Results, dated: Mapping[str, str], project: Path) -> list[Block]:
    """Return a table of the trainings, and a line about the libraries."""
    rows = [
        _row(f"{TASK_NAMES[result.task]} `{result.name}`", result.metrics, dated)
        for result in results.run
        if result.metrics
    ]
    table = Table(HEAD, rows, frozenset({5, 6}), CAPTION)
    return [*([table] if rows else []), Paragraph(_libraries(project / LOCK))]


def _row(name: str, metrics: Metrics, dated: Mapping[str, str]) -> list[str]:
    commit = metrics.commit
    words = [code(commit[:SHOWN]) if commit else "unknown"]
    words += [code(dated[commit])] if commit and commit in dated else []
    words += ["with changes"] if metrics.dirty else []

    return [
        name,
        ", ".join(words),
        f"{plain(metrics.data.dataset)}, {code(metrics.data.source)}",
        code(metrics.data.manifest[:SHOWN]),
        code(metrics.device),
        str(metrics.world_size),
        f"{metrics.wall_time_s / 60:.1f}",
    ]


def _libraries(lock: Path) -> str:
    """Name the versions with which this page was made."""
    versions = [code(f"{name} {release}") for name in LIBRARIES if (release := _version(name))]
    python = ".".join(str(part) for part in sys.version_info[:3])
    pinned = f"; `{LOCK}` is {code(sha256_file(lock)[:SHOWN])}" if lock.is_file() else ""
    return f"This page was made with {code(f'Python {python}')}, {', '.join(versions)}{pinned}."


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
