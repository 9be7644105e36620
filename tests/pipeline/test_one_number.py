"""A network has one number of parameters and one of MACs, wherever they stand."""

import json
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

import pytest
from trained import TRAINED

import models
from models.__main__ import describe
from models.counting.macs import count_macs, count_parameters
from pipeline.core import records
from pipeline.params import load
from pipeline.project.call import Call, Folders
from pipeline.report.document import Block, Folded, Table
from pipeline.report.results import read_results
from pipeline.report.tracked import tracked
from pipeline.report.variants import variant_tables
from pipeline.runs.profiling import profile_of
from pipeline.runs.results.files import publish_json
from pipeline.runs.results.profile import ProfileFile
from tests.golden.record import FOLDER

CLASSES, PIXELS = 10, 32


@pytest.mark.parametrize("variant", TRAINED["classify"])
def test_what_was_trained_is_what_is_published_and_what_is_loaded(
    trained: Path, variant: str
) -> None:
    folder = trained / "results" / "classify" / variant
    metrics = json.loads((folder / "metrics.json").read_text())
    record = records.read(
        trained / "runs" / metrics["seeds"][0]["run_id"] / "finished.json", records.Finished
    )
    model = models.load(folder)
    assert record is not None
    for parameters in (metrics["parameters"], record["parameters"]):
        assert parameters == count_parameters(model)
    for macs in (metrics["macs"], record["macs"]):
        assert macs == count_macs(model, PIXELS)["total"]
    assert f"| parameters | {metrics['parameters']:,} |" in (folder / "README.md").read_text()


def shown_of(variant: str, blocks: Iterable[Block]) -> dict[str, str]:
    """Return the variant's row of the first table: classification comes first."""
    table = next(block for block in blocks if isinstance(block, Table))
    (row,) = (row for row in table.rows if f"`{variant}`" in row[0])
    return dict(zip(table.head, row, strict=True))


def test_report_and_table_of_models_say_the_same_and_name_the_papers_classes(trained: Path) -> None:
    params = load(FOLDER / "params.yaml", ["profile.warmup=0", "profile.timed=2"])
    call = Call(Namespace(params=None, set=[], out=None), params, trained, Folders(trained))
    metrics = json.loads((trained / "results/classify/dwnet/metrics.json").read_text())
    folder = trained / "results/profile/dwnet"
    folder.mkdir(parents=True, exist_ok=True)
    profile = profile_of(params, "dwnet", folder.parent)
    publish_json(folder / "profile.json", ProfileFile, profile)

    blocks = list(variant_tables(read_results(call), trained, tracked(params.tracking)))
    shown = shown_of("dwnet", blocks)
    (folded,) = (
        block for block in blocks if isinstance(block, Folded) and "1,000 classes" in block.summary
    )
    at_papers = shown_of("dwnet", folded.blocks)
    own = describe("dwnet_micro", classes=CLASSES)
    paper = describe("dwnet_micro")

    assert own["parameters"] == metrics["parameters"]
    assert paper["parameters"] == profile["parameters"] != own["parameters"]
    assert shown["parameters, M"] == f"{own['parameters'] / 1e6:.2f}"
    assert shown["MACs, G"] == f"{metrics['macs'] / 1e9:.3f}"
    assert at_papers["parameters, M"] == f"{paper['parameters'] / 1e6:.2f}"
    assert at_papers["MACs, G"] == f"{profile['macs'] / 1e9:.3f}"
    assert profile["macs"] - metrics["macs"] == 128 * (1000 - CLASSES)
    assert paper["macs"] - own["macs"] == 128 * (1000 - CLASSES)
    assert (own["classes"], paper["classes"]) == (CLASSES, 1000)
