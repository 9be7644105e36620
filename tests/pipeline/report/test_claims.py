"""The published numbers as data."""

from pathlib import Path

import pytest
import torch
import yaml

from models import create_model
from models.counting.macs import count_parameters
from pipeline.core.errors import UserError
from pipeline.params import Variant
from pipeline.report.claims import CLAIMS, METRICS, load_claims
from pipeline.report.results import VariantResult
from pipeline.report.verdict import matches

# Counted on the authors' networks with 1,000 classes.
EXACT_PARAMETERS = {
    ("dwnet", "tiny"): 24_172_744,
    ("dynamic_dwnet", "tiny"): 51_131_752,
    ("i_dynamic_dwnet", "tiny"): 26_244_280,
    ("dwnet", "base"): 74_347_112,
    ("dynamic_dwnet", "base"): 161_597_928,
    ("i_dynamic_dwnet", "base"): 80_253_608,
    ("swin", "tiny"): 28_288_354,
    ("swin", "small"): 49_606_258,
    ("swin", "base"): 87_768_224,
}
HEADS = {"detect": {"tiny": 58.11, "base": 58.23}, "segment": {"tiny": 32.42, "base": 34.53}}
CLASSIFIER = {"tiny": 0.769, "base": 1.025}


def test_every_claim_is_well_formed_and_has_an_id_of_its_own() -> None:
    claims = load_claims()
    ids = [claim.id for claim in claims]
    assert len(claims) > 200
    assert len(set(ids)) == len(ids)
    for claim in claims:
        assert claim.metric in METRICS
        assert claim.unit == METRICS[claim.metric].unit
        assert claim.row.source


def test_confidence_follows_the_source() -> None:
    for claim in load_claims():
        read = claim.row.source.startswith("README of ")
        assert claim.published == read, claim.id
        assert claim.row.source.startswith("README of " if read else "recalled from "), claim.id


def test_sources_name_no_place_on_the_web() -> None:
    text = CLAIMS.read_text()
    assert "http" not in text
    assert ".md" not in text


def test_published_headlines_are_there() -> None:
    published = {
        (c.row.task, c.row.mixer, c.row.size, c.metric): c.value
        for c in load_claims()
        if c.published
    }
    assert published["classify", "dwnet", "tiny", "top1"] == 81.2
    assert published["classify", "dynamic_dwnet", "tiny", "top1"] == 81.8
    assert published["classify", "swin", "base", "top1"] == 83.5
    assert published["detect", "dwnet", "base", "box_ap"] == 51.0
    assert published["detect", "dynamic_dwnet", "tiny", "mask_ap"] == 43.7
    assert published["segment", "dynamic_dwnet", "base", "miou"] == 48.0
    assert published["segment", "swin", "tiny", "miou_multiscale"] == 45.81


def test_the_other_local_transformers_and_the_concurrent_works_are_there_as_recalled() -> None:
    tables = ("other local transformers", "concurrent works")
    claims = [claim for claim in load_claims() if claim.row.table in tables]
    assert not any(claim.published for claim in claims)
    top1 = {claim.row.id: claim.value for claim in claims if claim.metric == "top1"}
    assert len(top1) == 12
    assert (top1["local-volo_d1"], top1["local-volo_d1_dw"]) == (84.2, 84.2)
    assert (top1["local-svt_small"], top1["local-svt_small_dw"]) == (81.7, 81.9)
    assert (top1["concurrent-shuffle_tiny"], top1["concurrent-i_dynamic_dwnet_tiny_extra"]) == (
        82.5,
        82.3,
    )


def test_no_published_number_of_the_inhomogeneous_network() -> None:
    assert not [
        claim.id
        for claim in load_claims()
        if claim.row.mixer == "i_dynamic_dwnet" and claim.published
    ]


@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_parameter_claims_are_the_exact_counts_rounded(task: str) -> None:
    seen = 0
    for claim in load_claims():
        exact = EXACT_PARAMETERS.get((claim.row.mixer or "", claim.row.size or ""))
        if (
            claim.metric != "parameters_m"
            or claim.row.task != task
            or exact is None
            or claim.row.overrides
        ):
            continue
        millions = exact / 1e6
        if task != "classify":
            if claim.row.size == "small":
                continue
            millions += HEADS[task][claim.row.size or ""] - CLASSIFIER[claim.row.size or ""]
        digits = 0 if claim.value == int(claim.value) else 1
        assert abs(claim.value - millions) <= 0.5 * 10**-digits + 0.02, claim.id
        seen += 1
    assert seen >= 6


