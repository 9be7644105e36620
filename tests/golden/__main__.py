"""Make the golden record anew: `python -m tests.golden`."""

import tempfile
from pathlib import Path

from pipeline.core.files import write_json
from tests.golden import record

if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
        made = record.make(Path(scratch))
    write_json(record.RECORD, made)
    print(f"{record.RECORD}: {len(made['runs'])} runs")
