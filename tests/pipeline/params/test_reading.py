"""params.yaml is read as DVC reads it, and whatever a file may hold ends in one short sentence,
soon.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import load_yaml
from helpers import PROJECT

from pipeline.core.errors import UserError, discreet
from pipeline.params import load
from pipeline.params.reading import parse, read_tree


def refused(tmp_path: Path, content: str | bytes, *overrides: str) -> str:
    path = tmp_path / "p.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as caught:
        load(path, list(overrides))
    sentence = str(caught.value)
    assert len(sentence) < 600 and str(path) in sentence
    return sentence


PLAIN = """
a: [1e-4, 1E5, 1.5e3, .5, 010, 0o10, 0x1F, 1_000, 1:30, 12:30:45, +1, -0]
b: [yes, no, on, off, y, n, true, False, NULL, ~, null, '']
c: {<<: {x: 1}, y: 2}
d: "caf\\u00e9 # no comment"
e: a#b
f: !!str 2012
"""


def test_values_are_those_that_dvc_sees(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PLAIN)
    assert repr(read_tree(tmp_path / "p.yaml")) == repr(load_yaml(str(tmp_path / "p.yaml")))
    for name in ("params.yaml", "params/debug.yaml", "params/paper.yaml", "params/real.yaml"):
        assert read_tree(PROJECT / name) == load_yaml(str(PROJECT / name))
    assert parse("1e-4", "") == 1e-4 and parse("1:30", "") == "1:30" and parse("yes", "") == "yes"


def bomb(indent: str) -> str:
    first = f"{indent}- &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    return first + "".join(
        f"{indent}- &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    )


WRONG: list[tuple[str | bytes, str]] = [
    ("- a\n- b", "holds a list, not sections"),
    ("hello", "holds the value 'hello'"),
    ("data:\nclassify:\n", "data: is empty; leave it out"),
    (
        "classify: {variants: {1: {mixer: swin}}}",
        "classify.variants: the key 1 is no text; put it into quotes",
    ),
    (
        "shard: {max_pixels: 5}\nshard: {max_pixels: 6}\n",
        "line 2, is not YAML: the key 'shard' stands there twice",
    ),
    ("data: [", "line 1, is not YAML"),
    ("data: {imagenet: {source: 2012}}", "data.imagenet.source"),
    (
        "data: {imagenet: {source: 2012-01-02}}",
        "data.imagenet.source is read as a date; put it into quotes",
    ),
    ("data: {imagenet: {source: 2012-99-99}}", "line 1, '2012-99-99'"),
    ("shard: {samples_per_shard: 1" + "0" * 5000 + "}", "line 1, '1000"),
    ("shard: {samples_per_shard: 1" + "0" * 50 + "}", "shard.samples_per_shard is larger than"),
    (
        "shard: {samples_per_shard: 1:30}",
        "shard.samples_per_shard: Input should be a valid integer",
    ),
    (
        "shard: {samples_per_shard: " + "a" * 50_000 + "}",
        "shard.samples_per_shard: Input should be a valid integer",
    ),
    ("shard: {" + "a" * 500 + ": 1}", "unknown key"),
    ("classify: {recipe: {duration: {epochs: .inf}}}", "classify.recipe.duration.epochs is inf"),
    ("tune: {space: {recipe.optimizer.lr: [.nan]}}", "tune.space.recipe.optimizer.lr.0 is nan"),
    ("data: &a\n  imagenet: *a\n", "line 2: *a stands within itself"),
    ("tune: {space: {kernel_size: &a [3, *a]}}\n", "line 1: *a stands within itself"),
    ("x:\n" + bomb("  "), "aliases (*name) make more than 10,000 values"),
    (
        "shard:\n  samples_per_shard: &z\n" + bomb("   "),
        "aliases (*name) make more than 10,000 values",
    ),
    (
        "a: &a " + "x" * 900_000 + "\nb: [" + ", ".join(["*a"] * 5000) + "]",
        "more than 10,000 values",
    ),
    ("data: " + "[" * 20_000 + "]" * 20_000, "line 1: nests deeper than 50 levels"),
    ("{" + ", ".join(f"k{i}: 1" for i in range(2000)) + "}", "and "),
    ("data: !!python/object/apply:os.system ['true']", "line 1, is not YAML"),
    ("data: {}\n".encode("utf-16"), "is UTF-16; save it as UTF-8 text"),
    ("data: {}\n# caf\xe9\n".encode("latin-1"), "is not UTF-8 (line 2); save it"),
    (b"#" * 2_000_000, "larger than 1 MB"),
    (
        'classify: {variants: {"a\\n\\ud800": {mixer: dwnet, size: micro}}}',
        "this is no name; use letters",
    ),
]


@pytest.mark.parametrize(("content", "part"), WRONG, ids=[part for _, part in WRONG])
def test_what_cannot_be_a_params_file_is_named(
    tmp_path: Path, content: str | bytes, part: str
) -> None:
    if part == "and ":
        path = tmp_path / "p.yaml"
        path.write_text(str(content))
        with pytest.raises(UserError, match=r"\n  and \d+ more$"):
            load(path)
    else:
        sentence = refused(tmp_path, content)
        assert part in sentence and sentence.isprintable() | ("\n  " in sentence)


def test_a_byte_order_mark_and_an_empty_file_are_no_harm(tmp_path: Path) -> None:
    for content in ("\ufeffshard: {jpeg_quality: 80}\n", "", "# nothing\n"):
        (tmp_path / "p.yaml").write_text(content)
        assert load(tmp_path / "p.yaml").shard.jpeg_quality == (
            80 if content.startswith("\ufeff") else 90
        )


def test_a_folder_is_no_params_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory"):
        load(tmp_path)


NUMBERS = (
    "shard.samples_per_shard=true",
    "shard.short_side=true",
    "classify.seeds=[true]",
    "profile.warmup=false",
    "cluster.cpus_per_worker=true",
    "cluster.gpus_per_worker=true",
    "data.imagenet.limit={train: true}",
    "classify.recipe.shuffle_block=true",
    "classify.recipe.optimizer.betas=[true, 0.9]",
    "compare.tolerance={top1: true}",
    "classify.recipe.duration={epochs: true}",
    "factorial.group_channels=[true]",
    "classify.recipe.augment.flip=false",
    "tune.asha.grace=true",
    "segment.recipe.upernet.test_scales=[true]",
    "classify.variants.a.recipe={micro_batch: true}",
    "classify.variants.a.kernel_size=true",
)


@pytest.mark.parametrize("override", NUMBERS)
def test_true_and_false_are_no_numbers(tmp_path: Path, override: str) -> None:
    sentence = refused(tmp_path, "classify: {variants: {a: {mixer: dwnet, size: micro}}}", override)
    assert "true and false are no numbers" in sentence


@pytest.mark.parametrize("warmup", ["null", "{steps: 0}", "{epochs: 0}"])
def test_no_warm_up_can_be_said(tmp_path: Path, warmup: str) -> None:
    from pipeline.training.schedule import lr_at

    (tmp_path / "p.yaml").write_text("{}")
    recipe = load(
        tmp_path / "p.yaml", [f"classify.recipe.schedule.warmup={warmup}"]
    ).classify.recipe
    assert recipe.schedule.warmup is None
    assert lr_at(0, recipe, 100) == pytest.approx(recipe.optimizer.lr * recipe.global_batch / 512)


TEXTS = (
    ("data.imagenet.source", "x #1"),
    ("data.imagenet.source", "a: b"),
    ("data.imagenet.source", "2012"),
    ("data.imagenet.source", "~/x"),
    ("data.imagenet.source", "null"),
    ("data.imagenet.source", "true"),
    ("data.imagenet.source", "[x]"),
    ("data.imagenet.source", "it's"),
    ("data.imagenet.source", "*a"),
    ("data.imagenet.source", "2012-01-02"),
    ("data.imagenet.source", " x "),
    ("data.imagenet.splits.val", "1e-4"),
    ("data.imagenet.real_labels", "12"),
    ("cluster.storage", "my #1"),
    ("cluster.cache", "~/x"),
    ("tracking.uri", "sqlite:///a #1"),
    ("classify.recipe.init_from", "a: b.pt"),
    ("classify.recipe.augment.rand_augment", "rand-m9"),
    ("classify.variants.v.recipe.init_from", "a #1"),
)


@pytest.mark.parametrize(("name", "text"), TEXTS)
def test_a_text_is_taken_as_it_stands(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "p.yaml").write_text(
        "classify: {variants: {v: {mixer: dwnet, size: micro}}}\ncluster:\n  workers: 1\n"
    )
    value: Any = load(tmp_path / "p.yaml", [f"{name}={text}"])
    for part in name.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    assert value == text


def test_what_may_be_something_else_than_text_can_be(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("{}")
    params = load(
        tmp_path / "p.yaml",
        [
            "cluster.cache=null",
            "classify.recipe.augment.rand_augment=null",
            "classify.recipe.shuffle_block=all",
            "data.coco.source=[{url: https://x.org/a.zip, md5: " + "b" * 32 + "}]",
            "classify.recipe.optimizer.lr=1e-4",
        ],
    )
    assert params.cluster.cache is None and params.classify.recipe.augment.rand_augment is None
    assert not isinstance(params.data.coco.source, str)
    assert params.data.coco.source[0].file_name == "a.zip"
    assert params.classify.recipe.optimizer.lr == 1e-4


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("cluster.shards=https://me:hush@x.org/s", "holds a user's name"),
        ("cluster.shards=s3://hush@bucket/s", "holds a user's name"),
        ("cluster.shards=https://x.org/s?token=hush", "holds a query or fragment"),
        ("cluster.shards=https://x.org/s#hush", "holds a query or fragment"),
        ("cluster.storage=https://me:hush@x.org/s", "storage is a folder"),
        ("cluster.storage=s3://hush@bucket/s", "storage holds a user's name"),
        ("cluster.storage=gs://bucket/s?token=hush", "storage holds a query or fragment"),
        ("cluster.storage=s3://", "without a bucket"),
        ("cluster.storage=file:///hush", "starts with s3:// or gs://"),
        ("cluster.shards=[https://me:hush@x.org/s", "cluster.shards"),
    ],
)
def test_addresses_with_secrets_are_refused_without_repeating_them(
    tmp_path: Path, override: str, part: str
) -> None:
    sentence = refused(tmp_path, "{}", override)
    assert part in sentence and "hush" not in sentence


def test_a_sentence_is_made_in_time() -> None:
    """Of 500,000 letters; what looks at each letter from each letter takes minutes."""
    code = (
        "from pipeline.core.errors import discreet; discreet('a' * 500_000); discreet('a://' "
        "* 50_000)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True, timeout=60)
    assert (
        discreet("see HTTP://me:hush@x.org/a?b=hush 's3://me@b/c'")
        == "see HTTP://x.org/a 's3://b/c'"
    )
