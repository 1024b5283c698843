"""Parameters of a graph's nodes, asked for over ROS without waiting for the answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.task import Future

# A reply can be lost while nodes still find each other.
UNANSWERED_NS = 1_000_000_000


class AskedParameters:
    """on_values: takes a node's name and those of its parameters that are set."""

    def __init__(
        self,
        node: Node,
        namespace: str,
        asked: Mapping[str, Sequence[str]],
        on_values: Callable[[str, dict[str, Any]], None],
        again_ns: int | None = None,
    ) -> None:
        """asked: parameters by node. again_ns: how old an answer may become; None: one is enough."""
        self._node, self._asked, self._on_values, self._again_ns = node, asked, on_values, again_ns
        self._asked_ns: dict[str, int] = {}
        self._questions: dict[str, Future] = {}  # unanswered ones
        self._clients = {
            name: node.create_client(GetParameters, f"{namespace}/{name}/get_parameters") for name in asked
        }

    def poll(self, now_ns: int) -> None:
        """Call a few times a second: asks what is due."""
        for name, client in self._clients.items():
            if self._is_due(name, now_ns) and client.service_is_ready():
                if name in self._questions:
                    client.remove_pending_request(self._questions[name])
                self._asked_ns[name] = now_ns
                future = client.call_async(GetParameters.Request(names=self._asked[name]))
                self._questions[name] = future
                future.add_done_callback(lambda f, n=name: self._on_answer(n, f))

    def _is_due(self, name: str, now_ns: int) -> bool:
        if name not in self._asked_ns:
            return True
        wait_ns = UNANSWERED_NS if name in self._questions else self._again_ns
        return wait_ns is not None and now_ns - self._asked_ns[name] >= wait_ns

    def _on_answer(self, name: str, question: Future) -> None:
        answer = question.result()
        if answer is None or self._questions.get(name) is not question:
            return
        del self._questions[name]
        values = zip(self._asked[name], map(parameter_value_to_python, answer.values), strict=False)
        self._on_values(name, {key: value for key, value in values if value is not None})

    def close(self) -> None:
        """Asks no more."""
        for client in self._clients.values():
            self._node.destroy_client(client)
