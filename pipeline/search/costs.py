"""What a trial's network costs, by counting: parameters and MACs."""

from dataclasses import dataclass, field

from pipeline.params.registry import classifier
from pipeline.runs.run import Run


@dataclass
class Costs:
    """Parameters and MACs of networks, counted once for those that are alike."""

    known: dict[str, dict[str, int]] = field(default_factory=dict)

    def of(self, run: Run) -> dict[str, int]:
        """Return the costs of a classification run's network; of other tasks' only the finished run
        knows some.
        """
        if run.task != classifier():
            return {}
        variant = run.section.variants[run.variant]
        key = repr((variant.model_name, variant.overrides, run.recipe.image_size))
        if key not in self.known:
            self.known[key] = _count(run)
        return self.known[key]


def _count(run: Run) -> dict[str, int]:
    from models.counting.macs import count_macs
    from pipeline.shards.reader import read_manifest
    from pipeline.tasks.base import create

    model = create(run.task, run.section, run.variant, read_manifest(run.shards, run.cache)).build()
    parameters = sum(parameter.numel() for parameter in model.parameters())

    return {
        "parameters": parameters,
        "macs": int(count_macs(model, run.recipe.image_size)["total"]),
    }
