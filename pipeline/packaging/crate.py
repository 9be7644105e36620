"""Results, parameters and licence as one RO-Crate 1.1: each file, the commit, authors, libraries.

The same results give the same bytes: nothing in it is of the hour or the machine that packs it.
"""

import json
import mimetypes
import re
import shutil
import tomllib
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import UserError
from pipeline.core.files import sha256_file, whole_folder, write_json
from pipeline.packaging.croissant import croissant
from pipeline.params import TASKS
from pipeline.params.registry import Origin
from pipeline.project import git
from pipeline.project.call import Call
from pipeline.shards.manifest import Manifest

METADATA = "ro-crate-metadata.json"
LICENSE = "https://spdx.org/licenses/MIT"
PAPER = "https://arxiv.org/abs/2106.04263"
BESIDE = ("CITATION.cff", "LICENSE", "pyproject.toml", "requirements.lock")
"""Files of the project that say how the results came about."""
MEDIA = {".safetensors": "application/octet-stream", ".md": "text/markdown", ".lock": "text/plain"}

Entity = dict[str, Any]


def write_crate(call: Call, folder: Path) -> list[str]:
    """Write the crate, whole or not at all; return the data sets without shards, of which nothing
    is in it.

    Raises:
        UserError: there are no results, or a file names the folder that the project lies in.
    """
    results = call.folders.results()
    if not (results / "report").is_dir():
        raise UserError(f"{results} has no report to pack; run: make repro")

    commit, dirty = git.commit(call.project)
    day = _day(call.project, commit, results)

    with whole_folder(folder) as crate:
        ignored = shutil.ignore_patterns(".*")  # DVC's and git's own
        shutil.copytree(results, crate / "results", ignore=ignored)
        shutil.copyfile(call.project / (call.args.params or "params.yaml"), crate / "params.yaml")
        for name in BESIDE:
            shutil.copyfile(call.project / name, crate / name)
        missing = _write_datasets(call, crate / "datasets", day)
        _refuse_paths(call.project, crate)
        write_json(crate / METADATA, _metadata(crate, day, commit, dirty))

    return missing


def _write_datasets(call: Call, folder: Path, day: str) -> list[str]:
    """Write the Croissant metadata of each data set that a task reads; return those whose shards
    are not there.
    """
    folder.mkdir()
    missing = []
    for name in sorted({getattr(call.params, task).dataset for task in TASKS}):
        try:
            manifest = Manifest.load(call.shards(name))
        except UserError:
            missing.append(name)
            continue

        drawn = getattr(call.params.data, name).source == "synthetic"
        origin = Origin("drawn images", PAPER, LICENSE)
        write_json(folder / f"{name}.json", croissant(manifest, drawn, origin, day))
    return missing


def _metadata(crate: Path, day: str, commit: str | None, dirty: bool) -> Entity:
    """Return the crate's JSON-LD: itself, its files, the code, authors and libraries."""
    cited = yaml.safe_load((crate / "CITATION.cff").read_text())
    files = [_file(crate, path) for path in sorted(crate.rglob("*")) if path.is_file()]
    authors = [
        {"@id": f"#author-{number}", "@type": "Organization", "name": author["name"]}
        for number, author in enumerate(cited["authors"], start=1)
    ]
    libraries = list(_libraries(crate / "pyproject.toml"))
    measured = list(_measured(crate))

    code = {
        "@id": "#code",
        "@type": "SoftwareSourceCode",
        "name": cited["title"],
        "version": f"{commit or cited['version']}{' with local changes' if dirty else ''}",
        "softwareRequirements": _ids(libraries),
    }

    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Results: {cited['title']}",
        "description": cited["abstract"],
        "datePublished": day,
        "license": {"@id": LICENSE},
        "author": _ids(authors),
        "publisher": _ids(authors),
        "citation": {"@id": PAPER},
        "hasPart": _ids(files),
        "mentions": {"@id": "#code"},
        "variableMeasured": _ids(measured),
    }

    about = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }
    paper = {
        "@id": PAPER,
        "@type": "ScholarlyArticle",
        "name": cited["references"][0]["title"],
    }
    terms = {"@id": LICENSE, "@type": "CreativeWork", "name": "MIT License"}

    graph = [about, root, code, terms, paper, *authors, *libraries, *measured, *files]
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}


def _file(crate: Path, path: Path) -> Entity:
    name = path.relative_to(crate).as_posix()
    media = MEDIA.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"

    return {
        "@id": name,
        "@type": "File",
        "name": name,
        "contentSize": str(path.stat().st_size),
        "encodingFormat": media,
        "sha256": sha256_file(path),
    }


def _libraries(pyproject: Path) -> list[Entity]:
    """Return what the project stands on, in the versions that are installed."""
    needed = tomllib.loads(pyproject.read_text())["project"]["dependencies"]
    names = sorted(re.split(r"[\[<>=~!; ]", line, maxsplit=1)[0] for line in needed)

    return [
        {
            "@id": f"#library-{name}",
            "@type": "SoftwareApplication",
            "name": name,
            "version": _version(name),
        }
        for name in names
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _measured(crate: Path) -> list[Entity]:
    """Return the main metric of each trained variant, as its metrics.json has it."""
    values = []
    for path in sorted(crate.glob("results/*/*/metrics.json")):
        record = json.loads(path.read_text())
        metric = record.get("main_metric")
        if metric is None:
            continue

        name = f"{record['task']} {record['variant']} {metric}"
        values.append(
            {
                "@id": f"#measured-{name.replace(' ', '-')}",
                "@type": "PropertyValue",
                "name": name,
                "value": record["final"][metric],
            }
        )

    return values


def _ids(entities: list[Entity]) -> Entity | list[Entity]:
    """Return references to entities; one stands alone, as JSON-LD of a crate has it."""
    ids: list[Entity] = [{"@id": entity["@id"]} for entity in entities]
    return ids[0] if len(ids) == 1 else ids


def _refuse_paths(project: Path, crate: Path) -> None:
    """Refuse a file that names the folder of this machine that the project lies in."""
    here = str(project.resolve()).encode()
    for path in sorted(crate.rglob("*")):
        if path.is_file() and here in path.read_bytes():
            raise UserError(
                f"{path.relative_to(crate)} holds {project.resolve()}, a folder of this machine; "
                "name data by paths within the project, and run: make repro"
            )


def _day(project: Path, commit: str | None, results: Path) -> str:
    """Return the day of the commit; outside git that of the newest result."""
    committed = git.day(project, commit) if commit else None
    newest = max(path.stat().st_mtime for path in results.rglob("*"))
    return committed or datetime.fromtimestamp(newest, UTC).date().isoformat()
