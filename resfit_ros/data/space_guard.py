"""Whether the disk has room for another episode: one that is begun can then be written to its end."""

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SpaceGuard:
    """Asks for at least `min_free_mb` (10^6 bytes) on the disk of `directory`; 0: for nothing."""

    directory: Path
    min_free_mb: int

    def lack(self) -> str:
        """What is missing, in a sentence; empty: there is room."""
        if not self.min_free_mb:
            return ""
        try:
            free_mb = shutil.disk_usage(self.directory).free / 1e6
        except OSError as error:
            return f"{self.directory}: cannot be looked at ({error.strerror}); is its disk still mounted?"
        if free_mb >= self.min_free_mb:
            return ""
        return (
            f"{self.directory}: {free_mb:.0f} MB free, fewer than the {self.min_free_mb} MB of min_free_mb; "
            "free some disk space"
        )
