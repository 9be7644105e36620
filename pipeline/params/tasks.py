"""The three tasks: data, recipe, seeds and variants of each."""

from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.params.recipes import BaseRecipe, DetectRecipe, Recipe, SegmentRecipe
from pipeline.params.section import Name, Section, Seeds, merged
from pipeline.params.sentences import sentence
from pipeline.params.variants import Variant

TASKS = ("classify", "detect", "segment")


class Task(Section):
    """A task: its data, recipe, seeds (the first is published) and variants."""

    dataset: Literal["imagenet", "coco", "ade20k"]
    seeds: Seeds = (0,)
    recipe: BaseRecipe
    variants: dict[Name, Variant] = Field(default_factory=dict)

    @model_validator(mode="after")
    def whole(self) -> Self:
        """Check seeds, and each variant's recipe as merged into the task's."""
        wrong = []
        for name in self.variants:
            if len(set(self.seeds_of(name))) != len(self.seeds_of(name)):
                wrong.append(f"variants.{name}: seeds names a seed twice")
            try:
                self.recipe_of(name)
            except ValidationError as error:
                where = f"{type(self).__name__.lower()}.variants.{name}.recipe"
                wrong += [sentence(e, type(self.recipe), where) for e in error.errors()]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def seeds_of(self, variant: str) -> tuple[int, ...]:
        """Return the variant's own seeds, or else the task's."""
        return self.variants[variant].seeds or self.seeds

    def recipe_of(self, variant: str) -> Any:
        """Return the task's recipe with the variant's own numbers merged in."""
        return type(self.recipe).model_validate(
            merged(self.recipe.model_dump(), self.variants[variant].recipe)
        )


class Classify(Task):
    """ImageNet classification."""

    dataset: Literal["imagenet"] = "imagenet"
    recipe: Recipe = Recipe()


class Detect(Task):
    """COCO detection and instance segmentation."""

    dataset: Literal["coco"] = "coco"
    recipe: DetectRecipe = DetectRecipe()


class Segment(Task):
    """ADE20K semantic segmentation."""

    dataset: Literal["ade20k"] = "ade20k"
    recipe: SegmentRecipe = SegmentRecipe()