def test_every_row_with_a_mixer_is_a_network_that_can_be_built_and_joined() -> None:
    """The names of mixers and options in the claims are those of the code, and a variant so written
    finds its row.
    """
    rows = {claim.row.id: claim for claim in load_claims() if claim.row.mixer}
    assert {"swin", "dwnet", "local_mlp", "locally_connected", "sliding_attention"} <= {
        claim.row.mixer for claim in rows.values()
    }
    for claim in rows.values():
        variant = Variant.model_validate(
            {"mixer": claim.row.mixer, "size": claim.row.size, **claim.row.overrides}
        )
        with torch.device("meta"):
            create_model(variant.model_name, **variant.overrides)
        assert matches(
            claim, VariantResult(claim.row.task, "a", variant, Path("a"), None, None, ())
        ), claim.id


def test_options_keep_rows_apart() -> None:
    rows = {claim.row.id: claim for claim in load_claims()}

    def joined(**entry: object) -> set[str]:
        result = VariantResult(
            "classify", "a", Variant.model_validate(entry), Path("a"), None, None, ()
        )
        return {row for row, claim in rows.items() if matches(claim, result)}

    assert joined(mixer="dwnet", size="tiny", se=True) == {"se-dwnet_se_tiny"}
    assert joined(mixer="swin", size="tiny", norm="bn") == {"norm-swin_bn"}
    assert joined(mixer="local_mlp", size="tiny", shared_windows=True) == {"sharing-local_mlp-both"}
    assert joined(mixer="swin", size="tiny", shift=False) == {"swin_paper-no_shift"}
    assert "t1-dwnet_tiny" in joined(mixer="dwnet", size="tiny")
    assert not joined(mixer="global_attention", size="tiny")


def test_rows_of_the_literature_are_networks_of_timm() -> None:
    """Each can be built beside the paper's own, without a download, and joins the row that names
    it.
    """
    timm = pytest.importorskip("timm")
    claims = [claim for claim in load_claims() if claim.row.timm_name]
    assert len({claim.row.timm_name for claim in claims}) >= 15
    for name in {claim.row.timm_name for claim in claims}:
        assert timm.is_model(name), name
        variant = Variant.model_validate({"mixer": "timm", "timm_name": name})
        result = VariantResult("classify", "a", variant, Path("a"), None, None, ())
        assert any(matches(claim, result) for claim in claims)


CONCURRENT = [
    "volo_d1_224",
    "twins_svt_small",
    "twins_pcpvt_small",
    "coat_lite_small",
    "coat_small",
    "pvt_v2_b2",
]


@pytest.mark.parametrize(
    "name",
    ["resnet50", "vit_base_patch16_384", "deit_small_patch16_224", "resmlp_12_224", *CONCURRENT],
)
def test_parameters_of_the_literature_are_those_of_timm(name: str) -> None:
    pytest.importorskip("timm")
    with torch.device("meta"):
        counted = count_parameters(create_model(f"timm:{name}")) / 1e6
    claimed = [
        c.value for c in load_claims() if c.row.timm_name == name and c.metric == "parameters_m"
    ]
    assert claimed and all(abs(value - counted) <= 1 for value in claimed), (claimed, counted)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"confidence": "sure"}, "confidence"),
        ({"values": {"top2": 50.0}}, "top2"),
        ({"values": {}}, "values"),
        ({"values": {"top1": "high"}}, "top1"),
        ({"surprise": 1}, "surprise"),
        ({"source": ""}, "source"),
    ],
)
def test_a_malformed_row_is_refused_by_name(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump([row() | change]))
    with pytest.raises(UserError, match=complaint):
        load_claims(path)


def test_an_id_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump([row(), row()]))
    with pytest.raises(UserError, match="'a-row' twice"):
        load_claims(path)


def row() -> dict[str, object]:
    return {
        "id": "a-row",
        "table": "1",
        "model": "A",
        "mixer": "dwnet",
        "size": "tiny",
        "task": "classify",
        "values": {"top1": 80.0},
        "source": "README of a project",
        "confidence": "published",
    }
