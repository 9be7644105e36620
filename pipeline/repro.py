"""Everything that params.yaml asks for: `make repro`.

DVC runs the stages. Around it: one at a time, a lock file of DVC's that a kill left behind or cut
off does not stop the next one, and a `dvc.lock` that was cut off while it was written is what it
was before.
"""

import argparse
from pathlib import Path

from pipeline.cluster.session import run_session
from pipeline.core.locks import held
from pipeline.project.call import Folders
from pipeline.project.cli import main
from pipeline.project.dvcfile import items, refuse_unmade
from pipeline.project.dvclock import free_stages, keep_lock_file, mend_lock_file


def _main() -> None:
    parser = argparse.ArgumentParser(
        description="Run every stage that changed; look at the raw data in any case."
    )
    parser.parse_args()
    project = Path.cwd()
    refuse_unmade(project)
    with held(Folders(project).lock("repro"), "make repro"):
        free_stages(project)
        mend_lock_file(project)
        fetch = [f"fetch@{name}" for name in items(project, "fetch")]
        code = run_session(["dvc", "repro", "--force", "--single-item", *fetch], ["dvc", "repro"])
        keep_lock_file(project)
    if code == 0:
        print("The report: results/report/report.html")
    raise SystemExit(code)


if __name__ == "__main__":
    main(_main)
