"""Who is at work on a bag: a lock that ends with the process that holds it, however that ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def hold(file: Path) -> BinaryIO:
    """Locks a file until what is returned is closed. A file system without locks is not an error."""
    opened = file.open("r+b")
    with suppress(OSError):
        fcntl.flock(opened, fcntl.LOCK_EX)
    return opened


@contextmanager
def held_if_free(file: Path) -> Iterator[bool]:
    """Holds the file inside, and says so; False: somebody else does, or it cannot be written."""
    held = None
    try:
        held = file.open("r+b")
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = True
    except OSError:
        free = False
    try:
        yield free
    finally:
        if held is not None:
            held.close()


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
