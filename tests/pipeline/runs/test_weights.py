"""Published weights: the tensors as they were, and what they are, in the same bytes each time."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipeline.runs.weights import publish_weights, weights_digest


def test_equal_weights_and_words_are_equal_bytes(tmp_path: Path) -> None:
    source = tmp_path / "last.safetensors"
    weights = {"a.weight": torch.randn(3, 5), "b": torch.tensor(7), "c": torch.zeros(2, 0)}
    save_file(weights, source)
    files = [tmp_path / name for name in ("one", "two", "other")]
    words = {"zebra": 1, "ant": [1, {"x": 'größer\n"quoted"'}], "task": "classify"}
    publish_weights(source, files[0], words)
    publish_weights(source, files[1], dict(reversed(words.items())))
    publish_weights(source, files[2], {"task": "detect"})

    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()
    loaded = load_file(files[0])
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())
    with safe_open(files[0], framework="pt") as opened:
        assert json.loads(opened.metadata()["config"]) == words


def test_the_digest_of_weights_is_that_of_the_weights_alone(tmp_path: Path) -> None:
    """A detector that starts from them is not trained anew because its classifier was published
    from another commit."""
    source, published, other, text = (tmp_path / name for name in ("s", "p", "o", "t"))
    save_file({"a": torch.zeros(2), "b": torch.ones(2)}, source)
    publish_weights(source, published, {"commit": "abc"})
    save_file({"a": torch.zeros(2), "b": torch.zeros(2)}, other)
    text.write_text("an authors' checkpoint")
    assert weights_digest(source) == weights_digest(published)
    assert len({weights_digest(path) for path in (source, other, text)}) == 3
