"""Networks from published weights, which say themselves what they are the weights of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from models.heads import (
    CascadeSettings,
    ProposalSettings,
    UPerNetSettings,
    create_detector,
    create_segmenter,
)
from models.mixers.timm import PREFIX, TimmFeatures, create_timm
from models.published.transform import transform_of
from models.registry import build_backbone, build_classifier

WEIGHTS = "model.safetensors"
CONFIG = "config"
"""The key of a file's metadata under which its configuration stands, as JSON."""
ELSEWHERE = {"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}
"""Options of timm that would open files which a published one names."""


def load(path: str | Path) -> nn.Module:
    """Return a published network, in eval mode; see `models.load`."""
    file = _file(path)
    config = read_config(file)
    network = str(config.get("network"))
    if network not in BUILD:
        raise ValueError(
            f"{file} is of a network of kind '{network}'; known are {', '.join(BUILD)}"
        )

    try:
        attributes = _attributes(config)
        with torch.random.fork_rng(devices=[]):  # fresh weights are drawn, and not kept
            model = BUILD[network](config)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file} does not say all of what it is: {error!r}") from None
    for name, value in attributes.items():
        setattr(model, name, value)

    try:
        model.load_state_dict(load_file(file))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{file} does not fit the network that it names: {reason}") from None
    return model.eval()


def _attributes(config: dict[str, Any]) -> dict[str, Any]:
    """Return what a loaded network has beside its weights."""
    attributes = {
        "classes": tuple(config["label_names"]),
        "transform": transform_of(config["transform"]),
        "config": config,
    }

    if "pretrained_cfg" in config:
        names = {"label_names": attributes["classes"], "architecture": config["architecture"]}
        images = {**config["pretrained_cfg"], **names}
        attributes |= {"pretrained_cfg": images, "default_cfg": images}
    return attributes


def load_backbone(path: str | Path) -> nn.Module:
    """Return the backbone of a published network, in eval mode; see `models.load_backbone`."""
    model = load(path)
    config: dict[str, Any] = model.config  # type: ignore[assignment]
    if config["network"] != "classifier":
        return model.get_submodule("backbone")
    if config["mixer"] == "timm":
        return _timm_backbone(config, _file(path)).eval()

    with torch.random.fork_rng(devices=[]):
        backbone = build_backbone(config["architecture"], config["model_args"])
    backbone.load_state_dict(model.get_submodule("backbone").state_dict())
    return backbone.eval()


def read_config(file: Path) -> dict[str, Any]:
    """Return what a file of weights says of itself.

    Raises:
        ValueError: it is no safetensors file, or says nothing of itself.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{file} is no whole safetensors file: {error}") from None

    if CONFIG not in metadata:
        raise ValueError(
            f"{file} does not say what it is the weights of (it has no '{CONFIG}' in its metadata);"
            " publish it again, or build the network with create_model and load the weights"
        )
    config: dict[str, Any] = json.loads(metadata[CONFIG])
    return config


def _file(path: str | Path) -> Path:
    """Return the file of weights that a file or a folder of results stands for.

    Raises:
        FileNotFoundError: there is none.
    """
    file = Path(path)
    file = file / WEIGHTS if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there; give a file of weights or its folder")
    return file


def _name(config: Mapping[str, Any]) -> str:
    name: str = config["architecture"]
    return f"{PREFIX}{name}" if config["mixer"] == "timm" else name


def _classifier(config: Mapping[str, Any]) -> nn.Module:
    name = _name(config)
    classes = config["num_classes"]
    options = dict(config["model_args"])

    if name.startswith(PREFIX):
        if ELSEWHERE & options.keys():
            raise ValueError(f"weights of {name} name other weights: {', '.join(options)}")
        return create_timm(name, classes, options)
    return build_classifier(name, classes, options)


def _detector(config: Mapping[str, Any]) -> nn.Module:
    return create_detector(
        _name(config),
        config["num_classes"],
        proposals=ProposalSettings(**_tuples(config["heads"]["proposals"])),
        cascade=CascadeSettings(**_tuples(config["heads"]["cascade"])),
        **config["model_args"],
    )


def _segmenter(config: Mapping[str, Any]) -> nn.Module:
    settings = UPerNetSettings(**_tuples(config["heads"]["upernet"]))
    return create_segmenter(
        _name(config), config["num_classes"], upernet=settings, **config["model_args"]
    )


BUILD: Mapping[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "classifier": _classifier,
    "detector": _detector,
    "segmenter": _segmenter,
}
"""The kinds of networks, and what builds one as its configuration says."""


def _timm_backbone(config: Mapping[str, Any], file: Path) -> nn.Module:
    """Return timm's feature extractor; timm itself brings the weights into its names."""
    import timm

    weights = {"file": str(file), "num_classes": config["num_classes"]}
    return TimmFeatures(
        timm.create_model(
            config["architecture"],
            pretrained=True,
            pretrained_cfg_overlay=weights,
            features_only=True,
            **config["model_args"],
        )
    )


def _tuples(value: Any) -> Any:
    """Return a JSON value with tuples for its lists."""
    if isinstance(value, Mapping):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
