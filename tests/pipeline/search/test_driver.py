"""The driver of a search beside others of the same search."""

import threading
import time

import pytest

from pipeline.project.call import Call
from pipeline.search.driver import run_search
from pipeline.search.search import SearchOutcome
from pipeline.search.tune.space import settings_of
from pipeline.search.tune.trials import search_of


def test_a_driver_that_waited_finds_what_another_one_ended(
    call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trials that were stopped are not trained again by one that asked before they were."""
    search = search_of(call, settings_of(call.params)[0], call.folders.shards("imagenet"))
    first = search.journal()
    found: list[SearchOutcome] = []
    second = threading.Thread(target=lambda: found.append(run_search(call, search)), daemon=True)

    with first.alone(search.label):
        second.start()
        deadline = time.monotonic() + 60
        while "waiting for it" not in capsys.readouterr().out:
            assert second.is_alive() and time.monotonic() < deadline
            time.sleep(0.02)
        for trial in search.trials:
            first.write(trial.run, "stopped", [], {})

    second.join(120)
    [outcome] = found
    assert {ending.state for ending in outcome.endings.values()} == {"stopped"}
    assert outcome.endings.keys() == {trial.run.id for trial in search.trials}
