"""Every wrong key and value is named at once, with the nearest right name; the shipped files load
and expand.
"""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers import PROJECT

from pipeline.core.errors import UserError
from pipeline.params import TASKS, Params, load, mixer_options

FILES = [
    "params.yaml",
    *sorted(f"params/{path.name}" for path in (PROJECT / "params").glob("*.yaml")),
]


def wrong(tmp_path: Path, tree: object, overrides: list[str] | None = None) -> str:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(UserError) as caught:
        load(path, overrides)
    return str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_shipped_files_load(name: str) -> None:
    params = load(PROJECT / name)
    for task in (params.classify, params.detect, params.segment):
        for variant in task.variants:
            assert task.recipe_of(variant).global_batch % params.cluster.max_workers == 0


def test_all_errors_come_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    said = wrong(
        tmp_path,
        {
            "data": {"imagenet": {"sorce": "x"}},
            "clasify": {},
            "shard": {"jpeg_quality": 101},
            "classify": {
                "variants": {
                    "a": {"mixer": "dwnet", "size": "micro", "kernel_size": 4},
                    "b": {"mixer": "dwnet", "size": "micro", "recipe": {"optimizer": {"lrr": 1}}},
                    "c": {"mixer": "dwnt", "size": "micro"},
                    "d": {"mixer": "i_dynamic_dwnet", "size": "tiny", "groups": 5},
                    "e-f": {"mixer": "dwnet", "size": "micro"},
                }
            },
        },
    )
    for part in (
        "sorce: unknown key; did you mean 'source'?",
        "clasify: unknown key; did you mean 'classify'?",
        "jpeg_quality",
        "kernel_size 4 is even",
        "lrr: unknown key; did you mean 'lr'?",
        "did you mean 'dwnet'?",
        "groups 5 does not divide",
        "e-f",
    ):
        assert part in said, part


def test_ranks_must_divide_the_micro_batches(tmp_path: Path) -> None:
    said = wrong(
        tmp_path,
        {
            "cluster": {"workers": 3},
            "classify": {
                "recipe": {"micro_batches": 4},
                "variants": {"a": {"mixer": "dwnet", "size": "micro"}},
            },
        },
    )
    assert "cluster.workers 3 does not divide the 4 micro-batches" in said


def test_a_pair_of_workers_is_the_least_and_the_most(tmp_path: Path) -> None:
    """The least must divide the micro-batches; of the others those are taken that do."""
    sections = {
        "classify": {
            "recipe": {"micro_batches": 4},
            "variants": {"a": {"mixer": "dwnet", "size": "micro"}},
        }
    }
    path = tmp_path / "pair.yaml"
    path.write_text(yaml.safe_dump({"cluster": {"workers": [2, 3]}, **sections}))
    cluster = load(path).cluster
    assert (cluster.min_workers, cluster.max_workers) == (2, 3)
    said = wrong(tmp_path, {"cluster": {"workers": [3, 4]}, **sections})
    assert "cluster.workers 3 does not divide the 4 micro-batches" in said
    assert "write the smaller number first" in wrong(tmp_path, {"cluster": {"workers": [2, 1]}})


@pytest.mark.parametrize(
    ("start", "recipe", "part"),
    [
        ({}, {}, "detect.variants.a starts from classify.variants.a, which is not there"),
        ({"a": {"mixer": "swin", "size": "micro"}}, {}, "another network: mixer"),
        (
            {"a": {"mixer": "dwnet", "size": "micro", "kernel_size": 5}},
            {},
            "another network: kernel_size",
        ),
        (
            {"a": {"mixer": "dwnet", "size": "micro", "mlp_ratio": 2.0}},
            {},
            "another network: mlp_ratio",
        ),
        ({"a": {"mixer": "dwnet", "size": "micro", "drop_path_rate": 0.3}}, {}, None),
        ({}, {"init_from": None}, None),
    ],
)
def test_a_detector_starts_from_a_classifier_of_the_same_network(
    tmp_path: Path, start: dict[str, object], recipe: dict[str, object], part: str | None
) -> None:
    tree = {
        "classify": {"variants": start},
        "detect": {
            "recipe": recipe,
            "variants": {"a": {"mixer": "dwnet", "size": "micro", "drop_path_rate": 0.1}},
        },
    }
    if part is None:
        (tmp_path / "p.yaml").write_text(yaml.safe_dump(tree))
        assert load(tmp_path / "p.yaml").detect.variants["a"].drop_path_rate == 0.1
    else:
        assert part in wrong(tmp_path, tree)


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("classify.recipe.optimizer.learning_rate=1", "unknown key"),
        ("classify.recipe.micro_batch=many", "micro_batch"),
        ("classify.recipe", "write it as a.b.c=value"),
        ("shard.jpeg_quality.x=1", "is a value, not a section"),
        ("classify.recipe.duration={epochs: 1, steps: 2}", "one of the two"),
    ],
)
def test_overrides_are_checked(tmp_path: Path, override: str, part: str) -> None:
    assert part in wrong(tmp_path, {"shard": {"jpeg_quality": 90}}, [override])


