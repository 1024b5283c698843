"""The simulated robot behind the interfaces of a real one."""

import numpy as np
from geometry_msgs.msg import PoseStamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState

from resfit_ros.core.errors import ConfigError, ShapeError
from resfit_ros.core.parameters import SimRobotParameters
from resfit_ros.msg import Episode, Label
from resfit_ros.ros.commands import MESSAGE_TYPES, CommandParser
from resfit_ros.ros.convert import doubles, header, image_to_msg, to_time
from resfit_ros.ros.node import OK, WARN, ResfitNode, run_node
from resfit_ros.ros.qos import ROBOT, STEPS
from resfit_ros.sim import HumanoidSim
from resfit_ros.srv import ResetScene

HEARTBEAT_S = 0.5  # lockstep: the state is sent again when no command came for so long


class SimRobot(ResfitNode[SimRobotParameters]):
    """Lockstep: one command advances one control period. Realtime: physics follow the clock.

    It stops by itself when commands stop.
    """

    def __init__(self) -> None:
        super().__init__("sim_robot")
        p = self.params
        self.sim = HumanoidSim()
        if p.joint_names != self.sim.joint_names:
            raise ConfigError(
                "joint_names are not those of the simulated humanoid; use config/bimanual_lift.yaml"
            )
        self._check_timing()
        self._parser = CommandParser(p.joint_names)
        self._joint_states = self.create_publisher(JointState, "joint_states", ROBOT)
        self._box_pose = self.create_publisher(PoseStamped, "box_pose", ROBOT)
        self._clock_publisher = self.create_publisher(Clock, "/clock", ROBOT)
        self._labels = self.create_publisher(Label, "label_event", STEPS)
        self._images = self.create_publisher(Image, "camera/image_raw", ROBOT)
        self.hear(
            MESSAGE_TYPES[p.command_type], "joint_command", self._on_command, ROBOT
        )
        self.create_service(ResetScene, "reset_scene", self._on_reset)
        self._labelled = False
        self._steps = self._rejected = 0
        self._last_command_ns = self.now_ns()
        self._target = self.sim.set_point
        self._next_scene = 0
        self._ticks_between_images = 0
        if p.lockstep:
            self.every(HEARTBEAT_S, self._heartbeat)
        else:
            self._tick_s = 1.0 / p.joint_state_hz
            self.every(self._tick_s, self._tick)
        self.report(OK, "waiting for commands")

    def _check_timing(self) -> None:
        p = self.params
        if p.lockstep and p.command_type == "multi_array":
            raise ConfigError(
                "command_type multi_array carries no stamp, which lockstep needs to tell a repeated "
                "command; use joint_trajectory or joint_state, or timing realtime"
            )
        name = "control_hz" if p.lockstep else "joint_state_hz"
        ticks = 1.0 / getattr(p, name) / self.sim.timestep_s
        if ticks < 1 or abs(ticks - round(ticks)) > 1e-6:
            raise ConfigError(
                f"{name} {getattr(p, name):g}: its period must be a multiple of the physics timestep, "
                f"{self.sim.timestep_s:g} s"
            )

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        return {"steps": self._steps, "rejected commands": self._rejected}

    def _on_reset(self, request: ResetScene.Request, response: ResetScene.Response):
        seed = request.seed if request.seed >= 0 else self._next_scene
        self._next_scene = seed + 1
        self.sim.reset(seed)
        self._target = self.sim.set_point
        self._labelled = False
        self._last_command_ns = self.now_ns()
        response.success, response.stamp = True, to_time(self.sim.time_ns)
        self._publish_state()
        return response

    def _on_command(self, message) -> None:
        try:
            command = self._parser.parse(message)
        except ShapeError as error:
            self._rejected += 1
            self.report(WARN, f"command rejected: {error}")
            return
        if self.params.lockstep:
            # A command of another step (sent twice, or of before a reset) must not move the robot.
            if command.stamp_ns in (0, self.sim.time_ns):
                self._last_command_ns = self.now_ns()
                self._advance(command.position, 1.0 / self.params.control_hz)
        else:
            self._last_command_ns = self.now_ns()
            self._target = command.position

    def _tick(self) -> None:
        silence_s = (self.now_ns() - self._last_command_ns) * 1e-9
        if silence_s > self.params.command_timeout_s:
            self._target = self.sim.set_point
            self.report(WARN, f"no command for {self.params.command_timeout_s:g} s: standing still")
        self._advance(self._target, self._tick_s)

    def _advance(self, target: np.ndarray, duration_s: float) -> None:
        self.sim.step(target, duration_s)
        self._steps += 1
        if self._steps % 100 == 1:
            self.report(OK, "moving")
        if self.sim.success and not self._labelled and self.params.label_success:
            self._labelled = True
            self._labels.publish(
                Label(
                    header=header(self.sim.time_ns),
                    outcome=Episode.OUTCOME_SUCCESS,
                    labelled_by="sim_robot",
                )
            )
        self._publish_state()

    def _heartbeat(self) -> None:
        if (self.now_ns() - self._last_command_ns) * 1e-9 > HEARTBEAT_S:
            self._publish_state()

    def _publish_state(self) -> None:
        sim, stamp = self.sim, header(self.sim.time_ns, "world")
        self._clock_publisher.publish(Clock(clock=stamp.stamp))
        pose = PoseStamped(header=stamp)
        x, y, z = sim.box_position
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = x, y, z
        o = pose.pose.orientation
        o.w, o.x, o.y, o.z = sim.box_quaternion
        self._box_pose.publish(pose)
        self._joint_states.publish(
            JointState(
                header=stamp,
                name=self.params.joint_names,
                position=doubles(sim.joint_positions),
                velocity=doubles(sim.joint_velocities),
                effort=doubles(sim.joint_efforts),
            )
        )
        self._publish_image()

    def _publish_image(self) -> None:
        p = self.params
        if not p.camera_hz:
            return
        self._ticks_between_images += 1
        # Lockstep: an observation needs an image of its own instant.
        if not p.lockstep and self._ticks_between_images * p.camera_hz < p.joint_state_hz:
            return
        self._ticks_between_images = 0
        image = self.sim.render(p.image_width, p.image_height)
        self._images.publish(image_to_msg(image, self.sim.time_ns, "camera"))

    def shutdown(self) -> None:
        """Frees the renderer."""
        self.sim.close()


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros sim_robot`."""
    return run_node(SimRobot, args)


if __name__ == "__main__":
    raise SystemExit(main())
