"""dvc.yaml runs the stages and nothing else, whatever a params.yaml that nobody has checked yet
calls its variants.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers import PROJECT

VARIANT = {"mixer": "dwnet", "size": "micro"}
SHELL = ("x; touch PWNED #", "`touch PWNED`", "a'; touch PWNED; '", '"; touch PWNED; "')
MORE = ("$(touch PWNED)", "x\ntouch PWNED\n", "-x", "--out=PWNED", "\\'; touch PWNED #", "${IFS}")
CLIMBING = ("../../keep", "../keep", "x/../../../keep", "../../../keep")


def project(folder: Path, task: str, names: tuple[str, ...]) -> None:
    """Make a DVC project whose task has variants of these names."""
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    for name in ("pipeline", "models"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(PROJECT / "dvc.yaml", folder / "dvc.yaml")
    tree = yaml.safe_load((PROJECT / "params.yaml").read_text())
    for section in ("classify", "detect", "segment"):
        tree[section]["variants"] = {name: VARIANT for name in names if section == task}
    (folder / "params.yaml").write_text(json.dumps(tree))


def test_no_command_holds_what_params_say() -> None:
    for body in yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"].values():
        words = set(re.findall(r"\$\{(.*?)\}", body.get("do", body)["cmd"]))
        assert not words or (words == {"item"} and isinstance(body["foreach"], list))


@pytest.mark.parametrize("names", [SHELL, pytest.param((*SHELL, *MORE), marks=pytest.mark.faults)])
def test_a_variants_name_reaches_no_shell(tmp_path: Path, names: tuple[str, ...]) -> None:
    project(tmp_path, "classify", names)
    ran = subprocess.run(
        ["dvc", "repro", "--keep-going", "profile"], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.stderr.count("this is no name; use letters, digits and _") >= len(names), ran.stderr[
        -2000:
    ]
    assert not list(tmp_path.rglob("PWNED"))


@pytest.mark.parametrize(
    ("task", "name"),
    [("detect", "../../keep")]
    + [
        pytest.param(task, name, marks=pytest.mark.faults)
        for task in ("classify", "detect")
        for name in CLIMBING
    ],
)
def test_a_variants_name_leads_to_no_other_folder(tmp_path: Path, task: str, name: str) -> None:
    """DVC removes a stage's outputs before it runs; a name that climbs out collides with what else
    is under it.
    """
    folder = tmp_path / "project"
    folder.mkdir()
    project(folder, task, (name,))
    kept = folder / "results" / task / name / "photograph"
    (folder / "results" / task / "x").mkdir(parents=True)
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    ran = subprocess.run(
        ["dvc", "repro", f"{task}@{name}"], cwd=folder, capture_output=True, text=True
    )
    assert ran.returncode != 0 and kept.read_text() == "mine", ran.stderr
