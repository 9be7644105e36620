"""`python -m pipeline.plan` in a project of its own, with DVC as it is; figures are those of a
calculation by hand.
"""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import PROJECT, SEALED, finished_record, make_project, run_stage, write_shards

from models import create_model
from models.counting.macs import count_macs
from pipeline import repro
from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.params import load
from pipeline.planning import disk
from pipeline.project.call import Call
from pipeline.project.cli import call, parser
from pipeline.runs.make import runs_of
from pipeline.search import driver
from pipeline.search.factorial import design
from pipeline.search.factorial import trials as factorial_trials
from pipeline.search.tune import space as tune_space
from pipeline.search.tune import trials as tune_trials

DATA = {"train": 160, "val": 37, "image_size": 32}
RECIPE = {
    "duration": {"epochs": 6},
    "image_size": 32,
    "eval_resize": 32,
    "micro_batch": 8,
    "micro_batches": 2,
    "evaluate_every": {"epochs": 4},
    "checkpoint_every": {"steps": 20},
    "schedule": {"warmup": {"steps": 5}},
}
DENSE = {
    "duration": {"steps": 30},
    "micro_batch": 2,
    "micro_batches": 2,
    "schedule": {"warmup": {"steps": 5}},
}
PARAMS: dict[str, Any] = {
    "data": {name: {"synthetic": DATA} for name in ("imagenet", "coco", "ade20k")},
    "shard": {"samples_per_shard": 50},
    "classify": {
        "dataset": "imagenet",
        "seeds": [0],
        "recipe": RECIPE,
        "variants": {
            "dwnet_micro": {"mixer": "dwnet", "size": "micro", "seeds": [0, 1, 2]},
            "swin_micro": {"mixer": "swin", "size": "micro", "recipe": {"duration": {"steps": 7}}},
        },
    },
    "detect": {"dataset": "coco", "seeds": [0], "recipe": DENSE, "variants": {}},
    "segment": {
        "dataset": "ade20k",
        "seeds": [0],
        "recipe": DENSE,
        "variants": {"dwnet_micro": {"mixer": "dwnet", "size": "micro"}},
    },
    "profile": {"batch_size": 4, "warmup": 1, "timed": 2},
    "compare": {"least_seeds": 3},
    "cluster": {"workers": 2},
}
STAGES = {
    *(f"{verb}@{name}" for verb in ("fetch", "shard") for name in ("imagenet", "coco", "ade20k")),
    *(
        f"{verb}@{name}"
        for verb in ("classify", "profile")
        for name in ("dwnet_micro", "swin_micro")
    ),
    "segment@dwnet_micro",
    "compare",
}
DATA_STAGES = ("fetch", "shard")
SEARCHES = {
    "tune": {"cmd": "python -m pipeline.tune", "params": ["tune"], "outs": ["results/tune"]},
    "factorial": {
        "cmd": "python -m pipeline.factorial",
        "params": ["factorial"],
        "outs": ["results/factorial"],
    },
}
READ_OF_SEARCHES = ("results/tune", "results/factorial")
PROFILE = {
    "variant": "dwnet_micro",
    "mixer": "dwnet",
    "size": "micro",
    "model": "dwnet_micro",
    "overrides": {},
    "parameters": 300_000,
    "macs": 1_200_000,
    "macs_rule": "flops()",
    "image_size": 32,
    "batch_size": 4,
    "warmup": 1,
    "timed": 1,
    "device": "cpu some",
    "threads": 4,
    "precision": "fp32",
    "layout": "channels_last",
    "train_images_per_second": 100.0,
    "inference_images_per_second": 400.0,
}


def profile_of(variant: str, **values: Any) -> dict[str, Any]:
    return {
        **PROFILE,
        "variant": variant,
        "mixer": variant.split("_")[0],
        "model": variant,
        **values,
    }


def write_params(folder: Path, params: dict[str, Any]) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as it is cloned: nothing ever ran."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("fresh")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("pipeline", "models"):
        shutil.copytree(PROJECT / name, folder / name, ignore=ignore)
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    stages = {verb: body for verb, body in stages.items() if verb not in SEARCHES}
    for body in stages.values():
        body = body.get("do", body)
        body["deps"] = [dep for dep in body.get("deps", []) if not dep.startswith(READ_OF_SEARCHES)]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    for task in ("detect", "segment"):
        (folder / "results" / task).mkdir(parents=True)
        (folder / "results" / task / ".keep").touch()
    write_params(folder, PARAMS)
    Repo.init(str(folder), no_scm=True).close()
    return folder


