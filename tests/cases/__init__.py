"""What people bring: small inputs of every kind, each with what the stages are to make of it."""

from tests.cases import ade20k, coco, imagenet, layouts

ALL = [*imagenet.CASES, *coco.CASES, *ade20k.CASES, *layouts.CASES]
