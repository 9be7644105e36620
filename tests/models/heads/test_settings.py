"""The numbers of the heads are those of params.yaml, which knows nothing of torch."""

from dataclasses import fields

import pytest

from models.heads import settings
from pipeline.tasks.detect.recipe import Cascade, Proposals
from pipeline.tasks.segment.recipe import UPerNet


@pytest.mark.parametrize(
    ("section", "heads"),
    [
        (Proposals, settings.ProposalSettings),
        (Cascade, settings.CascadeSettings),
        (UPerNet, settings.UPerNetSettings),
    ],
)
def test_fields_and_defaults_are_those_of_the_recipes(section, heads):
    own = {field.name: field.default for field in fields(heads)}
    # How a task evaluates is no part of its network.
    theirs = {
        key: field.default
        for key, field in section.model_fields.items()
        if not key.startswith("test_")
    }
    assert list(own.items()) == list(theirs.items())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"mask_size": 27}, "mask_size must be even"), ({"ious": (0.5, 0.6)}, "three entries each")],
)
def test_numbers_that_no_cascade_can_have_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        settings.CascadeSettings(**wrong)
