"""What a search and a factorial publish, and that the report takes it."""

import json
from typing import Any

from helpers import ONE_WEIGHT, SEALED, finished_record

from pipeline.project.call import Call
from pipeline.report.render import read_evidence
from pipeline.report.search_section import search_blocks
from pipeline.report.tracked import tracked
from pipeline.report.trials import read_factorial, read_search
from pipeline.search.factorial.design import designs_of
from pipeline.search.factorial.publish import publish_factorial
from pipeline.search.factorial.trials import search_of as factorial_of
from pipeline.search.journal import TrialEnding
from pipeline.search.publish import publish_search
from pipeline.search.search import Search, SearchOutcome
from pipeline.search.tune.space import settings_of
from pipeline.search.tune.trials import search_of


def outcome_of(search: Search) -> SearchOutcome:
    """Finish every trial but the last, which failed before its first evaluation."""
    ends: dict[str, TrialEnding] = {}
    for place, trial in enumerate(search.trials[:-1]):
        run = trial.run
        run.folder.mkdir(parents=True, exist_ok=True)
        for name in SEALED:
            (run.folder / name).write_bytes(ONE_WEIGHT)
        row = {"epoch": 1.0, "step": 5, "top1": 40.0 + place}
        logged = {"lr": 0.1, "train_loss": None, "images_per_second": 10.0}
        record = finished_record(run.id, run.seed, final=row, best=row, history=[row | logged])
        run.finish(record, list(SEALED))
        rows = [{"run_id": run.id, **row, **logged}]
        ends[run.id] = TrialEnding(run.id, "finished", rows, {"macs": 9, "parameters": 7})
    last = search.trials[-1].run
    ends[last.id] = TrialEnding(last.id, "failed", [], {"macs": 9}, "out of memory")
    return SearchOutcome(ends, "m", {identifier: "m" for identifier in ends})


def test_a_random_search_over_a_range_is_reported(call: Call) -> None:
    shards = call.folders.shards("imagenet")
    settings, left_out = settings_of(call.params)
    search = search_of(call, settings, shards)
    publish_search(call, search, settings, left_out, outcome_of(search))
    found = read_search(call)
    assert found is not None
    assert [trial.values for trial in found.trials] == [trial.values for trial in search.trials]
    assert [trial.state for trial in found.trials] == ["finished"] * 5 + ["failed"]
    assert (found.trials[0].value, found.trials[-1].error) == (40.0, "out of memory")
    evidence = read_evidence(call)
    text = repr(search_blocks(evidence, tracked(call.params.tracking)))
    assert "`recipe.optimizer.lr` between `0.001` and `0.1`" in text
    table = (call.folders.results("tune") / "trials.csv").read_text().splitlines()
    assert table[0] == (
        "run_id,kernel_size,recipe.optimizer.lr,seed,state,epoch,best_top1,top1,parameters,macs,"
        "train_images_per_second,wall_time_s,world_size,device,mlflow_run_id,error"
    )
    assert table[1].endswith(",0,finished,1.0,40.0,40.0,7,9,10.0,3.0,2,cpu,m,")


def test_a_factorial_is_read_as_it_was_written(call: Call) -> None:
    budgets = designs_of(call.params)
    search = factorial_of(call, budgets, call.folders.shards("imagenet"))
    publish_factorial(call, search, budgets, outcome_of(search))
    found = read_factorial(call)
    assert found is not None and len(found.trials) == 8
    tree: dict[str, Any] = json.loads(
        (call.folders.results("factorial") / "design.json").read_text()
    )
    assert set(found.design.cells) == set(tree["cells"]) == set(tree["settings"])
    assert tree["settings"]["shared_channel_static"]["own_recipe"] == {}
    assert found.trials[0].budget == "full" and found.trials[-1].state == "failed"
