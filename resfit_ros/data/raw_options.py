"""How raw robot bags are read: where an episode begins and ends, how it went, and which topic is what."""

from dataclasses import dataclass

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.schema import param, validate

OUTCOMES = ("success", "failure", "timeout")


@dataclass(frozen=True, kw_only=True)
class RawOptions:
    """Options of `raw_episodes`; without any, one bag is one episode, whose outcome must still be given.

    Raises ConfigError on a value out of range, or one that contradicts another.
    """

    topics: tuple[str, ...] = param(
        (),
        doc="NAME:=TOPIC, where a topic of the bag is not the one of the configuration; NAME as in the "
        "graph: joint_states, joint_command, CAMERA/image_raw, NAME_pose, NAME_wrench, NAME_array; "
        "joint_states and joint_command given several times are read from several topics",
    )
    outcome: str = param(
        "", choices=("", *OUTCOMES), doc="how every episode ended that nothing else says it of"
    )
    success_topic: str = param(
        "",
        doc="topic whose change to true (Bool), to another number than 0 (UInt8, Int32, ...), or whose "
        "outcome (Label) ends the episode at that instant",
    )
    episode_topic: str = param(
        "",
        doc="topic that splits a bag into episodes: Bool (true while one runs), a number (another one for "
        "each, 0 between them), String (another text for each; success, failure, timeout, aborted, end or an "
        "empty text ends it), or our Episode or Label",
    )
    split_gap_s: float = param(
        0.0, ge=0.0, doc="a silence of all but the cameras that splits a bag; 0: none does", unit="s"
    )
    labels: str = param(
        "", doc="file of outcomes (.csv, .yaml, .json): bag, start_s, end_s, outcome in each row"
    )
    max_command_age_s: float = param(
        0.5,
        gt=0.0,
        doc="the newest command holds for so long beyond its end; steps after that are dropped",
        unit="s",
    )
    ignore_stamps: bool = param(
        False, doc="take the instant of receipt for the stamp of every message: for stamps of another clock"
    )
    min_steps: int = param(2, ge=1, doc="episodes with fewer steps left are dropped", unit="steps")

    def __post_init__(self) -> None:
        validate(self)
        if self.labels and self.episode_topic:
            raise ConfigError("labels and episode_topic both say where episodes begin and end; give one")
        if self.split_gap_s and (self.labels or self.episode_topic):
            raise ConfigError("split_gap_s does not go with labels or episode_topic; give one of them")
        for text in self.topics:
            name, sign, topic = text.partition(":=")
            if not (name and sign and topic):
                raise ConfigError(f"topic '{text}': expected NAME:=TOPIC, e.g. joint_command:=/arm/command")

    def topics_of(self, name: str) -> tuple[str, ...]:
        """Topics given for a name of the graph; empty: as configured."""
        pairs = (text.split(":=", 1) for text in self.topics)
        return tuple(topic for n, topic in pairs if n.lstrip("/") == name)
