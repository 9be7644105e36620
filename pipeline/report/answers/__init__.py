"""The five questions of the experiment, a file each, answered from the runs that exist."""

from __future__ import annotations

from pipeline.report.answers.against_swin import against_swin
from pipeline.report.answers.all_tasks import all_tasks
from pipeline.report.answers.answer import Answer, Evidence
from pipeline.report.answers.dynamic import dynamic
from pipeline.report.answers.factors import factors
from pipeline.report.answers.sharing import sharing

QUESTIONS = (sharing, dynamic, against_swin, factors, all_tasks)


def answers(evidence: Evidence) -> list[Answer]:
    """All five, in order."""
    return [question(evidence) for question in QUESTIONS]
