"""Cases of COCO-like folders."""

from tests.cases.case import Case

CASES: list[Case] = []
