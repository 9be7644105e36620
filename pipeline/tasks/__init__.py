"""Tasks: each is a folder that registers itself by its `about.py`."""

import pipeline.params  # noqa: F401  its sections are made of the folders here
