"""Outputs that come into being when they are whole, and the bags of one robot that they are made of."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from resfit_ros.core.errors import DataError
from resfit_ros.data.bag_about import BagAbout, read_about
from resfit_ros.data.episode_data import EpisodeData, read_episode
from resfit_ros.data.formats.options import OnNote


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A path beside `out` to write to, renamed to `out` at the end, removed where anything goes wrong.

    Raises DataError when `out` exists or cannot be written to.
    """
    if out.exists():
        raise DataError(f"{out}: exists already; remove it, or write elsewhere")
    partial = out.with_name(f".{out.name}.partial")
    try:
        _remove(partial)  # left by an export that was killed
        out.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.rename(out)
    except OSError as error:
        _remove(partial)
        raise DataError(f"{out}: cannot be written ({error}); nothing is left of it") from error
    except BaseException:
        _remove(partial)
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sound_episodes(bags: Sequence[Path], on_note: OnNote) -> Iterator[tuple[EpisodeData, BagAbout]]:
    """Episodes of the bags that can be read and are of the same robot as the first of them.

    Raises DataError when there is none.
    """
    first: tuple[EpisodeData, BagAbout] | None = None
    for bag in bags:
        try:
            about, data = read_about(bag), read_episode(bag, on_note)
        except DataError as error:
            on_note(f"left out: {error}")
            continue
        first = first or (data, about)
        difference = about.difference(first[1]) or _other_sizes(data, first[0])
        if difference:
            on_note(f"{bag}: left out, not of the same robot as the bags before it ({difference})")
            continue
        yield data, about
    if first is None:
        raise DataError(f"none of the {len(bags)} bags can be used; nothing was written")


def _other_sizes(found: EpisodeData, wanted: EpisodeData) -> str:
    for name in ("states", "actions"):
        a, b = getattr(found, name).shape[1], getattr(wanted, name).shape[1]
        if a != b:
            return f"{name} have {a} columns, expected {b}"
    a, b = [i.shape[1:] for i in found.images], [i.shape[1:] for i in wanted.images]
    return "" if a == b else f"pictures are {a}, expected {b}"
