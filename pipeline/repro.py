"""Everything that params.yaml asks for: `make repro`.

DVC runs the stages. Around it: one at a time, a lock file of DVC's that a kill left behind or cut
off does not stop the next one, and a `dvc.lock` that was cut off while it was written is what it
was before.
"""

import json
import sys
from pathlib import Path

from pipeline.cluster.session import run_session
from pipeline.core import command
from pipeline.core.locks import held
from pipeline.core.progress import say
from pipeline.params import load
from pipeline.planning.cost import LONG_S, cost, plan_of, stages_in
from pipeline.planning.estimate import Plan
from pipeline.project.call import Folders
from pipeline.project.dvcfile import items, refuse_unmade
from pipeline.project.dvclock import free_stages, keep_lock_file, mend_lock_file
from pipeline.project.git import tell_dvc
from pipeline.project.room import refuse_full_disk


def _main() -> None:
    parser = command.parser(
        "Run every stage that changed, as `make repro` does; look at the raw data in any case.",
        "python -m pipeline.repro",
    )
    parser.add_argument("--yes", action="store_true", help="begin long runs without asking")
    args = parser.parse_args()
    project = Path.cwd()
    refuse_unmade(project)
    tell_dvc(project)
    with held(Folders(project).lock("repro"), "make repro"):
        free_stages(project)
        mend_lock_file(project)
        plan = plan_of(project)
        _refuse_unwanted(plan, args.yes)
        together = load(project / "params.yaml").cluster.together
        fetch = [f"fetch@{name}" for name in items(project, "fetch")]
        code = run_session(
            ["dvc", "repro", "--force", "--single-item", *fetch],
            ["dvc", "repro"],
            stages={**dict.fromkeys(fetch, 0.0), **stages_in(plan, together)},
        )
        keep_lock_file(project)
    if code == 0:
        _say_results(project / "results" / "metrics")
    else:
        refuse_full_disk(project)
    raise SystemExit(code)


def _refuse_unwanted(plan: Plan, yes: bool) -> None:
    """Say what a long run will cost, and on a terminal ask whether it is wanted."""
    if plan.wall < LONG_S:
        return
    say(f"This will cost {cost(plan)}; more by: make plan")
    if yes or not sys.stdin.isatty():
        return
    if input("Begin? [y/N] ").strip().lower() not in ("y", "yes"):
        sys.exit("nothing was started; to begin without being asked: make repro options=--yes")


def _say_results(folder: Path) -> None:
    """Print the main number of each variant, and where to look next."""
    files = sorted(folder.glob("*/*.json"))
    width = max((len(f"{file.parent.name} {file.stem}") for file in files), default=0)
    print("\nResults, the mean over seeds:")
    for file in files:
        (metric, value), *_ = json.loads(file.read_text()).items()
        print(f"  {f'{file.parent.name} {file.stem}':<{width}}  {metric} {value:.1f}")
    print("The report: results/report/report.html. Runs side by side: make ui")


if __name__ == "__main__":
    command.main(_main)
