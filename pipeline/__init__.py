"""The experiment pipeline: one verb, one stage, one module."""
