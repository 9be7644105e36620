"""Published weights say what they are: a network is built of the file alone."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from trained import TRAINED

import models
from models.published.loading import read_config
from pipeline.loading.hold_out import open_split
from pipeline.loading.images import photograph
from pipeline.loading.micro_batches import EvalSamples
from pipeline.params import load as load_params
from pipeline.shards.manifest import Manifest
from pipeline.tasks.base import create
from tests.golden.record import FOLDER

ALL = [(task, variant) for task, variants in TRAINED.items() for variant in variants]


def folder_of(trained: Path, task: str, variant: str) -> Path:
    return trained / "results" / task / variant


@pytest.mark.parametrize(("task", "variant"), ALL)
def test_a_loaded_network_is_the_trained_one_and_sees_what_it_saw(
    trained: Path, task: str, variant: str, tmp_path: Path
) -> None:
    """Weights, classes and every pixel of an evaluation, from the file alone."""
    params = load_params(FOLDER / "params.yaml")
    section = getattr(params, task)
    shards = trained / "data" / "shards" / section.dataset
    manifest = Manifest.load(shards)
    logic = create(task, section, variant, manifest)
    file = tmp_path / "alone.safetensors"
    file.write_bytes((folder_of(trained, task, variant) / "model.safetensors").read_bytes())

    state = torch.get_rng_state()
    model = models.load(file)

    assert torch.equal(torch.get_rng_state(), state) and not model.training
    assert model.classes == tuple(entry.name for entry in manifest.classes)
    expected = logic.build().eval()
    expected.load_state_dict(load_file(file))
    reader = open_split(shards, "val", 0.0, None)
    batch = EvalSamples(reader, logic.sampling, 1)[0]
    assert isinstance(batch, dict)
    prepared = logic.prepare(batch, torch.device("cpu"))
    picture = Image.open(io.BytesIO(photograph(reader.read(0, 0))))
    transform = vars(model)["transform"]
    images, sizes = transform.stack([transform(picture)])
    assert torch.equal(images, prepared.get("views", [prepared])[0]["images"])
    with torch.inference_mode():
        if task == "detect":
            assert sizes == prepared["sizes"]
            found, known = model(images, sizes)[0], expected(images, sizes)[0]
            assert all(torch.equal(found[name], known[name]) for name in known)
        else:
            assert torch.equal(model(images), expected(images))


@pytest.mark.parametrize(("task", "variant"), ALL)
def test_a_loaded_backbone_gives_the_maps_of_the_network(
    trained: Path, task: str, variant: str
) -> None:
    folder = folder_of(trained, task, variant)
    model: Any = models.load(folder)  # a classifier, detector or segmenter, or timm's
    backbone: Any = models.load_backbone(folder)
    assert not backbone.training
    images = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        maps = backbone(images)
        if variant == "timm":
            expected = model.forward_features(images)
            assert [m.shape[1] for m in maps] == list(backbone.channels)
        else:
            expected = model.backbone(images)[-1]
    torch.testing.assert_close(maps[-1], expected)


def test_the_file_and_the_configuration_beside_it_say_the_same(trained: Path) -> None:
    for task, variant in ALL:
        folder = folder_of(trained, task, variant)
        assert read_config(folder / "model.safetensors") == json.loads(
            (folder / "config.json").read_text()
        )


def test_what_cannot_be_loaded_is_one_sentence(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is not there"):
        models.load(tmp_path)
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(ValueError, match="no whole safetensors file"):
        models.load(tmp_path / "text.safetensors")
    save_file({"w": torch.zeros(1)}, tmp_path / "mute.safetensors")
    with pytest.raises(ValueError, match="does not say what it is"):
        models.load(tmp_path / "mute.safetensors")

    whole = folder_of(trained, "classify", "dwnet") / "model.safetensors"
    config = read_config(whole)
    for change, words in (
        ({"network": "oracle"}, "kind 'oracle'; known are classifier"),
        ({"transform": {"kind": "turn"}}, "no transform of kind 'turn'"),
        ({"architecture": "dwmet_micro"}, "did you mean 'dwnet_micro'"),
        ({"num_classes": 3}, "does not fit the network that it names"),
        ({"transform": {"kind": "crop"}}, "does not say all of what it is"),
        ({"label_names": None}, "does not say all of what it is"),
        (
            {"mixer": "timm", "architecture": "resnet10t", "model_args": {"checkpoint_path": "x"}},
            "name other weights",
        ),
    ):
        save_file(
            load_file(whole),
            tmp_path / "w.safetensors",
            {"config": json.dumps({**config, **change})},
        )
        with pytest.raises(ValueError, match=words) as error:
            models.load(tmp_path / "w.safetensors")
        assert "\n" not in str(error.value)
