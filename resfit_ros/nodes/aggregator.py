"""Samples cameras, joint states and poses into one Observation per control step."""

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import Image, JointState

from resfit_ros.core.errors import ResfitError
from resfit_ros.core.observation import (
    JOINT_BLOCKS,
    POSE_PREFIX,
    JointOrder,
    ObservationAssembler,
    SourceValue,
    canonical_pose,
)
from resfit_ros.core.parameters import AggregatorParameters
from resfit_ros.core.step_clock import StepClock
from resfit_ros.core.types import EpisodeEnded, Observation
from resfit_ros.msg import Action, Episode
from resfit_ros.msg import Observation as ObservationMsg
from resfit_ros.ros.convert import episode_from_msg, from_doubles, observation_to_msg, to_ns
from resfit_ros.ros.images import resized_rgb8
from resfit_ros.ros.node import OK, WARN, ResfitNode, run_node
from resfit_ros.ros.qos import EPISODES, ROBOT, SENSORS, STEPS

REPORT_AFTER_S = 0.5


class Aggregator(ResfitNode[AggregatorParameters]):
    """Realtime: samples at control_hz. Lockstep: samples once all sources show the same instant."""

    def __init__(self) -> None:
        super().__init__("aggregator")
        p = self.params
        self._assembler = ObservationAssembler(p.layout, p.camera_names)
        self._order = JointOrder(p.joint_names)
        self._blocks = [b for b in p.layout.blocks if b in JOINT_BLOCKS]
        self._episode_id = 0  # 0: no episode is running
        self._start_ns = 0
        self._step = 0
        self._last: ObservationMsg | None = None
        self._last_stamp_ns = -1
        self._sent = 0
        self._step_clock = StepClock()  # realtime; in lockstep the simulation is the clock
        self._publisher = self.create_publisher(ObservationMsg, "observation", STEPS)
        self.hear(Episode, "episode", self._on_episode, EPISODES)
        # Lockstep waits for every message, so none may be lost on the way.
        qos = ROBOT if p.lockstep else SENSORS
        self.hear(JointState, "joint_states", self._on_joint_state, qos)
        for name in p.layout.poses:
            self.hear(
                PoseStamped, f"{name}_pose", lambda m, n=name: self._on_pose(n, m), qos
            )
        for name in p.camera_names:
            self.hear(
                Image, f"{name}/image_raw", lambda m, n=name: self._on_image(n, m), qos
            )
        if not p.lockstep:
            self.hear(Action, "action", self._on_action, STEPS)
            self.every(1.0 / p.control_hz, self._sample_realtime)
        self.report(OK, "waiting for an episode")

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        ages = self._assembler.ages_s(self.now_ns())
        names = self._assembler.sources
        return {"observations": self._sent} | {
            f"age of {n} [s]": f"{a:.3f}" for n, a in zip(names, ages, strict=True)
        }

    def _on_episode(self, message: Episode) -> None:
        event = episode_from_msg(message)
        if isinstance(event, EpisodeEnded):
            if event.episode_id == self._episode_id:
                self._episode_id = 0
            return
        self._episode_id, self._start_ns = event.episode_id, event.stamp_ns
        self._step, self._last = 0, None
        self._step_clock.reset()
        if self.params.lockstep:
            self._sample_lockstep()

    def _on_action(self, message: Action) -> None:
        if message.episode_id == self._episode_id:
            self._step_clock.on_action(message.step)

    def _on_joint_state(self, message: JointState) -> None:
        fields = {
            "joint_positions": message.position,
            "joint_velocities": message.velocity,
            "joint_efforts": message.effort,
        }
        try:
            value = {
                b: self._order.pick(message.name, from_doubles(fields[b]), b.removeprefix("joint_"))
                for b in self._blocks
            }
        except ResfitError as error:
            self.report(WARN, f"joint state rejected: {error}")
            return
        repeated = to_ns(message.header.stamp) == self._last_stamp_ns and self._last is not None
        self._store("joints", message, value)
        if self.params.lockstep and repeated and self._episode_id:
            # The robot repeats its state when it waits: some message of this step got lost.
            self._publisher.publish(self._last)

    def _on_pose(self, name: str, message: PoseStamped) -> None:
        p, q = message.pose.position, message.pose.orientation
        try:
            pose = canonical_pose((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
        except ResfitError as error:
            self.report(WARN, f"pose '{name}' rejected: {error}")
            return
        source = POSE_PREFIX + name
        self._store(source, message, {source: pose})

    def _on_image(self, name: str, message: Image) -> None:
        p = self.params
        try:
            image = resized_rgb8(message, p.image_width, p.image_height)
        except ResfitError as error:
            self.report(WARN, f"camera '{name}': {error}")
            return
        self._store(name, message, {"image": image})

    def _store(self, source: str, message, value: dict[str, np.ndarray]) -> None:
        stamp_ns = to_ns(message.header.stamp)
        self._assembler.update(source, SourceValue(stamp_ns, self.now_ns(), value))
        if self.params.lockstep:
            self._sample_lockstep()

    def _sample_lockstep(self) -> None:
        stamps = self._assembler.stamps()
        if not self._episode_id or len(stamps) < len(self._assembler.sources):
            return
        stamp_ns = stamps[0]
        if any(s != stamp_ns for s in stamps) or stamp_ns < self._start_ns:
            return
        if self._last is None or stamp_ns > self._last_stamp_ns:
            if self._emit(stamp_ns):
                self._step += 1
                self.report(OK, "sampling")

    def _sample_realtime(self) -> None:
        if not self._episode_id:
            return
        now_ns = self.now_ns()
        step = self._step_clock.due(now_ns)
        waited_s = self._step_clock.waited_s(now_ns)
        if waited_s > REPORT_AFTER_S:
            self.report(
                WARN,
                f"step {self._step} has waited for its action for {max(1, int(waited_s))} s; see what residual "
                "and base_policy report",
            )
        if step is None:
            return
        max_age_ns = round(self.params.max_source_age_s * 1e9)
        missing = self._assembler.missing(now_ns, max_age_ns, self._start_ns)
        if missing:
            self.report(WARN, f"no fresh data from {', '.join(missing)}; check the topic and its rate")
            return
        self._step = step
        if self._emit(self.stamp_ns()):
            self._step_clock.observed(step, now_ns)
            if waited_s <= REPORT_AFTER_S:
                self.report(OK, "sampling")

    def _emit(self, stamp_ns: int) -> bool:
        """Publishes an observation of the current step; False where the state is not fit for one."""
        state = self._assembler.state()
        if not np.all(np.isfinite(state)):
            self.report(WARN, "state holds NaN or Inf; no observation made")
            return False
        observation = Observation(
            stamp_ns=stamp_ns,
            episode_id=self._episode_id,
            step=self._step,
            state=state,
            images=self._assembler.images(),
            source_ages_s=self._assembler.ages_s(self.now_ns()),
            source_id=self.source_id,
        )
        self._last, self._last_stamp_ns = observation_to_msg(observation), stamp_ns
        self._publisher.publish(self._last)
        self._sent += 1
        return True


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros aggregator`."""
    return run_node(Aggregator, args)


if __name__ == "__main__":
    raise SystemExit(main())
