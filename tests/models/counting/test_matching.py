"""Feed-forward widths that make one network as large as another, against networks that are built
and counted.
"""

import random

import pytest

from models import list_models
from models.counting.macs import count_parameters
from models.counting.matching import matched_mlp_ratio

NAMES = [name for name in list_models() if name.endswith(("_micro", "_tiny"))]


@pytest.mark.parametrize("name", NAMES)
def test_a_networks_own_size_gives_its_own_ratio(on_meta, name):
    own = count_parameters(on_meta(name))
    assert matched_mlp_ratio(name, {}, own) == (4.0, own)
    assert matched_mlp_ratio(name, {"mlp_ratio": 2.5}, own) == (4.0, own)


@pytest.mark.parametrize(
    ("name", "overrides", "size"),
    [
        ("dwnet_micro", {"groups": 1}, {"num_classes": 10, "image_size": 32}),
        ("locally_connected_micro", {"group_channels": 4}, {"image_size": 96}),
        ("sliding_attention_tiny", {"skeleton": "depthwise"}, {}),
        ("swin_tiny", {"norm": "bn", "se": True, "depths": (1, 2, 3, 1)}, {"num_classes": 7}),
    ],
)
def test_the_count_is_that_of_the_network_and_no_other_width_comes_nearer(
    on_meta, name, overrides, size
):
    widest = on_meta(name).backbone.channels[-1]

    def counted(ratio):
        return count_parameters(on_meta(name, **size, **overrides, mlp_ratio=ratio))

    drawn = random.Random(0)
    smallest, largest = counted(8 / widest), counted(12.0)
    targets = sorted(drawn.randint(smallest, largest) for _ in range(12))
    found = [matched_mlp_ratio(name, overrides, target, **size) for target in targets]
    for target, (ratio, count) in zip(targets, found, strict=True):
        assert counted(ratio) == count
        step = 1 / widest
        beside = [
            counted((int(ratio * widest) + 0.5 + shift) * step)
            for shift in (-1, 1)
            if ratio > 9 * step
        ]
        assert all(abs(other - target) >= abs(count - target) for other in beside)
        assert all(other != count for other in beside)
    assert found == sorted(found)
    assert matched_mlp_ratio(name, overrides, smallest, **size)[1] == smallest


def test_of_two_equally_near_the_smaller_is_taken(on_meta):
    one, other = (
        count_parameters(on_meta("dwnet_micro", mlp_ratio=ratio)) for ratio in (4.0, 4 + 1 / 128)
    )
    assert (one + other) % 2 == 1  # one layer of the widest stage grows by 2 C + 1
    assert matched_mlp_ratio("dwnet_micro", {}, (one + other) // 2)[1] == one
    assert matched_mlp_ratio("dwnet_micro", {}, (one + other) // 2 + 1)[1] == other


def test_ratios_are_written_shortly():
    ratio, _ = matched_mlp_ratio("dwnet_tiny", {}, 51_131_752)
    assert ratio == pytest.approx(10.25, abs=0.01)  # a unit of it is 4.3 M
    assert all(
        len(str(matched_mlp_ratio("dwnet_tiny", {}, n)[0])) <= 6
        for n in range(20_000_000, 40_000_000, 999_983)
    )


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        (
            "dwnet_tiny",
            {},
            "dwnet_tiny has 6,947,702 parameters with the narrowest feed-forward layers",
        ),
        ("dwnet_tny", {}, "did you mean 'dwnet_tiny'"),
        ("dwnet_tiny", {"colour": "red"}, "takes no override 'colour'"),
        ("timm:resnet18", {}, "only those of this package"),
    ],
)
def test_what_cannot_be_matched_is_refused_in_a_sentence(name, overrides, words):
    with pytest.raises(ValueError) as error:
        matched_mlp_ratio(name, overrides, 1_000_000)
    assert words in str(error.value) and "\n" not in str(error.value)
