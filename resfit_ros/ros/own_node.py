"""A ROS node beside whatever else the process does: a context, a name and an executor of its own."""

import os
import time
from collections.abc import Callable, Sequence

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException
from rclpy.signals import SignalHandlerOptions

from resfit_ros.bringup import CONSOLE_ENCLAVE
from resfit_ros.ros.node import make_executor

ENCLAVE = ("--ros-args", "--enclave", CONSOLE_ENCLAVE)  # of everything that looks on


class OwnNode:
    """`node` and `executor` until `close`, which the end of a `with` block calls.

        with OwnNode("resfit_look") as own:
            own.node.create_subscription(...)
            own.spin(1.0)
    """

    def __init__(
        self,
        name: str,
        namespace: str = "",
        arguments: Sequence[str] | None = ENCLAVE,
        domain_id: int | None = None,
    ) -> None:
        """The number of the process is added to the name. arguments: of ROS; None: the command line's."""
        self._context = Context()
        # Signals belong to the program around it, which ends in its own order.
        rclpy.init(
            args=None if arguments is None else list(arguments),
            context=self._context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        try:
            plain = "".join(c if c.isalnum() else "_" for c in f"{name}_{os.getpid()}")
            self.node = rclpy.create_node(plain, namespace=namespace or None, context=self._context)
            self.executor = make_executor(self._context)
            self.executor.add_node(self.node)
        except BaseException:  # half of a node must not stay in the graph
            self._context.try_shutdown()
            raise

    def __enter__(self) -> "OwnNode":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def spin(self, seconds: float, enough: Callable[[], bool] = lambda: False, tick_s: float = 1.0) -> None:
        """Handles what arrives for so long, or until `enough()`, which is asked every `tick_s` [s] at least."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not enough():
            try:
                self.executor.spin_once(timeout_sec=min(left, tick_s))
            except ExternalShutdownException:
                return

    def close(self) -> None:
        """Leaves the graph."""
        self.executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()
