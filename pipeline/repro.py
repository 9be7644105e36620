"""Everything that params.yaml asks for: `make repro`. With another params file, what that asks for.

DVC runs the stages of params.yaml. Around it: one at a time, a lock file of DVC's that a kill left
behind or cut off does not stop the next one, and a `dvc.lock` that was cut off while it was written
is what it was before. Of another file, of which DVC knows nothing, the stages run one after the
other; those that are done publish again, in seconds.
"""

import json
import os
import time
from pathlib import Path

from pipeline.cluster.session import run_session
from pipeline.core.locks import held
from pipeline.core.progress import say
from pipeline.planning.cost import refuse_unwanted, stages_in
from pipeline.planning.estimate import Plan, plan
from pipeline.planning.stages import command_of
from pipeline.project import cli
from pipeline.project.call import Call
from pipeline.project.dvcfile import items, refuse_unmade
from pipeline.project.dvclock import free_stages, keep_lock_file, mend_lock_file
from pipeline.project.git import tell_dvc
from pipeline.project.room import refuse_full_disk
from pipeline.project.schedule import sentence


def _main() -> None:
    parser = cli.parser(
        "Run every stage that changed, as `make repro` does; look at the raw data in any case.",
        "python -m pipeline.repro --params params/cifar10.yaml",
    )
    parser.add_argument("--yes", action="store_true", help="begin long runs without asking")
    call = cli.call(parser.parse_args())

    adhoc = call.folders.root != call.project
    if not adhoc:
        refuse_unmade(call.project)
        tell_dvc(call.project)
    with held(call.folders.lock("repro"), "make repro"):
        code = _by_themselves(call) if adhoc else _by_dvc(call)
    if code == 0:
        _say_results(call.folders.root / "results")
    else:
        refuse_full_disk(call.project)
    raise SystemExit(code)


def _by_dvc(call: Call) -> int:
    """Let DVC run what changed; return its exit code."""
    free_stages(call.project)
    mend_lock_file(call.project)
    planned = plan(call)
    refuse_unwanted(planned, call.command("plan"), call.args.yes)
    fetch = [f"fetch@{name}" for name in items(call.project, "fetch")]
    code = run_session(
        ["dvc", "repro", "--force", "--single-item", *fetch],
        ["dvc", "repro"],
        stages={**dict.fromkeys(fetch, 0.0), **_seconds(planned, call)},
    )
    keep_lock_file(call.project)
    return code


def _by_themselves(call: Call) -> int:
    """Run each stage that the parameters need, until one fails; return its exit code."""
    planned = plan(call)
    refuse_unwanted(planned, call.command("plan"), call.args.yes)
    seconds = _seconds(planned, call)
    stages = [row.stage for row in planned.rows]
    begun: list[tuple[str, float]] = []

    def begin(number: int) -> None:
        begun.append((stages[number].name, time.time()))
        say(sentence(seconds, begun))

    return run_session(*(command_of(call, stage) for stage in stages), begin=begin)


def _seconds(planned: Plan, call: Call) -> dict[str, float | None]:
    return stages_in(planned, call.params.cluster.together)


def _say_results(folder: Path) -> None:
    """Print the main number of each variant, and where to look next."""
    files = sorted((folder / "metrics").glob("*/*.json"))
    width = max((len(f"{file.parent.name} {file.stem}") for file in files), default=0)
    print("\nResults, the mean over seeds:")
    for file in files:
        (metric, value), *_ = json.loads(file.read_text()).items()
        print(f"  {f'{file.parent.name} {file.stem}':<{width}}  {metric} {value:.1f}")
    report = os.path.relpath(folder / "report" / "report.html")
    print(f"The report: {report}. Runs side by side: make ui")


if __name__ == "__main__":
    cli.main(_main)
