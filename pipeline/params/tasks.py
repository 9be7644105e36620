"""What the sections of all tasks have in common: data, recipe, seeds and variants."""

from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.params.folders import DatasetName
from pipeline.params.recipes import BaseRecipe
from pipeline.params.section import Name, Section, Seeds, merged
from pipeline.params.sentences import sentence
from pipeline.params.variants import Variant


class Task(Section):
    """A task: its data, recipe, seeds (the first is published) and variants."""

    dataset: DatasetName
    """Data set that is trained on."""
    seeds: Seeds = (0,)
    """Seeds of every variant; the first is published."""
    recipe: BaseRecipe
    variants: dict[Name, Variant] = Field(default_factory=dict)
    """Networks to train, by name."""

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
                where = f"{self.task}.variants.{name}.recipe"
                wrong += [sentence(e, type(self.recipe), where) for e in error.errors()]

        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @property
    def task(self) -> str:
        """The task's name, which is that of the folder of its section."""
        return type(self).__module__.split(".")[-2]

    def seeds_of(self, variant: str) -> tuple[int, ...]:
        """Return the variant's own seeds, or else the task's."""
        return self.variants[variant].seeds or self.seeds

    def recipe_of(self, variant: str) -> Any:
        """Return the task's recipe with the variant's own numbers merged in."""
        return type(self.recipe).model_validate(
            merged(self.recipe.model_dump(), self.variants[variant].recipe)
        )