def test_overrides_are_typed(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("{}")
    params = load(
        tmp_path / "p.yaml",
        ["classify.seeds=[3, 4]", "classify.recipe.duration={steps: 7}", "shard.short_side=64"],
    )
    assert params.classify.seeds == (3, 4) and params.classify.recipe.duration.steps == 7
    assert params.shard.short_side == 64


def test_a_variant_changes_only_what_it_names() -> None:
    params = load(PROJECT / "params" / "paper.yaml")
    base, own = params.classify.recipe, params.classify.recipe_of("dwnet_base")
    assert (own.micro_batch, own.micro_batches, own.amp) == (64, 16, "none")
    assert own.model_dump(exclude={"micro_batch", "micro_batches", "amp"}) == base.model_dump(
        exclude={"micro_batch", "micro_batches", "amp"}
    )
    assert own.global_batch == base.global_batch == 1024
    assert params.classify.recipe_of("i_dynamic_dwnet_tiny") == own


def test_parameters_survive_a_round_trip() -> None:
    params = load(PROJECT / "params" / "paper.yaml")
    assert Params.model_validate(json.loads(params.model_dump_json())) == params


@pytest.mark.parametrize("name", FILES)
def test_shipped_files_expand_to_a_valid_graph(name: str, tmp_path: Path) -> None:
    """DVC itself expands dvc.yaml over each shipped params file."""
    for command in (["git", "init", "-q"], ["dvc", "init", "-q", "--no-scm", "-f"]):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "dvc.yaml").write_text((PROJECT / "dvc.yaml").read_text())
    (tmp_path / "params.yaml").write_text((PROJECT / name).read_text())
    shown = subprocess.run(
        ["dvc", "stage", "list", "--all"], cwd=tmp_path, capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    stages = {line.split()[0] for line in shown.stdout.splitlines()}
    params = load(PROJECT / name)
    expected = {
        f"{verb}@{d}" for verb in ("fetch", "shard") for d in ("imagenet", "coco", "ade20k")
    }
    expected |= {
        f"{task}@{variant}" for task in TASKS for variant in getattr(params, task).variants
    }
    expected |= {f"profile@{variant}" for variant in params.classify.variants}
    assert stages == expected | {"tune", "factorial", "compare"}


HASH = "a" * 64


def remotes(*urls: str) -> list[dict[str, str]]:
    return [{"url": url, "sha256": HASH} for url in urls]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("https://x.org/a.zip", "source.path: a URL needs its checksum"),
        ([{"url": "https://x.org/a.zip"}], "urls.0: sha256 or md5 is missing"),
        (
            [{"url": "https://x.org/a.zip", "sha": HASH}],
            "urls.0.sha: unknown key; did you mean 'sha256'",
        ),
        ([{"url": "https://x.org/a.zip", "md5": HASH}], "urls.0.md5: String should match"),
        (remotes("ftp://x.org/a.zip"), "should start with http"),
        (remotes("file:///etc/a.zip"), "should start with http"),
        (remotes("https://x.org/"), "should end in a file's name"),
        (remotes("https://x.org/%2e%2e"), "should end in a file's name"),
        (remotes("https://x.org/a%2Fb.zip"), "should end in a file's name"),
        (remotes("https://x.org/a.zip", "https://y.org/a.zip"), "no two with the same file name"),
        ([], "at least one URL"),
        (remotes("https://me:hush@x.org/a.zip"), "holds a user's name"),
        (["https://me:hush@x.org/a.zip?key=hush"], "valid dictionary"),
        ("https://me:hush@x.org/a.zip?key=hush", "a URL needs its checksum"),
    ],
)
def test_wrong_urls_stop_and_keep_their_secrets(tmp_path: Path, source: object, said: str) -> None:
    (tmp_path / "params.yaml").write_text(
        yaml.safe_dump({"data": {"imagenet": {"source": source}}})
    )
    with pytest.raises(UserError) as caught:
        load(tmp_path / "params.yaml")
    assert said in str(caught.value) and "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "given", ["https://me:hush@x.org/real.json", {"url": "https://x.org/real.json"}, [1]]
)
def test_wrong_addresses_of_real_labels_stop(tmp_path: Path, given: object) -> None:
    (tmp_path / "params.yaml").write_text(
        yaml.safe_dump({"data": {"imagenet": {"real_labels": given}}})
    )
    with pytest.raises(UserError, match=r"data\.imagenet\.real_labels\.\w+: ") as caught:
        load(tmp_path / "params.yaml")
    assert "hush" not in str(caught.value)


