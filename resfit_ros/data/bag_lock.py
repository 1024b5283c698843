"""Who is at work on a bag: a lock that ends with the process that holds it, however that ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

QUIET_S = 10.0  # a recorder at work writes more often


def hold(file: Path) -> BinaryIO:
    """Locks a file until what is returned is closed. A file system without locks is not an error."""
    opened = file.open("r+b")
    with suppress(OSError):
        fcntl.flock(opened, fcntl.LOCK_EX)
    return opened


@contextmanager
def held_if_free(file: Path) -> Iterator[bool]:
    """Holds the file inside, and says so; False: somebody else does.

    Where the file system has no locks, a file counts as free once nothing was written to it for a while; one that
    may only be read is free: nobody writes it.
    """
    try:
        held = file.open("r+b")
    except OSError:
        yield True
        return
    with held:
        free = True
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            free = False
        except OSError:
            free = time.time() - file.stat().st_mtime > QUIET_S
        yield free


@contextmanager
def one_at_a_time(directory: Path) -> Iterator[None]:
    """Waits until nobody else is inside for the same directory."""
    opened = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)
