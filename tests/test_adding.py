"""docs/adding-a-dataset.md and docs/adding-a-task.md are followed step by step in a copy of the project."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import AS_HERE, PROJECT

PAGES = [(PROJECT / "docs" / f"adding-a-{name}.md").read_text() for name in ("dataset", "task")]
DATASETS = ("cups", "leaves", "tiles")
NAMED = ["imagenet", "coco", "ade20k", "leaves", "cups", "tiles"]
STEPS = """
import json, sys
from pathlib import Path
from pipeline.params import load
from pipeline.rehearsal.data import shards_of
from pipeline.rehearsal.places import places_of
from pipeline.rehearsal.steps import take
params = load(Path("params.yaml"), sys.argv[3:])
[place, *_] = places_of(params, sys.argv[2])[0]
scratch = Path(sys.argv[1])
taken = take(place, shards_of(place.section.dataset, params.shard, scratch), scratch)
print(json.dumps([taken.steps, taken.losses, taken.metric, taken.value, taken.error]))
"""
LIGHT = """
import sys
import pipeline.params
print(sorted({"numpy", "PIL", "torch", "ray"} & sys.modules.keys()))
"""


def fenced(page: str, language: str) -> list[str]:
    """Return a page's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def commands(page: str, program: str) -> list[list[str]]:
    lines = [line for fence in fenced(page, "sh") for line in fence.splitlines()]
    return [line.split()[1:] for line in lines if line.startswith(f"{program} ")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which all was done that the pages say."""
    folder = tmp_path_factory.mktemp("copied")
    for name in ("models", "pipeline", "tests"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for source in (block for page in PAGES for block in fenced(page, "python")):
        path = folder / source.splitlines()[0].removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
    (foreach, sources), (section, stage) = (fenced(page, "yaml") for page in PAGES)
    params, stages = ((PROJECT / name).read_text() for name in ("params.yaml", "dvc.yaml"))
    params = re.sub(r"^data:.*\n", lambda match: match[0] + sources, params, flags=re.MULTILINE)
    stages = stages.replace("    foreach: [imagenet, coco, ade20k]\n", foreach)
    (folder / "params.yaml").write_text(f"{params}\n{section}")
    (folder / "dvc.yaml").write_text(stages.replace("stages:\n", f"stages:\n{stage}\n"))
    shutil.copy(PROJECT / "pyproject.toml", folder)
    return folder


def python(project: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_stages_of_the_pages_are_those_of_the_pipeline(project: Path) -> None:
    stages = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    params = yaml.safe_load((project / "params.yaml").read_text())
    assert stages["fetch"]["foreach"] == stages["shard"]["foreach"] == NAMED
    for target in [
        target for page in PAGES for [_, *all_] in commands(page, "dvc") for target in all_
    ]:
        name, _, key = target.partition("@")
        items = stages[name]["foreach"]
        assert key in (items if isinstance(items, list) else params[name]["variants"])


def test_the_commands_of_the_data_page_list_what_is_drawn(project: Path) -> None:
    listed = [python(project, *command) for command in commands(PAGES[0], "python")]
    assert [text.split(":")[0] for text in listed] == ["leaves", "cups", "tiles"]
    for name in DATASETS:
        found = json.loads((project / "data" / "raw" / f"{name}.json").read_text())
        asked = found["request"]["synthetic"]
        assert not found["refused"]
        for split in ("train", "val"):
            assert found["splits"][split]["samples"] == asked[split]


def test_the_test_of_the_task_page_passes(project: Path) -> None:
    [command] = commands(PAGES[1], "python")
    assert "passed" in python(project, *command, *AS_HERE)


@pytest.mark.parametrize(
    ("task", "settings", "metric"),
    [
        ("measure", [], "within"),
        ("classify", ["classify.dataset=leaves"], "top1"),
    ],
)
def test_new_data_are_cut_into_shards_and_trained_on(
    project: Path, tmp_path: Path, task: str, settings: list[str], metric: str
) -> None:
    printed = python(project, "-c", STEPS, str(tmp_path), task, *settings)
    steps, losses, main, value, error = json.loads(printed.splitlines()[-1])
    assert error is None
    assert (steps, len(losses), main) == (2, 2, metric)
    assert 0 <= value <= 100


def test_a_task_refuses_data_with_targets_of_another_kind(project: Path) -> None:
    program = "import sys; from pathlib import Path; from pipeline.params import load; "
    program += "print(load(Path('params.yaml'), sys.argv[1:]).detect.dataset)"
    assert python(project, "-c", program, "detect.dataset=cups").strip() == "cups"
    with pytest.raises(AssertionError, match=r"detect reads \.json; use coco or cups"):
        python(project, "-c", program, "detect.dataset=leaves")


def test_params_stay_light_to_import() -> None:
    assert python(PROJECT, "-c", LIGHT).strip() == "[]"


def test_a_folder_that_says_nothing_is_named(project: Path, tmp_path: Path) -> None:
    for name in ("models", "pipeline"):
        shutil.copytree(project / name, tmp_path / name)
    (tmp_path / "pipeline" / "tasks" / "measure" / "about.py").write_text('"""Nothing."""\n')
    with pytest.raises(AssertionError, match=r"measure/about\.py says nothing of 'measure'"):
        python(tmp_path, "-c", "import pipeline.params")
