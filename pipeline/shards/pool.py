"""Many tasks over Ray, a few at a time, with their results in order."""

from collections.abc import Sequence

from pipeline.core.progress import Progress
from pipeline.shards.task import Done, ShardWork, write

IN_FLIGHT_PER_CPU = 2


def run_tasks(works: Sequence[ShardWork], in_flight: int | None, label: str) -> list[Done]:
    """Run one Ray task a shard and return their results in the order of `works`.

    Args:
        works: what each task is told.
        in_flight: tasks submitted at once; two for each CPU of the cluster where None.
        label: what the line of progress begins with.

    Raises:
        OSError: a file could not be read or written.
    """
    import ray

    task = ray.remote(write)
    limit = in_flight or max(1, int(IN_FLIGHT_PER_CPU * ray.cluster_resources().get("CPU", 1)))
    progress = Progress(label, len(works), "shards")
    results = dict[int, Done]()
    waiting: dict[ray.ObjectRef[Done], int] = {}

    while len(results) < len(works):
        for number in range(len(results) + len(waiting), min(len(works), len(results) + limit)):
            waiting[task.remote(works[number])] = number

        finished, _ = ray.wait(list(waiting), num_returns=1)
        try:
            results[waiting.pop(finished[0])] = ray.get(finished[0])
        except ray.exceptions.RayTaskError as error:
            for reference in waiting:
                ray.cancel(reference)
            raise (error.cause if isinstance(error.cause, OSError) else error) from None
        progress.show(len(results))

    return [results[number] for number in range(len(works))]
