"""The account of annotations: it adds up, says what is lost, and the page about it knows every
reason.
"""

import re

from helpers import PROJECT

from pipeline.datasets import objects, targets
from pipeline.datasets.targets import Tally

CODE = (
    "targets",
    "objects",
    "coco/segmentations",
    "coco/instances",
    "coco/coco",
    "ade20k/ade20k",
)


def test_what_is_lost_is_what_faults_keep_from_training() -> None:
    first, second = Tally(listed=9, seen=5), Tally(listed=4, seen=1)
    first.judging_only.update({objects.CROWD: 2, objects.SMALL: 1})
    first.dropped.update({"not_finite": 1})
    second.without_mask.update({"bad_rle": 2, targets.NO_MASK: 1})
    second.dropped.update({targets.REFUSED_IMAGE: 3})
    total = Tally.sum([first, second])
    assert total.lost == {"bad_rle": 2, objects.SMALL: 1, "not_finite": 1}
    assert total.listed == total.seen + sum((total.judging_only + total.dropped).values()) == 13
    assert Tally.of(total.record()) == total and first.listed == 9


def test_the_page_explains_every_reason() -> None:
    page = (PROJECT / "docs" / "annotations.md").read_text()
    explained = set(re.findall(r"`([a-z_]+)`", page))
    source = "".join(
        (PROJECT / "pipeline" / "datasets" / f"{name}.py").read_text() for name in CODE
    )
    used = set(
        re.findall(
            r'"((?:area|iscrowd|no|not|bad|below|box|clipped|degenerate|negative|looks|outline|polygon|'
            r'unlabelled|image)_[a-z_]+|crowd|unlabelled)"',
            source,
        )
    )
    used -= {"image_id", "not_an_image", "no_image", "not_in_annotations", "missing_image"}
    assert len(used) > 15 and used <= explained, used - explained
