"""The nodes as the operator sees them: what each says of itself on /diagnostics, and how long ago."""

from collections.abc import Mapping
from dataclasses import dataclass

from resfit_ros.operating.blinding import masked
from resfit_ros.operating.plain import waits_for

NODE_SILENT_S = 3.0
NODE_FORGOTTEN_S = 60.0  # a node of another run must not stay in the list for good
STALE = 3  # as in diagnostic_msgs/DiagnosticStatus


@dataclass
class _Node:
    level: int
    sentence: str
    waiting: str
    at_ns: int


class NodesView:
    """Newest report per node; `now_ns` is the steady clock."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}

    def on_report(
        self, name: str, level: int, sentence: str, figures: Mapping[str, str], now_ns: int
    ) -> None:
        """What one node says of itself."""
        needed = waits_for(figures)
        waiting = f" (waits for {needed})" if needed else ""
        self._nodes[name] = _Node(level, sentence, waiting, now_ns)

    def sentence(self, name: str, blind: bool) -> str:
        """The newest of a node; empty: none was heard. blind: without what a residual causes."""
        said = self._nodes[name].sentence if name in self._nodes else ""
        return masked(said) if blind else said

    def snapshot(self, now_ns: int, blind: bool) -> list[dict]:
        """name, level, message, silent_s of each, the worst first."""
        found = []
        for name, node in self._nodes.items():
            silent_s = (now_ns - node.at_ns) * 1e-9
            if silent_s > NODE_FORGOTTEN_S:
                continue
            stale = silent_s > NODE_SILENT_S
            silent = f"silent for {silent_s:.0f} s; it last said: " if stale else ""
            message = silent + self.sentence(name, blind) + node.waiting
            level = STALE if stale else node.level
            found.append({"name": name, "level": level, "message": message, "silent_s": silent_s})
        return sorted(found, key=lambda n: (-n["level"], n["name"]))
