"""A stage of DVC's tries only what its entry in dvc.yaml lets DVC see change."""

import shutil
from pathlib import Path

import pytest
import yaml
from helpers import PROJECT, run_stage, write_shards

from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.params import load
from pipeline.search.watched import refuse_unwatched

VERBS = ("tune", "factorial")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(PROJECT / "dvc.yaml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("verb", VERBS)
def test_a_stage_tries_the_task_that_it_depends_on(
    project: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_STAGE", verb)
    refuse_unwatched(project, verb, "classify")
    with pytest.raises(UserError, match=rf"the stage {verb} of dvc.yaml .* nothing of detect's"):
        refuse_unwatched(project, verb, "detect")
    monkeypatch.delenv("DVC_STAGE")
    refuse_unwatched(project, verb, "detect")


def test_a_stage_whose_entry_was_changed_may(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = yaml.safe_load((project / "dvc.yaml").read_text())
    tree["stages"]["tune"]["params"] = ["tune", "detect.dataset", "detect.recipe"]
    (project / "dvc.yaml").write_text(yaml.safe_dump(tree))
    monkeypatch.setenv("DVC_STAGE", "dvc.yaml:tune")
    refuse_unwatched(project, "tune", "detect")
    with pytest.raises(UserError, match="segment"):
        refuse_unwatched(project, "tune", "segment")


def test_the_command_asks(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pipeline", "models"):
        (project / name).symlink_to(PROJECT / name)
    tune = {
        "task": "detect",
        "space": {"kernel_size": [3]},
        "base": {"mixer": "dwnet", "size": "micro"},
    }
    tune["recipe"] = {"init_from": None}
    (project / "params.yaml").write_text(yaml.safe_dump({"tune": tune}))
    request = load(project / "params.yaml").data.coco.model_dump(mode="json")
    inventory = {"request": request, "splits": {}, "digest": "0"}
    write_json(project / "data/raw/coco.json", inventory)
    write_shards(project / "data/shards/coco", [20])
    monkeypatch.setenv("DVC_STAGE", "tune")
    with pytest.raises(UserError, match=r"run it outside of dvc, `python -m pipeline\.tune --set"):
        run_stage(project, "pipeline.tune")
