"""The crate of results: what is in it, its bytes, and what the formats' own readers make of it."""

import json
import shutil
from pathlib import Path

import pytest
from helpers import PROJECT, make_project, run_stage, write_shards

from pipeline.core.errors import UserError
from pipeline.core.files import sha256_file, write_json
from pipeline.packaging.crate import BESIDE, METADATA
from pipeline.params import load

IMAGES = {"train": (3, 2), "val": (2,)}
RECORD = {
    "task": "classify",
    "variant": "dwnet_micro",
    "main_metric": "top1",
    "final": {"top1": 41.5},
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with results, and with the shards of one data set of the three."""
    folder = make_project(tmp_path / "project")
    for name in BESIDE:
        shutil.copyfile(PROJECT / name, folder / name)
    request = load(folder / "params.yaml").data.imagenet.model_dump(mode="json")
    splits = {split: {"samples": sum(sizes), "bytes": 1} for split, sizes in IMAGES.items()}
    write_json(
        folder / "data/raw/imagenet.json", {"request": request, "splits": splits, "digest": "0"}
    )
    write_shards(folder / "data/shards/imagenet", IMAGES["train"], IMAGES["val"])
    write_json(folder / "results/classify/dwnet_micro/metrics.json", RECORD)
    (folder / "results/classify/.gitignore").touch()
    (folder / "results/report").mkdir()
    (folder / "results/report/report.html").write_text("<html></html>")
    return folder


def packed(project: Path) -> dict[str, bytes]:
    run_stage(project, "pipeline.crate")
    crate = project / "crate"
    paths = (path for path in crate.rglob("*") if path.is_file())
    return {path.relative_to(crate).as_posix(): path.read_bytes() for path in paths}


def test_the_same_results_are_the_same_bytes_and_no_image_is_among_them(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = packed(project)
    assert first == packed(project)
    said = capfd.readouterr()
    assert "no Croissant metadata: ade20k, coco" in said.out + said.err
    assert first.keys() == {
        *BESIDE,
        METADATA,
        "params.yaml",
        "datasets/imagenet.json",
        "results/classify/dwnet_micro/metrics.json",
        "results/report/report.html",
    }
    assert not any(str(project).encode() in content for content in first.values())


def test_metadata_names_each_file_and_what_was_measured(project: Path) -> None:
    files = packed(project)
    graph = {entity["@id"]: entity for entity in json.loads(files[METADATA])["@graph"]}
    parts = {part["@id"] for part in graph["./"]["hasPart"]}
    assert parts == files.keys() - {METADATA}
    for name in parts:
        assert graph[name]["sha256"] == sha256_file(project / "crate" / name)
    (measured,) = (entity for entity in graph.values() if entity["@type"] == "PropertyValue")
    assert (measured["name"], measured["value"]) == ("classify dwnet_micro top1", 41.5)
    assert graph["#author-1"]["name"] in files["CITATION.cff"].decode()
    assert {"#library-torch", "#library-ray"} <= graph.keys()


def test_a_path_of_this_machine_stays_here(project: Path) -> None:
    packed(project)
    before = (project / "crate" / METADATA).read_bytes()
    record = project / "results/classify/dwnet_micro/metrics.json"
    write_json(record, {**RECORD, "data": {"source": f"{project}/photographs"}})
    with pytest.raises(UserError, match=r"dwnet_micro/metrics\.json holds /.*a folder of this"):
        packed(project)
    assert (project / "crate" / METADATA).read_bytes() == before


def test_without_a_report_there_is_nothing_to_pack(project: Path) -> None:
    shutil.rmtree(project / "results/report")
    with pytest.raises(UserError, match="no report to pack; run: make repro"):
        packed(project)


def test_rocrate_reads_it(project: Path) -> None:
    rocrate = pytest.importorskip("rocrate.rocrate")
    files = packed(project)
    crate = rocrate.ROCrate(project / "crate")
    assert {entity.id for entity in crate.data_entities} == files.keys() - {METADATA}
    assert crate.license["@id"].endswith("/MIT")


def test_mlcroissant_reads_the_samples_of_the_shards(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = pytest.importorskip("mlcroissant._src.operation_graph.operations.extract")
    mlcroissant = pytest.importorskip("mlcroissant")
    kind = type(extract.EXTRACT_PATH)  # by default in the home folder, by the address alone
    monkeypatch.setattr(extract, "EXTRACT_PATH", kind(tmp_path / "extracted"))
    packed(project)
    described = shutil.copy(project / "crate/datasets/imagenet.json", project)  # beside data/
    dataset = mlcroissant.Dataset(jsonld=str(described))
    assert not dataset.metadata.issues.errors and not dataset.metadata.issues.warnings
    (only,) = dataset.records("classes")
    assert only["classes/index"] == 0
    for split, sizes in IMAGES.items():
        records = list(dataset.records(f"{split}-targets-records"))
        keys = {record[f"{split}-targets-records/key"].decode() for record in records}
        assert keys == {f"{split}{number:05d}" for number in range(sum(sizes))}
        assert {record[f"{split}-targets-records/target"] for record in records} == {0}
