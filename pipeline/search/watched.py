"""Whether DVC would see what a search's trials are made from change."""

import os
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.params.reading import read_tree


def refuse_unwatched(project: Path, verb: str, task: str) -> None:
    """Stop a stage of DVC's whose trials are of a task that its entry in dvc.yaml does not name:
    `dvc repro` would skip it after a change of that task's recipe, data or code.

    A command that DVC did not start may try any task.

    Args:
        project: the folder of dvc.yaml.
        verb: the command, and its section of the parameters.
        task: what its trials are trained for.

    Raises:
        UserError: the stage's `params` have nothing of the task.
    """
    stage = os.environ.get("DVC_STAGE", "").rpartition(":")[2].partition("@")[0]
    if not stage:
        return

    entry = read_tree(project / "dvc.yaml").get("stages", {}).get(stage, {})
    params = [str(name) for name in entry.get("do", entry).get("params", [])]
    if not any(name == task or name.startswith(f"{task}.") for name in params):
        raise UserError(
            f"{verb}.task is {task}, and the stage {stage} of dvc.yaml depends on nothing of "
            f"{task}'s, so that dvc would not see its recipe, data or code change; run it outside "
            f"of dvc, `python -m pipeline.{verb} --set {verb}.task={task}`, or name them in the "
            "stage's deps and params"
        )
