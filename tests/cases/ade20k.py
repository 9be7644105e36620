"""Cases of ADE20K-like folders."""

from tests.cases.case import Case

CASES: list[Case] = []
