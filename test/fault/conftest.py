"""The fault tests share the graph tests' fixtures, and say what they measured at the end of the run."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]
for folder in ("unit", "graph"):  # for what their tests are made of
    if str(_TESTS / folder) not in sys.path:
        sys.path.append(str(_TESTS / folder))


def _graph_fixtures():
    """test/graph/conftest.py under a name of its own: two modules cannot both be `conftest`."""
    name = "graph_fixtures"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, _TESTS / "graph" / "conftest.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


try:
    _graph = _graph_fixtures()
    config, domain, start, policy_dir = _graph.config, _graph.domain, _graph.start, _graph.policy_dir
    switch, bring_up = _graph.switch, _graph.bring_up
except pytest.skip.Exception:  # no rclpy: the files that need a graph are skipped, the others are not
    pass

_measured: list[str] = []


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[int, str], None]:
    """measured(row, figure): a line of the table that is printed after the tests."""

    def add(row: int, figure: str) -> None:
        _measured.append(f"| {row} | {request.node.name} | {figure} |")

    return add


def pytest_terminal_summary(terminalreporter) -> None:
    """Prints what was measured."""
    if _measured:
        terminalreporter.section("measured")
        for line in sorted(_measured, key=lambda row: int(row.split("|")[1])):
            terminalreporter.write_line(line)
