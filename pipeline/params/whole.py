"""The whole of params.yaml, read and checked at once, before any work."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError, create_model, model_validator

from pipeline.core.errors import UserError
from pipeline.params.data import Dataset
from pipeline.params.folders import TASKS
from pipeline.params.overrides import override
from pipeline.params.reading import read_tree
from pipeline.params.registry import classifier, datasets, tasks
from pipeline.params.searches import Factorial, Tune
from pipeline.params.section import Section, merged
from pipeline.params.sections import Cluster, Compare, Planning, Profile, Shard, Tracking
from pipeline.params.sentences import sentence
from pipeline.params.tasks import Task
from pipeline.params.variants import Variant

MOST_SENTENCES = 40


if TYPE_CHECKING:

    class Data(Section):
        """The data sets, each by its name."""

        def __getattr__(self, name: str) -> Dataset: ...
else:
    Data = create_model(
        "Data",
        __base__=Section,
        __module__=__name__,
        __doc__="The data sets, each by its name.",
        **{name: (about.section, about.section()) for name, about in datasets().items()},
    )


class _First(Section):
    data: Data = Data()
    shard: Shard = Shard()


if TYPE_CHECKING:

    class _Tasks(_First):
        def __getattr__(self, name: str) -> Any: ...
else:
    _Tasks = create_model(
        "_Tasks",
        __base__=_First,
        __module__=__name__,
        **{name: (about.section, about.section()) for name, about in tasks().items()},
    )


class Params(_Tasks):
    """The whole of params.yaml; each task has the section of its name."""

    tune: Tune = Tune()
    factorial: Factorial = Factorial()
    profile: Profile = Profile()
    plan: Planning = Planning()
    compare: Compare = Compare()
    cluster: Cluster = Cluster()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def agree(self) -> Self:
        """Check sections against each other."""
        sections = {task: getattr(self, task) for task in TASKS}
        for task, section in sections.items():
            self._check_data(task, section)
            if task != classifier():
                self._check_start(task, section)

        for name, (left, right) in self.compare.primary.items():
            self._check_contrast(f"compare.primary.{name}", left, right)

        for section in sections.values():
            for name in section.variants:
                count = section.recipe_of(name).micro_batches
                if count % self.cluster.min_workers:
                    raise ValueError(
                        f"cluster.workers {self.cluster.min_workers} does not divide the {count} "
                        "micro-batches of a global "
                        f"batch ({name}); use a number of workers that divides {count}"
                    )

        return self

    def _check_data(self, task: str, section: Task) -> None:
        """Check that the data set has targets of the kind that the task reads."""
        reads = tasks()[task].target
        has = datasets()[section.dataset].target
        if reads not in (None, has):
            fitting = [name for name, about in datasets().items() if about.target == reads]
            raise ValueError(
                f"{task}.dataset {section.dataset} has .{has} targets, and {task} reads .{reads}; "
                f"use {' or '.join(fitting)}"
            )

    def _check_contrast(self, where: str, *stages: str) -> None:
        """Check that a contrast is of two variants of one task."""
        for stage in stages:
            task, _, name = stage.partition("@")
            if name not in getattr(self, task).variants:
                raise ValueError(
                    f"{where} names {stage}, and {task}.variants has no {name}; add it"
                )

        left, right = (stage.partition("@")[0] for stage in stages)
        if left != right or len(set(stages)) < len(stages):
            raise ValueError(
                f"{where} sets {' against '.join(stages)}; name two variants of one task"
            )

    def _check_start(self, task: str, section: Task) -> None:
        """Check that the classification variant that a variant starts from is there, and the same
        network.
        """
        for name, variant in section.variants.items():
            if section.recipe_of(name).init_from != classifier():
                continue
            where = f"{task}.variants.{name} starts from {classifier()}.variants.{name}"
            start = getattr(self, classifier()).variants.get(name)
            if start is None:
                raise ValueError(
                    f"{where}, which is not there; add it, or set init_from: null and train "
                    "outside of dvc"
                )
            if differing := differences(variant, start):
                raise ValueError(
                    f"{where}, another network: {', '.join(differing)}; make them agree, or "
                    "rename one"
                )


def differences(variant: Variant, other: Variant) -> list[str]:
    """Return the names of what makes two variants other networks; drop path has no weights."""
    left, right = (
        {"mixer": v.model_name, **v.overrides, "drop_path_rate": None} for v in (variant, other)
    )

    return [
        name for name in sorted(left.keys() | right.keys()) if left.get(name) != right.get(name)
    ]


def load(path: Path, overrides: list[str] | None = None) -> Params:
    """Read and validate params.yaml, with `a.b.c=value` overrides applied first.

    Raises:
        UserError: naming every wrong key and value at once.
    """
    tree = read_tree(path)
    for item in overrides or []:
        override(tree, item, Params)

    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        wrong = [sentence(e, Params, "") for e in error.errors()[:MOST_SENTENCES]]
        lines = list(dict.fromkeys([*wrong, *islice(_recipe_errors(tree), MOST_SENTENCES)]))
        more = error.error_count() - len(wrong)
        lines += [f"and {more} more"] if more else []
        raise UserError(
            f"{path} does not fit:\n" + "\n".join(f"  {line}" for line in lines)
        ) from None


def _recipe_errors(tree: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong in variants' own recipes, which pydantic reaches only where all else is
    right.
    """
    for task in TASKS:
        recipe = type(Params.model_fields[task].default.recipe)
        section = tree.get(task)
        variants = section.get("variants") if isinstance(section, dict) else None
        for name, entry in variants.items() if isinstance(variants, dict) else ():
            changes = entry.get("recipe") if isinstance(entry, dict) else None
            try:
                recipe.model_validate(
                    merged(recipe().model_dump(), changes if isinstance(changes, dict) else {})
                )
            except ValidationError as error:
                where = f"{task}.variants.{name}.recipe"
                yield from (sentence(e, recipe, where) for e in error.errors())
