"""Damage as disks and transfers do it: a flipped bit, a file cut short, a block lost or overwritten."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

Mutation = Callable[[Path, np.random.Generator], None]


def flip(file: Path, rng: np.random.Generator) -> None:
    """One bit."""
    with file.open("r+b") as opened:
        at = int(rng.integers(file.stat().st_size))
        opened.seek(at)
        (byte,) = opened.read(1)
        opened.seek(at)
        opened.write(bytes([byte ^ 1 << int(rng.integers(8))]))


def truncate(file: Path, rng: np.random.Generator) -> None:
    """Cut short anywhere."""
    os.truncate(file, int(rng.integers(file.stat().st_size)))


def lose_block(file: Path, rng: np.random.Generator) -> None:
    """A block of zeros, as a hole in the file reads."""
    _overwrite(file, rng, lambda size: bytes(size))


def overwrite_block(file: Path, rng: np.random.Generator) -> None:
    """A block of something else."""
    _overwrite(file, rng, rng.bytes)


def _overwrite(file: Path, rng: np.random.Generator, content: Callable[[int], bytes]) -> None:
    size = file.stat().st_size
    begin = int(rng.integers(size))
    with file.open("r+b") as opened:
        opened.seek(begin)
        opened.write(content(min(int(rng.integers(1, 4097)), size - begin)))


MUTATIONS: tuple[Mutation, ...] = (flip, truncate, lose_block, overwrite_block)
