"""What is said of a variant once it is published."""

import pytest
from helpers import finished_record

from pipeline.runs.publish import _say_results


def test_every_seed_is_said_and_their_mean(capsys: pytest.CaptureFixture[str]) -> None:
    records = [
        finished_record(str(seed), seed, final={"top1": 40.0 + 3 * seed}) for seed in range(3)
    ]
    _say_results("dwnet_micro", records)
    assert capsys.readouterr().out.splitlines() == [
        "dwnet_micro: top1 40.0 at the end (seed 0)",
        "dwnet_micro: top1 43.0 at the end (seed 1)",
        "dwnet_micro: top1 46.0 at the end (seed 2)",
        "dwnet_micro: top1 43.0 in the mean over 3 seeds",
    ]
