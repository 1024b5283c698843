"""A RosLink on a node of its own, spun by a thread of its own."""

import threading
import traceback
from collections.abc import Sequence

from rclpy.executors import ExternalShutdownException

from resfit_ros.bringup import NAMESPACE
from resfit_ros.operating.ros_link import RosLink
from resfit_ros.ros.own_node import OwnNode

SPIN_S = 0.1
AFTER_ERROR_S = 0.02  # an error that comes at once, again and again, must not take the whole processor
STOP_S = 2.0


class SpunLink:
    """`link` until `close()`; nothing else in the process can hold it up but Python itself.

        spun = SpunLink("rqt")
        spun.link.snapshot()
        spun.close()
    """

    def __init__(
        self,
        labelled_by: str,
        namespace: str = NAMESPACE,
        window: int = 20,
        arguments: Sequence[str] | None = None,
        domain_id: int | None = None,
    ) -> None:
        """arguments: ROS arguments (remappings, enclave); None: those of the command line."""
        self._own = OwnNode(f"resfit_{labelled_by}", arguments=arguments, domain_id=domain_id)
        try:
            self.link = RosLink(self._own.node, namespace, labelled_by, window)
        except BaseException:  # e.g. a namespace that is none
            self._own.close()
            raise
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="resfit_ros", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._stop.is_set():
            try:
                self._own.executor.spin_once(timeout_sec=SPIN_S)
            except ExternalShutdownException:
                return
            # Whatever a callback raises: this thread is what asks for an e-stop again until it is shown.
            except Exception as error:
                self._own.node.get_logger().error(f"passed over: {traceback.format_exc()}")
                self.link.trouble(f"passed over, see the log: {type(error).__name__}: {error}")
                self._stop.wait(AFTER_ERROR_S)

    def close(self) -> None:
        """Leaves the graph."""
        self._stop.set()
        self._thread.join(STOP_S)
        self.link.close()
        self._own.close()
