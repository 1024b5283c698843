"""Shows what supervised nodes log, as they write it, where the user asked for more (-v)."""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

VERBOSE = "RESFIT_VERBOSE"  # environment variable; set to 1 by `resfit -v`
POLL_S = 0.2


def is_verbose() -> bool:
    """Whether the user asked for more than results and errors."""
    return os.environ.get(VERBOSE, "") not in ("", "0")


class LogFollower:
    """Between `start` and `stop`, each new line of NODE.log goes to standard error as `[NODE] line`.

    Lines of an earlier run in the same file are not repeated. Without -v both do nothing.
    """

    def __init__(self, log_dir: Path, nodes: Sequence[str]) -> None:
        """log_dir: the folder of NODE.log."""
        self._paths = {node: log_dir / f"{node}.log" for node in nodes}
        self._files: dict[str, TextIO] = {}
        self._rest: dict[str, str] = {}  # of a line that is still being written
        self._begin_at: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Call it before the nodes start."""
        if not is_verbose() or self._thread is not None:
            return
        self._begin_at = {n: p.stat().st_size if p.exists() else 0 for n, p in self._paths.items()}
        self._thread = threading.Thread(target=self._follow, name="log_follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Shows what is left; call it once the nodes have ended."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None

    def _follow(self) -> None:
        while not self._stop.wait(POLL_S):
            self._show_new()
        self._show_new()
        for file in self._files.values():
            file.close()

    def _show_new(self) -> None:
        for node, path in self._paths.items():
            if node not in self._files:
                if not path.exists():
                    continue
                self._files[node] = path.open(errors="replace")
                self._files[node].seek(self._begin_at.get(node, 0))
            text = self._rest.pop(node, "") + self._files[node].read()
            *lines, rest = text.split("\n")
            self._rest[node] = rest
            for line in lines:
                # Looked up each time: a progress bar puts a stream there that writes above it.
                print(f"[{node}] {line}", file=sys.stderr)