@pytest.fixture(scope="module")
def done(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stages are all up to date, as far as DVC can tell: their outputs are stood in
    for.
    """
    folder = tmp_path_factory.mktemp("done") / "project"
    shutil.copytree(fresh, folder)
    sizes = ([50, 50, 50, 10], [37])
    for name in ("imagenet", "coco", "ade20k"):
        request = getattr(load(folder / "params.yaml").data, name).model_dump(mode="json")
        splits = {"train": {"samples": 160, "bytes": 1600}, "val": {"samples": 37, "bytes": 370}}
        write_json(
            folder / "data/raw" / f"{name}.json",
            {"request": request, "splits": splits, "digest": "0"},
        )
        write_shards(folder / "data/shards" / name, *sizes)
    for variant in ("dwnet_micro", "swin_micro"):
        write_json(folder / "results/profile" / variant / "profile.json", profile_of(variant))
        (folder / "results/classify" / variant).mkdir(parents=True)
        (folder / "results/classify" / variant / "model.safetensors").write_text(variant)
    for output in ("segment/dwnet_micro", "report", "metrics", "plots"):
        write_json(folder / "results" / output / "metrics.json", {})
    commit(folder)
    return folder


def commit(project: Path) -> None:
    """Let DVC take what is there for the outputs of what is there."""
    from dvc.repo import Repo

    with contextlib.chdir(project):
        repo = Repo(str(project))
        repo.commit(force=True)
        repo.close()


def commit_only(project: Path, *stages: str) -> None:
    """Let DVC take the outputs of some stages for done."""
    from dvc.repo import Repo

    with contextlib.chdir(project):
        repo = Repo(str(project))
        for stage in stages:
            repo.commit(target=stage, force=True)
        repo.close()


@contextlib.contextmanager
def changed(project: Path, **sections: Any) -> Iterator[None]:
    """Change sections of params.yaml for the duration of the block."""
    before = (project / "params.yaml").read_text()
    write_params(project, {**PARAMS, **sections})
    try:
        yield
    finally:
        (project / "params.yaml").write_text(before)


def with_variant(name: str, **values: Any) -> dict[str, Any]:
    classify = PARAMS["classify"]
    return {
        **classify,
        "variants": {**classify["variants"], name: {**classify["variants"][name], **values}},
    }


def planned(project: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    capsys.readouterr()
    run_stage(project, "pipeline.plan", "--json", *options)
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def shown(project: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    run_stage(project, "pipeline.plan", *options)
    return capsys.readouterr().out


def rows(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["stage"]: row for row in said["stages"]}


def files(project: Path) -> dict[str, bytes]:
    """Return what is in a project, DVC's own scratch aside."""
    paths = (path for path in project.rglob("*") if path.is_file() and ".dvc" not in path.parts)
    return {str(path): path.read_bytes() for path in paths if "__pycache__" not in path.parts}


def asked(project: Path, *options: str) -> Call:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        return call(parser("", "python -m pipeline.plan").parse_args(list(options)))


def test_a_fresh_clone_runs_everything(fresh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(fresh)
    said = planned(fresh, capsys)
    found = rows(said)
    assert set(found) == STAGES and (said["up_to_date"], said["from_cache"]) == ([], [])
    # 160 images make 10 steps of 16; 6 epochs are 60 steps, evaluated after 40 and at the end, with
    # three seeds.
    dwnet = found["classify@dwnet_micro"]
    assert (dwnet["steps"], dwnet["images"], dwnet["evaluated"]) == (180, 2880, 3 * 2 * 37)
    swin = found["classify@swin_micro"]
    assert (swin["steps"], swin["images"], swin["evaluated"]) == (7, 112, 37)
    # 40 steps an epoch, and one evaluation every epoch of 40 steps: at the end of the 30.
    dense = found["segment@dwnet_micro"]
    assert (dense["steps"], dense["images"], dense["evaluated"]) == (30, 120, 37)
    profile = found["profile@swin_micro"]
    assert (profile["images"], profile["evaluated"], profile["steps"]) == (4 * 3, 4 * 3, 0)
    assert found["shard@coco"]["images"] == 197
    timed = [
        row for row in found.values() if row["images"] and not row["stage"].startswith(DATA_STAGES)
    ]
    assert len(timed) == 5 and all(row["round_figures"] for row in timed)
    assert said["totals"]["steps"] == 217 and said["totals"]["untimed"] == 0
    assert any("dvc repro profile@" in sentence for sentence in said["warnings"])
    assert files(fresh) == before


def test_nothing_is_left_where_all_is_done(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = planned(done, capsys)
    assert said["stages"] == [] and set(said["up_to_date"]) == STAGES
    assert shown(done, capsys).startswith("Nothing would run.\nUp to date: fetch@imagenet, ")


def would_run(project: Path) -> set[str]:
    """Return what DVC itself says."""
    script = "from dvc.cli import main; import sys; sys.exit(main(['repro', '--dry']))"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True
    )
    return {
        line.split("'")[1] for line in ran.stdout.splitlines() if line.startswith("Running stage")
    }


def test_a_changed_variant_runs_alone(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with changed(done, classify=with_variant("swin_micro", shift=False)):
        said = planned(done, capsys)
        assert (
            set(rows(said))
            == {"classify@swin_micro", "profile@swin_micro", "compare"}
            == would_run(done)
        )
        assert rows(said)["classify@swin_micro"]["why"] == "params: classify.variants.swin_micro"
        assert set(said["up_to_date"]) == STAGES - set(rows(said))


def test_what_comes_after_a_stage_that_runs_is_counted(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DVC's dry run judges those by files that are about to change; the plan does not."""
    with changed(done, data={**PARAMS["data"], "ade20k": {"synthetic": {**DATA, "seed": 1}}}):
        said = planned(done, capsys)
    found = rows(said)
    assert set(found) == {"fetch@ade20k", "shard@ade20k", "segment@dwnet_micro", "compare"}
    assert found["segment@dwnet_micro"]["after"] == ["shard@ade20k"]
    assert any("Counted in full" in sentence for sentence in said["warnings"])


def test_changed_code_runs_what_it_decides(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = done / "models/mixers/swin.py"
    before = code.read_text()
    code.write_text(before + "\n")
    found = rows(planned(done, capsys))
    code.write_text(before)
    assert found["classify@swin_micro"]["why"] == "code: models/mixers/swin.py"
    assert set(found) == {"classify@swin_micro", "profile@swin_micro", "compare"}


@pytest.mark.parametrize(
    "code",
    [
        "models/aggregate/shared.py",
        "models/counting/macs.py",
        "models/network/blocks.py",
        "pipeline/profile.py",
        "pipeline/runs/profiling.py",
    ],
)
def test_a_profile_is_taken_again_after_its_code_changed(
    done: Path, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    before = (done / code).read_text()
    (done / code).write_text(before + "\n")
    found = rows(planned(done, capsys))
    (done / code).write_text(before)
    assert {"profile@dwnet_micro", "profile@swin_micro", "compare"} <= set(found)
    assert found["profile@swin_micro"]["why"].startswith("code: ")


def test_what_dvc_has_kept_costs_nothing(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    shutil.copytree(done, project)
    shutil.rmtree(project / "results/classify/dwnet_micro")
    said = planned(project, capsys)
    assert said["from_cache"] == ["classify@dwnet_micro"]
    assert set(rows(said)) <= {
        "compare"
    }  # it reads a folder with that in it, and may find it as it was
    assert "segment@dwnet_micro" in said["up_to_date"]


def test_a_run_that_ran_before_costs_nothing(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parameters that are changed and changed back: DVC finds the earlier run, and no run that
    never was.
    """
    project = tmp_path / "project"
    shutil.copytree(done, project)
    with changed(project, classify=with_variant("dwnet_micro", recipe={"duration": {"epochs": 5}})):
        commit(project)
    said = planned(project, capsys)
    assert {"classify@dwnet_micro", "profile@dwnet_micro"} == set(said["from_cache"])
    # Its weights are about to be others than those that are there, so what starts from them may
    # have to run.
    assert rows(said)["segment@dwnet_micro"]["after"] == ["classify@dwnet_micro"]
    with changed(project, classify=with_variant("dwnet_micro", recipe={"duration": {"epochs": 4}})):
        assert "classify@dwnet_micro" in rows(planned(project, capsys))


def test_finished_runs_cost_nothing_and_begun_ones_the_rest(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    shutil.copytree(done, project)
    again = {
        name: {**entry, "drop_path_rate": 0.1}
        for name, entry in PARAMS["classify"]["variants"].items()
    }
    write_params(project, {**PARAMS, "classify": {**PARAMS["classify"], "variants": again}})
    made = {}
    for variant in again:
        shards = project / "data/shards/imagenet"
        made[variant] = runs_of(asked(project), "classify", variant, shards)
    first, second, _ = made["dwnet_micro"]
    for run in (first, made["swin_micro"][0]):
        for name in SEALED:
            write_json(run.folder / name, run.id)
        run.finish(finished_record(run.id, run.seed), list(SEALED))
    for step in (20, 40):
        write_json(second.checkpoints / f"{step:09d}" / "seal.json", {"step": step})
    (second.checkpoints / f"{60:09d}").mkdir()  # not sealed
    said = planned(project, capsys)
    row = rows(said)["classify@dwnet_micro"]
    assert (row["finished"], row["begun"], row["runs"]) == (1, 1, 3)
    assert row["steps"] == 20 + 60 and row["images"] == 80 * 16
    assert row["evaluated"] == (1 + 2) * 37  # the evaluation after 40 steps is behind the second
    idle = rows(said)["classify@swin_micro"]
    assert (idle["finished"], idle["steps"], idle["cpu_hours"], idle["gpu_hours"]) == (
        1,
        0,
        0.0,
        0.0,
    )
    text = shown(project, capsys)
    line = next(line for line in text.splitlines() if line.startswith("classify@swin_micro"))
    assert line.split()[-2:] == ["finished", "-"]
    words = " ".join(text.split())
    assert (
        "1 of 3 runs finished, which costs nothing" in words
        and "1 of 3 runs goes on from a checkpoint" in words
    )
    (first.folder / "last.safetensors").write_text("damaged")
    assert rows(planned(project, capsys))["classify@dwnet_micro"]["finished"] == 0


def test_hours_are_of_what_was_measured(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    shutil.copytree(done, project)
    recipe = {**RECIPE, "duration": {"epochs": 600}}
    path = project / "results/profile/dwnet_micro/profile.json"
    with changed(project, classify={**PARAMS["classify"], "recipe": recipe}):
        row = rows(planned(project, capsys))["classify@dwnet_micro"]
        images, evaluated = 3 * 6000 * 16, 3 * 150 * 37
        # four cores took 1/100 s an image; two workers have a core each
        hours = 4 * (images / 100 + evaluated / 400) / 3600
        assert row["cpu_hours"] == pytest.approx(hours) and row["wall_hours"] == pytest.approx(
            hours / 2
        )
        assert (row["gpu_hours"], row["speed_from"], row["scaled"]) == (
            0.0,
            ["its own profile"],
            False,
        )
        text = shown(project, capsys)
        assert f"{hours:.1f} CPU-h" in text and "GPU" not in text

        write_json(path, {**PROFILE, "device": "NVIDIA H100", "train_images_per_second": 1.0})
        said = planned(project, capsys)
        row = rows(said)["classify@dwnet_micro"]
        hours = (images / 1 + evaluated / 400) / 3600
        assert row["gpu_hours"] == pytest.approx(hours) and row["wall_hours"] == pytest.approx(
            hours / 2
        )
        assert (row["cpu_hours"], row["devices"]) == (0.0, ["NVIDIA H100"])
        assert f"{hours:.0f} GPU-h" in shown(project, capsys)

        with changed(
            project,
            classify={**PARAMS["classify"], "recipe": recipe},
            cluster={"gpus_per_worker": 1},
        ):
            write_json(path, PROFILE)
            assert any("is no GPU" in sentence for sentence in planned(project, capsys)["warnings"])


def test_the_table_says_what_json_says(
    fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    shutil.copytree(fresh, project)
    write_json(project / "results/profile/dwnet_micro/profile.json", PROFILE)
    said, text = planned(project, capsys), shown(project, capsys)
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line}
    assert max(len(line) for line in text.splitlines()) <= 100
    for row in said["stages"]:
        cells = lines[row["stage"]]
        counts = [
            f"{row[name]:,}" if row[name] else "-" for name in ("images", "evaluated", "steps")
        ]
        assert cells[1:4] == counts
        assert ("?" in cells[4:]) == (row["disk_bytes"] is None or row["cpu_hours"] is None)
        if row["cpu_hours"]:
            unit = next(cell for cell in cells if cell.startswith("CPU-"))
            amount = float(cells[cells.index(unit) - 1].strip("~"))
            assert amount / {"CPU-s": 3600, "CPU-min": 60, "CPU-h": 1}[unit] == pytest.approx(
                row["cpu_hours"], rel=0.06
            )
    totals = lines["in"]
    assert f"{said['totals']['images']:,}" in totals and f"{said['totals']['steps']:,}" in totals
    for sentence in said["warnings"]:
        assert " ".join(sentence.split()) in " ".join(text.split())


def test_searches_are_counted_by_trials(
    fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    shutil.copytree(fresh, project)
    stages = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    (project / "dvc.yaml").write_text(
        yaml.safe_dump({"stages": {**stages, **SEARCHES}}, sort_keys=False)
    )
    space = {
        "mixer": ["dwnet", "i_dynamic_dwnet"],
        "kernel_size": [3, 9],
    }  # 9 is wider than the 8 x 8 map
    recipe = {"duration": {"epochs": 9}, "evaluate_every": {"epochs": 1}}
    tune = {
        "space": space,
        "base": {"size": "micro"},
        "seeds": [0, 1],
        "recipe": recipe,
        "scheduler": "asha",
    }
    factorial = {
        "group_channels": [1, "all"],
        "base": {"size": "micro", "kernel_size": 3},
        "seeds": [0, 1, 2],
        "budgets": {"short": {"duration": {"steps": 5}}, "long": {"duration": {"steps": 50}}},
    }
    write_params(project, {**PARAMS, "tune": tune, "factorial": factorial})
    write_json(project / "results/profile/dwnet_micro/profile.json", PROFILE)
    write_json(
        project / "results/profile/i_dynamic_dwnet_micro/profile.json",
        profile_of("i_dynamic_dwnet_micro"),
    )
    said = planned(project, capsys)
    search, design = rows(said)["tune"], rows(said)["factorial"]
    # A tenth of each shard of 50, 50, 50 and 10 is held out: 16 of 160; 9 steps of 16 an epoch.
    assert (search["runs"], search["trials"]["left_out"], search["steps"]) == (4, 2, 4 * 81)
    assert search["evaluated"] == 4 * 9 * 16
    # All to the first rung, a third to the second, the third of that to the end: (1 + 2/3 + 6/9) of
    # 9 epochs.
    assert search["trials"]["epochs_if_cut"] == pytest.approx(4 * (1 + 2 / 3 + 6 / 9))
    assert search["wall_hours"] == pytest.approx(
        search["cpu_hours"] / 2
    )  # two trials of one worker at once
    budgets = design["trials"]["budgets"]
    each = design["runs"] // 2
    assert each >= 8 * 3 and each % 3 == 0 and budgets["short"]["steps"] == each * 5
    assert budgets["long"]["steps"] == each * 50 and design["steps"] == each * 55
    assert budgets["long"]["cpu_hours"] + budgets["short"]["cpu_hours"] == pytest.approx(
        design["cpu_hours"]
    )
    text = shown(project, capsys)
    assert (
        "tune: 4 trials, 36 epochs in all; 2 combinations left out; counted in full, about 26%"
        in " ".join(text.split())
    )
    assert f"factorial, budget long: {each} trials, ~" in text
    shutil.rmtree(project / "results/profile")
    without = rows(planned(project, capsys))["factorial"]
    assert without["runs"] == design["runs"] and without["round_figures"]


@pytest.mark.parametrize("start", [None, "weights.bin"])
@pytest.mark.parametrize("verb", ["tune", "factorial"])
def test_trials_that_ended_cost_nothing(
    done: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    start: str | None,
) -> None:
    """The plan asks for the trials that the driver runs, and reads what it noted of them."""
    project = tmp_path / "project"
    shutil.copytree(done, project)
    (project / "weights.bin").write_text("weights")
    shared = {"base": {"size": "micro", "kernel_size": 3}, "recipe": {"init_from": start}}
    tune = {**shared, "space": {"mixer": ["dwnet", "swin"]}, "seeds": [0, 1], "scheduler": "asha"}
    factorial = {**shared, "group_channels": [1], "seeds": [0, 1], "controls": False}
    write_params(project, {**PARAMS, "tune": tune, "factorial": factorial})
    (project / "dvc.yaml").write_text(
        yaml.safe_dump({"stages": {verb: SEARCHES[verb]}}, sort_keys=False)
    )
    this = asked(project)
    settings = tune_space.settings_of(this.params)[0]
    designs = design.designs_of(this.params)
    shards = project / "data/shards/imagenet"
    search = (
        tune_trials.search_of(this, settings, shards)
        if verb == "tune"
        else factorial_trials.search_of(this, designs, shards)
    )

    def stop_all(call: Call, search: Any, left: list[Any], book: Any, recorder: Any) -> None:
        first, *others = left
        book.write(first.run, "failed", [], {})  # the next command tries it again
        for tried in others:
            book.write(tried.run, "stopped", [], {})

    monkeypatch.setattr(driver, "_refuse_untrainable", lambda left: None)
    monkeypatch.setattr(driver, "_train_alone", stop_all)
    before = rows(planned(project, capsys))[verb]
    driver.run_search(this, search)
    after = rows(planned(project, capsys))[verb]
    assert (before["runs"], before["finished"]) == (len(search.trials), 0)
    assert (after["runs"], after["finished"]) == (len(search.trials), len(search.trials) - 1)
    assert after["steps"] * len(search.trials) == before["steps"]


def test_a_network_from_nothing_whose_stage_waits_for_a_classifier_is_refused(
    fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC itself ends in `No such file`, after all that it ran before; an ad-hoc call may."""
    project = tmp_path / "project"
    shutil.copytree(fresh, project)
    recipe = {**DENSE, "init_from": None}
    segment = {**PARAMS["segment"], "recipe": recipe}
    sentence = r"segment@alone of dvc\.yaml .* add alone to classify\.variants, or move it to"
    write_params(project, {**PARAMS, "segment": segment})
    assert "segment@dwnet_micro" in rows(planned(project, capsys))  # with a classifier of its name
    alone = {**segment, "variants": {"alone": {"mixer": "dwnet", "size": "micro"}}}
    write_params(project, {**PARAMS, "segment": alone})
    with pytest.raises(UserError, match=sentence):
        run_stage(project, "pipeline.plan")
    monkeypatch.setattr("pipeline.repro.run_session", None)  # whoever began now would fail
    with pytest.raises(UserError, match=sentence), pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setattr("sys.argv", ["repro"])
        repro._main()
    assert "segment@alone" in rows(planned(project, capsys, "--set", "cluster.workers=1"))
    script = "from dvc.cli import main; import sys; sys.exit(main(['repro', 'segment@alone']))"
    for name in ("fetch", "shard"):  # their commands end at once, so that DVC comes to the stage
        (project / f"pipeline/{name}.py").write_text("")
    (project / "data/raw").mkdir(parents=True)
    (project / "data/raw/ade20k.json").touch()
    (project / "data/shards/ade20k").mkdir(parents=True)
    (project / "data/shards/ade20k/manifest.json").touch()
    commit_only(project, "fetch@ade20k", "shard@ade20k")
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=project, capture_output=True, text=True
    )
    assert ran.returncode and "results/classify/alone/model.safetensors" in ran.stdout + ran.stderr


def test_an_ad_hoc_call_needs_no_dvc_and_leaves_no_folder(
    fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    shutil.copytree(fresh, project, ignore=shutil.ignore_patterns(".dvc"))
    before = files(project)
    said = planned(project, capsys, "--set", "classify.recipe.duration.epochs=12")
    assert set(rows(said)) == STAGES - {"fetch@coco", "shard@coco"}  # nothing is trained on COCO
    assert rows(said)["classify@dwnet_micro"]["steps"] == 3 * 120
    assert any(
        "pipeline.profile dwnet_micro --set classify.recipe.duration.epochs=12" in s
        for s in said["warnings"]
    )
    assert files(project) == before
    with pytest.raises(UserError, match="not a DVC project"):
        run_stage(project, "pipeline.plan")


@pytest.mark.parametrize("name", ["real", "debug"])
def test_every_file_of_parameters_is_priced(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file without a search or a design has no stage of it; `paper` is priced by its rows."""
    shutil.copy(PROJECT / "dvc.yaml", make_project(tmp_path))
    path = PROJECT / f"params/{name}.yaml"
    said = planned(tmp_path, capsys, "--params", str(path))
    tree = yaml.safe_load(path.read_text())
    assert SEARCHES.keys() & rows(said).keys() == SEARCHES.keys() & tree.keys()
    assert said["totals"]["untimed"] == 0 and said["totals"]["price"] is None
    for row in said["stages"]:
        trained = row["steps"] or row["stage"].startswith("profile")
        assert row["round_figures"] == bool(trained) == bool(row["gpu_hours"] or row["cpu_hours"])


def test_round_figures_give_money_until_something_is_measured(
    fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    shutil.copytree(fresh, project)
    gpu = ["--set", "cluster.gpus_per_worker=1", "--set", "plan.gpu=V100"]
    options = [*gpu, "--set", "plan.price_per_gpu_hour=2.5"]
    said = planned(project, capsys, *options)
    row = rows(said)["classify@dwnet_micro"]
    # 2,880 images are trained on, which counts three times, and 222 evaluated.
    macs = count_macs(create_model("dwnet_micro", num_classes=1000), 32)["total"]
    seconds = (3 * 2880 + 222) * macs / (3.8e9 * 1000)
    assert row["gpu_hours"] == pytest.approx(seconds / 3600, rel=1e-6)
    assert row["speed_from"][0].startswith("round figures of one V100")
    for part in (*(row for row in said["stages"] if row["steps"]), said["totals"]):
        assert part["price"] == pytest.approx(2.5 * part["gpu_hours"])
    text = shown(project, capsys, *options)
    line = next(line for line in text.splitlines() if line.startswith("classify@dwnet_micro"))
    assert "~" in line and " round " in line and "\nAt 2.5 a GPU-hour " in text
    assert "on 2 GPUs: " in text
    profile = {**PROFILE, "device": "NVIDIA V100", "train_images_per_second": 1.0}
    write_json(project / "results/profile/dwnet_micro/profile.json", profile)
    row = rows(planned(project, capsys, *gpu))["classify@dwnet_micro"]
    assert (row["round_figures"], row["price"]) == (False, None)
    assert row["gpu_hours"] == pytest.approx((2880 + 222 / 400) / 3600)


def test_too_small_a_disk_is_named(
    fresh: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any("free, less than" in sentence for sentence in planned(fresh, capsys)["warnings"])
    monkeypatch.setattr(disk, "free", lambda folder: 1000)
    assert any(
        "has 1.0 kB free, less than" in sentence for sentence in planned(fresh, capsys)["warnings"]
    )


def test_bad_input_is_one_sentence(
    fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dvc.repo import Repo

    with pytest.raises(UserError, match="did you mean 'epochs'"):
        run_stage(fresh, "pipeline.plan", "--set", "classify.recipe.duration.epoch=3")
    with pytest.raises(UserError, match="do not fill one global batch of 2000"):
        run_stage(fresh, "pipeline.plan", "--set", "classify.recipe.micro_batch=1000")
    repo = Repo(str(fresh))
    with repo.lock, pytest.raises(UserError, match="dvc is at work in this project"):
        run_stage(fresh, "pipeline.plan")
    project = tmp_path / "project"
    shutil.copytree(fresh, project)
    (project / "dvc.yaml").write_text("stages: [")
    with pytest.raises(UserError, match="dvc cannot read this project"):
        run_stage(project, "pipeline.plan")
    with pytest.raises(UserError, match=r"dvc\.yaml, line 1, is not YAML"):
        run_stage(project, "pipeline.plan", "--set", "cluster.workers=1")


def test_a_plan_of_what_was_measured_needs_neither_torch_nor_ray(
    fresh: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(fresh, project)
    for name in PARAMS["classify"]["variants"]:
        write_json(project / f"results/profile/{name}/profile.json", profile_of(name))
    script = (
        "import sys; from pipeline.plan import main;"
        "sys.argv[1:] = ['--json', '--set', 'segment.variants={}']; main();"
        "sys.exit(sorted({'torch', 'ray', 'mlflow', 'timm'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=project, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (1, "[]\n") and rows(json.loads(ran.stdout))
