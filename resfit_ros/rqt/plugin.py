"""What rqt loads: the operator's window, with a node of its own."""

import argparse

from rqt_gui_py.plugin import Plugin

from resfit_ros.bringup import NAMESPACE
from resfit_ros.operating.ros_spin import SpunLink
from resfit_ros.rqt.widget import OperatorWidget


class ResfitPlugin(Plugin):
    """`rqt --standalone resfit_ros/Resfit`, or from the menu Plugins > Robot Tools > Resfit."""

    def __init__(self, context) -> None:
        super().__init__(context)
        self.setObjectName("Resfit")
        parser = argparse.ArgumentParser(prog="resfit_ros/Resfit", add_help=False)
        self.add_arguments(parser)
        options, _ = parser.parse_known_args(context.argv())
        # Not on context.node: all plugins share its executor, which falls seconds behind on a busy computer.
        self._spun = SpunLink("rqt", options.namespace, options.window)
        self._widget = OperatorWidget(self._spun.link)
        if options.namespace != NAMESPACE:
            self._widget.setWindowTitle(f"Resfit {options.namespace}")
        context.add_widget(self._widget)

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Of `rqt --standalone resfit_ros/Resfit --args ...`."""
        group = parser.add_argument_group("Options of the plugin Resfit")
        group.add_argument("--namespace", default=NAMESPACE, help="of the graph (default: %(default)s)")
        group.add_argument(
            "--window", type=int, default=20, help="episodes of the rolling success rate (default: 20)"
        )

    def save_settings(self, plugin_settings, instance_settings) -> None:
        """The camera that was chosen goes into the perspective."""
        instance_settings.set_value("camera", self._widget.camera.wanted)

    def restore_settings(self, plugin_settings, instance_settings) -> None:
        """The camera that was chosen."""
        self._widget.camera.wanted = str(instance_settings.value("camera", ""))

    def shutdown_plugin(self) -> None:
        """Leaves the graph."""
        self._widget.stop()
        self._spun.close()
