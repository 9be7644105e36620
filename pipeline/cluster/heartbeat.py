"""Noticing that the head of a cluster is gone: Ray tries for a minute, and then ends the process in
words of its own.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

POLL_S = 2.0
LOST_S = 30.0
"""How long a head may not answer; one that starts anew by itself takes seconds."""
EXIT_CODE = 2


@contextmanager
def followed(address: str) -> Iterator[None]:
    """End this process by one sentence when the head at `address` is lost during the block.

    It ends at once, as by a kill: what runs is at its newest checkpoint, and a call that waits for
    the head would not come back.
    """
    done = threading.Event()
    threading.Thread(target=_watch, args=(address, done), daemon=True, name="heartbeat").start()
    try:
        yield
    finally:
        done.set()


def _watch(address: str, done: threading.Event) -> None:
    answered = time.monotonic()
    while not done.wait(POLL_S):
        if _answers(address):
            answered = time.monotonic()
        elif time.monotonic() - answered > LOST_S:
            print(
                f"error: the head of the Ray cluster at {address} does not answer any more; start "
                "one, and the same command goes on from the newest checkpoint",
                file=sys.stderr,
                flush=True,
            )
            os._exit(EXIT_CODE)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=POLL_S).close()
    except OSError:
        return False
    return True
