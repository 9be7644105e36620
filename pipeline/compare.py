"""Compare: put what was measured beside what was published, in `results/report/`.

`python -m pipeline.compare [--params FILE] [--set a.b.c=value]... [--out DIR]`
"""

from pipeline.project import cli
from pipeline.report.render import make_report


def run() -> None:
    """Write the report and say where it is."""
    parser = cli.parser(
        "Write the report: measured beside published.", "python -m pipeline.compare"
    )
    call = cli.call(parser.parse_args())
    with call.alone("compare", "report"):
        target = make_report(call)
    print(f"report: {target / 'report.html'}")


if __name__ == "__main__":
    cli.main(run)
