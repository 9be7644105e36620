"""Is every byte of the shards, the results and DVC's cache what it was when it was made?"""

from pathlib import Path

from pipeline.core import command
from pipeline.core.errors import UserError
from pipeline.core.progress import Progress, say
from pipeline.project.verification import kept


def _main() -> None:
    command.parser(
        "Read every file that dvc.lock and DVC's cache name, and name those in which a byte is not "
        "what it was.",
        "python -m pipeline.verify",
    ).parse_args()

    files = kept(Path())
    progress = Progress("verify", files.size, "bytes", brief=True)
    damages = list(files.damages(progress.show))

    for sentence in damages:
        say(sentence)
    if files.absent:
        say(f"not here, and not looked at: {', '.join(files.absent)}")
    if damages:
        raise UserError(
            f"{len(damages)} of {len(files.files)} files are not as dvc.lock and DVC's cache say"
        )
    say(f"{len(files.files)} files, every byte as it was")


if __name__ == "__main__":
    command.main(_main)
