"""Which topic of a raw bag is what, by the names the live graph uses."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from resfit_ros.bringup import RunConfig, node_parameters, remappings
from resfit_ros.core.errors import ConfigError, DataError, nearest
from resfit_ros.core.observation import ARRAY_PREFIX, JOINTS, POSE_PREFIX, TF_PREFIX, WRENCH_PREFIX
from resfit_ros.core.parameter_groups import COMPRESSED, RAW
from resfit_ros.core.parameters import AggregatorParameters
from resfit_ros.data.raw_commands import COMMAND_TYPES, JOINT_STATE
from resfit_ros.data.raw_options import RawOptions
from resfit_ros.data.raw_stretches import EPISODE_TYPES, SUCCESS_TYPES

COMMANDS = "commands"  # in reports, beside the sources of observations
TRANSPORTS = {"sensor_msgs/msg/Image": RAW, "sensor_msgs/msg/CompressedImage": COMPRESSED}
BLOCK_TYPES = {
    POSE_PREFIX: "geometry_msgs/msg/PoseStamped",
    WRENCH_PREFIX: "geometry_msgs/msg/WrenchStamped",
    ARRAY_PREFIX: "std_msgs/msg/Float64MultiArray",
}
CLOCK, CLOCK_TYPE = "/clock", "rosgraph_msgs/msg/Clock"
LISTED = 20  # topics named in an error


@dataclass(frozen=True)
class TopicMap:
    """Source of observations to its topics, with those of commands. transports: camera to how it is sent."""

    sources: Mapping[str, tuple[str, ...]]
    commands: tuple[str, ...]
    transports: Mapping[str, str] = field(default_factory=dict)
    clock: bool = False  # whether a simulation's clock is in the bag
    joints: tuple[str, ...] = ()  # joint states, needed or not: where commands set out from

    @property
    def light(self) -> tuple[str, ...]:
        """All but the cameras'."""
        ours = (t for s, topics in self.sources.items() if s not in self.transports for t in topics)
        return (*ours, *self.commands)

    @property
    def every(self) -> frozenset[str]:
        """All that are needed to make observations and actions."""
        ours = (t for topics in self.sources.values() for t in topics)
        return frozenset((*ours, *self.commands, *self.joints, *((CLOCK,) if self.clock else ())))


def observing_parameters(config: RunConfig) -> AggregatorParameters:
    """The aggregator's, by the clock whatever the configuration says: a bag does not wait for its commands.

    Raises ConfigError on a block that no bag can be asked for.
    """
    p = node_parameters(config, "aggregator", {"timing": "realtime"})
    frames = p.layout.of_kind(TF_PREFIX)
    if frames:
        raise ConfigError(
            f"{config.path}: state: block '{frames[0]}' cannot be made of a raw bag; record the pose as "
            "pose/NAME, or leave the block out"
        )
    return p


class _Finder:
    """Looks topics up in one bag; every error names what there is."""

    def __init__(self, bag: str, topics: Mapping[str, str], counts: Mapping[str, int]) -> None:
        self._bag, self._topics, self._counts = bag, topics, counts

    def find(self, name: str, wanted: Iterable[str], kinds: Iterable[str], what: str) -> tuple[str, ...]:
        """The topics `wanted`, each there with messages of one of `kinds`; raises DataError."""
        kinds = tuple(kinds)
        for topic in wanted:
            if topic not in self._topics:
                raise DataError(f"{self._bag}: no topic {topic} for {what}; {self._hint(name, topic, kinds)}")
            if self._topics[topic] not in kinds:
                raise DataError(
                    f"{self._bag}: topic {topic} for {what} is of type {self._topics[topic]}, expected "
                    f"{' or '.join(kinds)}; {self._hint(name, topic, kinds)}"
                )
            if not self._counts[topic]:
                raise DataError(f"{self._bag}: topic {topic} for {what} has no messages; record it again")
        return tuple(wanted)

    def _hint(self, name: str, topic: str, kinds: tuple[str, ...]) -> str:
        fitting = [t for t, kind in self._topics.items() if kind in kinds]
        listed = [f"{t} ({kind})" for t, kind in sorted(self._topics.items())]
        more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
        close = nearest(topic, fitting) if fitting else "none of them is of that type"
        advice = f"; give it with --topic {name}:=TOPIC" if name else ""
        return f"there are {', '.join(listed[:LISTED])}{more}: {close}{advice}"

    def has(self, topic: str, kinds: Iterable[str]) -> bool:
        return self._topics.get(topic) in tuple(kinds) and self._counts[topic] > 0


def topic_map(
    bag: str,
    topics: Mapping[str, str],
    counts: Mapping[str, int],
    config: RunConfig,
    p: AggregatorParameters,
    options: RawOptions,
) -> TopicMap:
    """Of a bag with these topics (to type) and counts.

    Raises DataError naming what is missing or of a wrong type, ConfigError on an option that names nothing.
    """
    absolute = dict(remappings("aggregator", config))
    given = {text.partition(":=")[0].lstrip("/") for text in options.topics}
    unknown = sorted(given - set(absolute))
    if unknown:
        hint = nearest(unknown[0], absolute)
        raise ConfigError(f"topic '{unknown[0]}': no such name in {config.path}; {hint}")
    finder = _Finder(bag, topics, counts)

    def of(name: str) -> tuple[str, ...]:
        return options.topics_of(name) or (absolute[name],)

    sources: dict[str, tuple[str, ...]] = {}
    if JOINTS in p.sources:
        sources[JOINTS] = finder.find("joint_states", of("joint_states"), [JOINT_STATE], "the joint states")
    for block, name in p.layout.topics.items():
        kind = BLOCK_TYPES[block.partition("/")[0] + "/"]
        sources[block] = finder.find(name, of(name), [kind], f"block '{block}'")
    for camera, name in p.camera_topics.items():
        wanted = of(name)
        if not finder.has(wanted[0], TRANSPORTS) and finder.has(f"{wanted[0]}/compressed", TRANSPORTS):
            wanted = (f"{wanted[0]}/compressed",)
        sources[camera] = finder.find(name, wanted[-1:], TRANSPORTS, f"camera '{camera}'")
    commands = finder.find("joint_command", of("joint_command"), COMMAND_TYPES, "the commands")
    if options.success_topic:
        finder.find("", [options.success_topic], SUCCESS_TYPES, "success_topic")
    if options.episode_topic:
        finder.find("", [options.episode_topic], EPISODE_TYPES, "episode_topic")
    return TopicMap(
        sources=sources,
        commands=commands,
        transports={c: TRANSPORTS[topics[sources[c][0]]] for c in p.camera_names},
        clock=not options.ignore_stamps and finder.has(CLOCK, [CLOCK_TYPE]),
        joints=tuple(t for t in of("joint_states") if finder.has(t, [JOINT_STATE])),
    )
