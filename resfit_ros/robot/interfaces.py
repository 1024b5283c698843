"""What a robot must publish, take and offer, as a configuration asks for it."""

from collections.abc import Callable
from dataclasses import dataclass

from resfit_ros.core.observation import ARRAY_PREFIX, JOINTS, POSE_PREFIX, TF_PREFIX, WRENCH_PREFIX
from resfit_ros.core.parameter_groups import BASE_COMMAND, RAW, TELEOP_COMMAND, TOPIC
from resfit_ros.core.parameters import AggregatorParameters, EpisodeParameters
from resfit_ros.core.safety_parameters import SafetyParameters

PUBLISHES, TAKES, OFFERS = "publishes", "takes", "offers"
JOINT_STATES, STATE_BLOCK, CAMERA, WRENCH = "joint states", "state block", "camera", "wrench of the safety filter"
TRANSFORMS = "transforms"
COMMANDS, CONTROLLER, TELEOP, RESET = "commands", "controller", "teleop", "reset service"
DESCRIPTION = "robot description"
DESCRIPTION_TOPIC, FROM_TOPIC = "/robot_description", "topic"
BLOCK_MESSAGES = {
    POSE_PREFIX: "geometry_msgs/msg/PoseStamped",
    WRENCH_PREFIX: "geometry_msgs/msg/WrenchStamped",
    ARRAY_PREFIX: "std_msgs/msg/Float64MultiArray",
}
COMMAND_MESSAGES = {
    "joint_trajectory": "trajectory_msgs/msg/JointTrajectory",
    "multi_array": "std_msgs/msg/Float64MultiArray",
    "joint_state": "sensor_msgs/msg/JointState",
}


@dataclass(frozen=True)
class Interface:
    """One topic or service between robot and graph."""

    what: str
    robot: str  # PUBLISHES, TAKES or OFFERS
    name: str  # absolute
    type: str  # e.g. sensor_msgs/msg/JointState
    source: str = ""  # name of the camera or state block
    needed: bool = True
    reliable: bool = False  # the graph's own quality of service
    latched: bool = False
    control_hz: float = 0.0  # slower than this, values are repeated; 0: any rate will do
    max_gap_s: float = 0.0  # longer silence stops the robot; 0: any
    limit: str = ""  # the parameter that says so
    max_future_s: float = 0.0  # stamps further ahead are refused; 0: not looked at

    @property
    def title(self) -> str:
        return f"{self.what} '{self.source}'" if self.source else self.what


def interfaces_of(
    aggregator: AggregatorParameters,
    safety: SafetyParameters,
    episodes: EpisodeParameters,
    absolute: Callable[[str], str],
) -> tuple[Interface, ...]:
    """Everything the graph's nodes expect of the robot. absolute: a node's own topic name to the real one."""
    lockstep = safety.lockstep
    # A lockstep simulation publishes when it was told to move: it has no rate to be measured.
    rate = 0.0 if lockstep else aggregator.control_hz
    ahead = 0.0 if lockstep else aggregator.max_future_stamp_s

    def sensor(what: str, topic: str, kind: str, name: str, key: str) -> Interface:
        age = 0.0 if lockstep else aggregator.max_ages_ns[key] * 1e-9
        limit = "source_age_limits_s" if key in aggregator.source_age_names else "max_source_age_s"
        return Interface(
            what, PUBLISHES, absolute(topic), kind, name,
            reliable=lockstep, control_hz=rate, max_gap_s=age, limit=limit, max_future_s=ahead,
        )  # fmt: skip

    def commands(what: str, robot: str, topic: str, kind: str, needed: bool = True) -> Interface:
        return Interface(what, robot, absolute(topic), COMMAND_MESSAGES[kind], needed=needed, reliable=True)

    found = [_joint_states(aggregator, safety, absolute("joint_states"))]
    for block, topic in aggregator.layout.topics.items():
        kind = BLOCK_MESSAGES[block.partition("/")[0] + "/"]
        found.append(sensor(STATE_BLOCK, topic, kind, block, block))
    if aggregator.layout.of_kind(TF_PREFIX):
        found.append(Interface(TRANSFORMS, PUBLISHES, "/tf", "tf2_msgs/msg/TFMessage", reliable=True))
    for name, topic in aggregator.camera_topics.items():
        kind = "Image" if aggregator.transports[name] == RAW else "CompressedImage"
        found.append(sensor(CAMERA, topic, f"sensor_msgs/msg/{kind}", name, name))
    if safety.max_force or safety.max_torque:
        found.append(Interface(WRENCH, PUBLISHES, absolute("wrench"), "geometry_msgs/msg/WrenchStamped"))
    if safety.base_source == TOPIC:
        found.append(commands(CONTROLLER, PUBLISHES, BASE_COMMAND, safety.base_command_type))
    if safety.teleop:
        found.append(commands(TELEOP, PUBLISHES, TELEOP_COMMAND, safety.teleop_command_type, needed=False))
    found.append(commands(COMMANDS, TAKES, "joint_command", safety.command_type))
    reset = "resfit_ros/srv/ResetScene" if episodes.seeded_reset else "std_srvs/srv/Trigger"
    found.append(Interface(RESET, OFFERS, absolute("reset_scene"), reset))
    found.append(
        Interface(
            DESCRIPTION, PUBLISHES, DESCRIPTION_TOPIC, "std_msgs/msg/String",
            needed=safety.urdf == FROM_TOPIC, reliable=True, latched=True,
        )  # fmt: skip
    )
    return tuple(found)


def _joint_states(aggregator: AggregatorParameters, safety: SafetyParameters, name: str) -> Interface:
    """What both readers of the joint states ask for."""
    if safety.lockstep:
        return Interface(JOINT_STATES, PUBLISHES, name, "sensor_msgs/msg/JointState", reliable=True)
    age, limit = safety.state_timeout_s, "state_timeout_s"
    observed = aggregator.max_ages_ns.get(JOINTS)
    if observed is not None and observed * 1e-9 < age:
        age, limit = observed * 1e-9, "max_source_age_s"
    return Interface(
        JOINT_STATES, PUBLISHES, name, "sensor_msgs/msg/JointState",
        control_hz=aggregator.control_hz, max_gap_s=age, limit=limit,
        max_future_s=min(aggregator.max_future_stamp_s, safety.stamp_tolerance_s),
    )  # fmt: skip
