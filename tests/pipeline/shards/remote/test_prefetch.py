"""What is wished for arrives in the background; the newest wish counts."""

import threading

from pipeline.core.errors import UserError
from pipeline.shards.remote.prefetch import Prefetcher

WAIT_S = 20


def test_wishes_are_done_in_order_and_a_new_one_replaces_the_rest() -> None:
    done: list[int] = []
    started, release, finished = threading.Event(), threading.Event(), threading.Event()

    def bring(shard: int) -> None:
        started.set()
        release.wait(WAIT_S)
        done.append(shard)
        if shard == 9:
            finished.set()

    ahead = Prefetcher(bring)
    ahead.want([1, 2, 3])
    assert started.wait(WAIT_S)
    ahead.want([8, 9])  # while 1 is being fetched
    release.set()
    assert finished.wait(WAIT_S)
    ahead.close()
    assert done == [1, 8, 9]


def test_a_shard_that_cannot_be_had_stops_nothing_and_closing_ends_the_thread() -> None:
    finished = threading.Event()

    def bring(shard: int) -> None:
        if shard == 1:
            raise UserError("gone")
        finished.set()

    ahead = Prefetcher(bring)
    ahead.want([1, 2])
    assert finished.wait(WAIT_S) and ahead._thread.is_alive()
    ahead.close()
    ahead._thread.join(WAIT_S)
    assert not ahead._thread.is_alive()
