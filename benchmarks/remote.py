"""Training samples by URL through the node's cache against local shards: time to the first batch,
and steady rate.

The server is this machine's, held to a bandwidth. Prints one JSON line a case: `cold` fetches,
`warm` finds all shards in the cache of an earlier start (and hashes each again), `local` reads the
folder.
"""

import functools
import http.server
import itertools
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.loading.micro_batches import Ranks, TrainSamples, train_loader
from pipeline.params import Cluster
from pipeline.shards.reader import ShardReader
from pipeline.shards.remote.cache import ShardCache
from pipeline.tasks.classify.recipe import Augment, Recipe
from pipeline.tasks.classify.sampling import ClassifySampling

SHARDS = Path("data/shards/imagenet")
BYTES_PER_S, BATCH, BLOCK, ROUNDS = 8e6, 20, 1, 3


class Throttled(http.server.SimpleHTTPRequestHandler):
    """A folder over HTTP at a bandwidth for all connections together."""

    free_at, turn = 0.0, threading.Lock()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        while data := source.read(64 << 10):
            with Throttled.turn:
                Throttled.free_at = (
                    max(Throttled.free_at, time.monotonic()) + len(data) / BYTES_PER_S
                )
                wait = Throttled.free_at - time.monotonic()
            time.sleep(max(0.0, wait))
            outputfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = functools.partial(Throttled, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def timed(cache: ShardCache | None) -> tuple[float, float, float]:
    """Return seconds to the first batch, images/s over the rest of an epoch, and the longest wait
    for a batch in s.
    """
    start = time.perf_counter()
    augment = Augment(rand_augment=None)
    recipe = Recipe(
        image_size=64,
        eval_resize=64,
        micro_batch=BATCH,
        micro_batches=1,
        shuffle_block=BLOCK,
        augment=augment,
    )
    samples = TrainSamples(
        ShardReader(SHARDS, "train", cache), ClassifySampling(recipe), recipe, seed=0
    )
    batches = iter(train_loader(samples, 0, samples.steps_per_epoch, Ranks(), 0))
    next(batches)
    first = time.perf_counter()
    ends = [first]
    for _ in batches:
        ends.append(time.perf_counter())
    waits = [b - a for a, b in itertools.pairwise(ends)]
    return first - start, BATCH * len(waits) / (ends[-1] - first), max(waits)


def main() -> None:
    if not (SHARDS / "manifest.json").exists():
        raise SystemExit("no shards: run `make repro` first")
    found: dict[str, list[tuple[float, float, float]]] = {"local": [], "cold": [], "warm": []}
    timed(None)  # imports and the page cache
    with tempfile.TemporaryDirectory() as folder, served(SHARDS.parent) as url:
        for _ in range(ROUNDS):
            shutil.rmtree(folder)
            for case in found:
                cluster = Cluster(shards=url, cache=folder)
                found[case].append(
                    timed(None if case == "local" else ShardCache.of(cluster, SHARDS))
                )
    for case, rounds in found.items():
        first, rate, wait = (sorted(column)[ROUNDS // 2] for column in zip(*rounds, strict=True))
        figure = {
            "figure": "shards by URL",
            "case": case,
            "server_mb_per_s": BYTES_PER_S / 1e6,
            "rounds": ROUNDS,
        }
        numbers = {
            "first_batch_s": round(first, 3),
            "images_per_s": round(rate),
            "longest_wait_s": round(wait, 3),
        }
        print(json.dumps(figure | numbers))


if __name__ == "__main__":
    main()
