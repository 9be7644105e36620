"""Fetching ahead: one thread a process that brings the shards needed next while those before them
are in use.
"""

import threading
from collections.abc import Callable, Iterable, Iterator

from pipeline.core.errors import UserError


class Prefetcher:
    """Does the newest of its wishes, one item after the other, in the background."""

    def __init__(self, bring: Callable[[int], None]) -> None:
        """Fetch by `bring`, whose UserErrors are passed over: whoever needs the shard meets them
        again.
        """
        self._bring = bring
        self._changed = threading.Condition()
        self._wishes: Iterator[int] = iter(())
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="shards-ahead", daemon=True)
        self._thread.start()

    def want(self, shards: Iterable[int]) -> None:
        """Replace what was wished for; what is being fetched is still finished."""
        with self._changed:
            self._wishes = iter(list(shards))
            self._changed.notify()

    def close(self) -> None:
        """Wish for nothing more; the thread ends by itself."""
        with self._changed:
            self._wishes = iter(())
            self._closed = True
            self._changed.notify()

    def _work(self) -> None:
        while (shard := self._next()) is not None:
            try:
                self._bring(shard)
            except UserError:
                continue

    def _next(self) -> int | None:
        """Wait for a wish; None when there will be no more."""
        with self._changed:
            while (shard := next(self._wishes, None)) is None and not self._closed:
                self._changed.wait()
            return shard
