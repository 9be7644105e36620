"""MLflow's pages as those who compare want to find them: which view opens, with which columns, and
what an experiment is about.

MLflow opens an experiment in its view for language models unless the address says otherwise, and
takes columns from a view that is shared: a tag of the experiment that the address names.
"""

import json
from typing import TYPE_CHECKING

from pipeline.params.registry import tasks

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE = "mlflow.note.content"
VIEW = "compare"
"""The name of the shared view."""
PARAMS = ("mixer", "kernel_size", "group_channels", "dynamic", "seed", "parameters", "macs")
COMPARE = """To compare in three clicks:

1. tick the box left of **Run Name**, which ticks every run (or tick those that you mean),
2. **Compare**,
3. in *Parallel Coordinates Plot* or *Scatter Plot* choose a parameter and `{metric}`.
"""
QUESTIONS = {
    "tune": "Which mixer, kernel size and sharing of weights is best, at the same length of "
    "training? One run holds the search; its trials are below it.",
    "factorial": "What do sharing over positions, sharing over channels and dynamic weights each "
    "bring, all else equal? One run holds the design; its trials are below it.",
}


def address(server: str, experiment: str) -> str:
    """Return the address of an experiment's runs, in the view for trained networks."""
    return (
        f"{server}/#/experiments/{experiment}/runs"
        f"?workflowType=machine_learning&viewStateShareKey={VIEW}"
    )


def run_address(server: str, run: str) -> str:
    """Return the address of a run, in the view for trained networks.

    MLflow goes by the run, whatever stands in the place of its experiment; its shorter address
    would lose the view.
    """
    return f"{server}/#/experiments/0/runs/{run}?workflowType=machine_learning"


def experiments(client: "MlflowClient") -> dict[str, str]:
    """Return the id of each experiment that has runs, by name."""
    entities = client.search_experiments(order_by=["name ASC"])
    ids = {experiment.name: str(experiment.experiment_id) for experiment in entities}
    return {
        name: identifier
        for name, identifier in ids.items()
        if client.search_runs([identifier], max_results=1)
    }


def tags_of(experiment: str) -> dict[str, str]:
    """Return what an experiment is given when it is made: words, and the view for comparing."""
    metric = f"eval/{_main_metric(experiment)}"
    question = QUESTIONS.get(
        experiment, f"How good is each way of mixing neighbours at the task *{experiment}*?"
    )
    columns = [*(f"params.`{name}`" for name in PARAMS), f"metrics.`{metric}`"]

    view = {
        "searchFilter": "",
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
    }

    return {
        NOTE: f"{question}\n\n{COMPARE.format(metric=metric)}",
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
        "mlflow.experimentKind": "custom_model_development",
    }


def _main_metric(experiment: str) -> str:
    about = tasks().get(experiment)
    return next(iter((about or next(iter(tasks().values()))).metrics))
