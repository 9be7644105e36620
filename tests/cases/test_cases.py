"""Every case ends as is right."""

from pathlib import Path

import pytest

from tests.cases import ALL
from tests.cases.case import Case, run


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.dataset}-{case.name}")
def test_a_case_ends_as_is_right(case: Case, tmp_path: Path) -> None:
    verdict = run(case, tmp_path / "case")
    assert verdict.ok, f"{verdict.wrong}; right: {case.right}; seen: {verdict.seen}"


def test_no_two_cases_share_a_name() -> None:
    names = [(case.dataset, case.name) for case in ALL]
    assert len(set(names)) == len(names)
