"""The newest value of every source, and whether it may be used: what the aggregator keeps."""

from collections.abc import Mapping, Sequence

import numpy as np

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.hold_announcer import Trouble
from resfit_ros.core.joint_states import JointStates
from resfit_ros.core.observation import JOINT_BLOCKS, JOINTS, ObservationAssembler, SourceValue
from resfit_ros.core.parameters import AggregatorParameters
from resfit_ros.core.source_health import HealthSettings, SensorHealth


class Sensing:
    """Takes values in, refuses bad ones, and puts the newest together.

    In lockstep nothing is refused by its age or stamp: the simulation is the clock.
    """

    def __init__(self, p: AggregatorParameters) -> None:
        self.assembler = ObservationAssembler(p.layout, p.camera_names)
        self.joints = JointStates(p.joint_names, [b for b in p.layout.blocks if b in JOINT_BLOCKS])
        self._joints_stamp_ns = -1
        self.health = None
        if not p.lockstep:
            names = {s: f"camera '{s}'" if s in p.camera_names else s for s in p.sources}
            names |= {JOINTS: "the joint state"} if JOINTS in names else {}
            settings = HealthSettings(round(p.max_future_stamp_s * 1e9), p.recover_values)
            self.health = SensorHealth(names, p.max_ages_ns, settings)

    def store(
        self,
        source: str,
        stamp_ns: int | None,
        value: Mapping[str, np.ndarray],
        now_ns: int,
        ros_ns: int,
        same: bool = False,
    ) -> bool:
        """Keeps a value unless it is refused or repeated; True where it was kept.

        stamp_ns: None for a message without a header. now_ns: the steady clock. ros_ns: the ROS clock.
        same: its content is that of the value before.
        """
        if self.health and not self.health.sources[source].on_value(stamp_ns, now_ns, ros_ns, same):
            return False
        stamp_ns = ros_ns if stamp_ns is None else stamp_ns
        self.assembler.update(source, SourceValue(stamp_ns, now_ns, value))
        return True

    def store_numbers(
        self, source: str, stamp_ns: int | None, numbers: np.ndarray, now_ns: int, ros_ns: int
    ) -> bool:
        """As `store`, for a block of numbers; raises ShapeError on a wrong length, NaN or Inf."""
        wanted = self.assembler.layout.size_of(source)
        if len(numbers) != wanted:
            raise ShapeError(f"{source} has {len(numbers)} numbers, but 'state' says {wanted}")
        self._check_finite(source, numbers)
        return self.store(source, stamp_ns, {source: numbers}, now_ns, ros_ns)

    def store_joints(
        self, names: Sequence[str], fields: Mapping[str, np.ndarray], stamp_ns: int, now_ns: int, ros_ns: int
    ) -> bool:
        """Takes one JointState in; True where all joints are known now.

        fields: joint block to values (len(names),). Raises ShapeError on counts that disagree, NaN or Inf.
        """
        if not self.joints.blocks:
            return False
        health = self.health and self.health.sources[JOINTS]
        if health and (problem := health.stamp_problem(stamp_ns, ros_ns)):
            health.refuse(problem)
            return False
        for block in self.joints.blocks:
            self._check_finite(block, fields[block])
        if not self.joints.update(names, fields, stamp_ns, now_ns):
            return False
        state = self.joints.complete()
        if state is None:
            if health:
                health.note(f"lacks joint '{self.joints.missing()[0]}'")
            return False
        if health and state.stamp_ns == self._joints_stamp_ns:
            health.note(f"has nothing new of joint '{self.joints.oldest()}'")
        elif health:
            health.on_value(state.stamp_ns, state.received_ns, ros_ns)
        self._joints_stamp_ns = state.stamp_ns
        self.assembler.update(JOINTS, state)
        return True

    def _check_finite(self, what: str, numbers: np.ndarray) -> None:
        # In lockstep the whole state is checked before it is sent, and nothing else ever was.
        if self.health and not np.all(np.isfinite(numbers)):
            raise ShapeError(f"{what} holds NaN or Inf")

    def refuse(self, source: str, why: str) -> None:
        """Takes note of a message that could not be read."""
        if self.health:
            self.health.sources[source].refuse(why)

    def note(self, source: str, complaint: str) -> None:
        """Remembers what is odd about a source; it is said when nothing new comes from it."""
        if self.health:
            self.health.sources[source].note(complaint)

    def retract(self, source: str, why: str) -> None:
        """The newest value of `source` cannot be used after all."""
        if self.health:
            self.health.sources[source].retract(why)

    def clock_jumped(self, ros_ns: int, now_ns: int) -> bool:
        """Call at every tick; True when the ROS clock was set and every value has been dropped."""
        if not self.health or not self.health.clock_jumped(ros_ns, now_ns):
            return False
        self.assembler.forget()
        self.joints.forget()
        self._joints_stamp_ns = -1
        return True

    def trouble(self, now_ns: int) -> Trouble | None:
        """Why the robot must not move by what it senses, or None; always None in lockstep."""
        return self.health.trouble(now_ns) if self.health else None