def test_urls_with_checksums(tmp_path: Path) -> None:
    one = {"url": "https://x.org/a/train2017.zip?key=hush", "md5": "b" * 32}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"data": {"coco": {"source": one}}}))
    coco = load(tmp_path / "params.yaml").data.coco
    assert coco.origin == "https://x.org/a/train2017.zip"
    assert not isinstance(coco.source, str)
    (remote,) = coco.source
    assert (remote.file_name, remote.digests) == ("train2017.zip", {"md5": "b" * 32})


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        ({"mixer": "dwnet", "shift": False}, "dwnet has no option shift; known: group_channels"),
        ({"mixer": "swin", "groups": 3}, "swin has no option groups"),
        ({"mixer": "swin", "skeleton": "depthwise"}, "swin has no option skeleton"),
        ({"mixer": "sliding_attention", "skeleton": "depth"}, "skeleton"),
        (
            {"mixer": "swin", "group_channels": 5},
            "group_channels 5 does not divide the 96 channels",
        ),
        ({"mixer": "swin", "group_channels": 16, "num_heads": [3, 6, 12, 24]}, "keep one"),
        ({"mixer": "local_mlp", "groups": 3, "num_heads": [3, 6, 12, 24]}, "keep one"),
        ({"mixer": "dwnet", "mlp_ratio": 0}, "mlp_ratio"),
        (
            {"mixer": "dwnet", "mlp_ratio": 0.01},
            "mlp_ratio 0.01 leaves the 96 channels of the first stage no hidden one",
        ),
        ({"mixer": "dwnet", "options": {"skeleton": "depthwise"}}, "dwnet has no option skeleton"),
        (
            {"mixer": "global_attention", "kernel_size": 7},
            "global_attention has no option kernel_size",
        ),
        ({"mixer": "swin", "kernel_size": 8}, "kernel_size 8 is even"),
        ({"mixer": "swin", "norm": "gn"}, "norm"),
        ({"mixer": "timm", "timm_name": "hf-hub:x/y"}, "'hf-hub:x/y' names a place to load from"),
        ({"mixer": "timm", "timm_name": "local-dir:x"}, "'local-dir:x' names a place to load from"),
        ({"mixer": "swin", "se": "often"}, "se"),
        ({"mixer": "swin", "nrom": "bn"}, "did you mean 'norm'?"),
        ({"mixer": "swin", "options": {"positionbias": False}}, "did you mean 'position_bias'?"),
        ({"mixer": "swin", "options": {"shift": False}}, "write shift beside mixer"),
    ],
)
def test_options_are_those_of_the_mixer(
    tmp_path: Path, entry: dict[str, object], part: str
) -> None:
    assert part in wrong(tmp_path, {"classify": {"variants": {"a": {"size": "tiny", **entry}}}})


def test_options_read_from_a_mixers_file_are_those_that_its_block_takes() -> None:
    from models import mixers

    for name in mixers.names():
        assert mixer_options(name) == list(mixers.load(name).options)
    assert mixer_options("timm") == []


def test_options_reach_the_model(tmp_path: Path) -> None:
    entry = {
        "mixer": "local_mlp",
        "size": "tiny",
        "shared_windows": True,
        "shift": False,
        "num_heads": [1, 2, 4, 8],
    }
    variant = Params.model_validate({"classify": {"variants": {"a": entry}}}).classify.variants["a"]
    assert variant.overrides == {"shared_windows": True, "shift": False, "num_heads": (1, 2, 4, 8)}
    entry = {
        "mixer": "sliding_attention",
        "size": "tiny",
        "skeleton": "depthwise",
        "group_channels": 16,
        "mlp_ratio": 3,
    }
    variant = Params.model_validate({"classify": {"variants": {"a": entry}}}).classify.variants["a"]
    assert variant.overrides == {"skeleton": "depthwise", "group_channels": 16, "mlp_ratio": 3.0}


@pytest.mark.parametrize("name", FILES)
def test_every_shipped_variant_can_be_built(name: str) -> None:
    import torch

    from models import create_model
    from models.heads import create_detector, create_segmenter

    params = load(PROJECT / name)
    for section, create in (
        (params.classify, create_model),
        (params.detect, create_detector),
        (params.segment, create_segmenter),
    ):
        for variant in section.variants.values():
            with torch.device("meta"):
                assert create(variant.model_name, num_classes=10, **variant.overrides).state_dict()
