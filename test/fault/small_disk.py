"""A disk that is full when a test says so: a small tmpfs of its own, or a limit on the size of files."""

import errno
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LIMIT_BYTES = 4096


class SmallDisk:
    """A mounted tmpfs. `path`: its folder."""

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path = path
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("mounting a small tmpfs needs root; run as root to see a disk really full")

    def fill(self) -> None:
        """Leaves no byte."""
        with (self.path / "filler").open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError as error:
                    assert error.errno == errno.ENOSPC

    def free(self) -> None:
        """Gives the space back."""
        (self.path / "filler").unlink()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Full inside, free again outside."""
        self.fill()
        try:
            yield
        finally:
            self.free()

    def unmount(self) -> None:
        """Lazily: a process that is still ending may have files open."""
        subprocess.run(["umount", "-l", str(self.path)], check=True)


class LimitedFiles:
    """No file of this process grows beyond LIMIT_BYTES: what is left where nothing can be mounted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Limited inside."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
