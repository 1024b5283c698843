"""Samples cameras, joint states and other sensors into one Observation per control step."""

from functools import partial

import numpy as np
from sensor_msgs.msg import CompressedImage, Image, JointState

from resfit_ros.core.errors import ResfitError, ShapeError
from resfit_ros.core.hold_announcer import HoldAnnouncer
from resfit_ros.core.observation import TF_PREFIX
from resfit_ros.core.parameter_groups import RAW
from resfit_ros.core.parameters import AUTO, REFUSE, AggregatorParameters
from resfit_ros.core.sensing import Sensing
from resfit_ros.core.step_clock import StepClock
from resfit_ros.core.types import EpisodeEnded, HoldRequest, Observation, Reason
from resfit_ros.msg import Action, Episode
from resfit_ros.msg import Observation as ObservationMsg
from resfit_ros.pictures.cameras import Picture, cameras_of
from resfit_ros.ros.convert import episode_from_msg, from_doubles, observation_to_msg, to_ns
from resfit_ros.ros.extra_state import reader_of, stamp_of
from resfit_ros.ros.frames import frames_of
from resfit_ros.ros.node import OK, WARN, ResfitNode, run_node
from resfit_ros.ros.qos import ROBOT, SENSORS, STEPS

REPORT_AFTER_S = 0.5
WATCH_S = 0.01
WARN_EVERY_NS = 1_000_000_000


class Aggregator(ResfitNode[AggregatorParameters]):
    """Realtime: samples at control_hz. Lockstep: samples once all sources show the same instant."""

    niceness = -10

    def __init__(self) -> None:
        super().__init__("aggregator")
        p = self.params
        self._sensing = Sensing(p)
        self._cameras = cameras_of(p)
        self._pictures: dict[str, Picture] = {}
        self._frames = frames_of(self, p.layout.of_kind(TF_PREFIX))
        self._announcer = HoldAnnouncer()
        self._episode_id = 0  # 0: no episode is running
        self._start_ns = 0
        self._step = 0
        self._last: ObservationMsg | None = None
        self._last_stamp_ns = -1
        self._sent = 0
        self._warned_ns = -WARN_EVERY_NS
        self._step_clock = StepClock()  # realtime; in lockstep the simulation is the clock
        simulated = self.get_parameter("use_sim_time").value
        self._refuse_repeats = p.repeated_pictures == REFUSE or p.repeated_pictures == AUTO and not simulated
        self._publisher = self.create_publisher(ObservationMsg, "observation", STEPS)
        self.hear_episodes(self._on_episode)
        self._listen_to_sensors()
        if not p.lockstep:
            self.may_hold()
            self.hear(Action, "action", self._on_action, STEPS)
            self.every(1.0 / p.control_hz, self._sample_realtime)
            self.every(WATCH_S, self._watch)
        self.report(OK, "waiting for an episode")

    def _listen_to_sensors(self) -> None:
        p = self.params
        # Lockstep waits for every message, so none may be lost on the way.
        qos = ROBOT if p.lockstep else SENSORS
        self.hear(JointState, "joint_states", self._on_joint_state, qos)
        for block, topic in p.layout.topics.items():
            kind, read = reader_of(block)
            self.hear(kind, topic, partial(self._on_numbers, block, read), qos)
        for name, topic in p.camera_topics.items():
            kind = Image if p.transports[name] == RAW else CompressedImage
            self.hear(kind, topic, partial(self._on_picture, name), qos, raw=True)

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        health, ages = self._sensing.health, self._sensing.assembler.ages_s(self.now_ns())
        return {
            "observations": self._sent,
            "values refused": health.refused if health else 0,
            "jumps of the ROS clock": health.jumps if health else 0,
        } | {f"age of {n} [s]": f"{a:.3f}" for n, a in zip(self.params.sources, ages, strict=True)}

    def not_ready(self) -> list[str]:
        """An episode waits until every source is healthy, too."""
        trouble = self._sensing.trouble(self.now_ns())
        return super().not_ready() + ([trouble.why] if trouble else [])

    # -- episodes ---------------------------------------------------------------------------

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

    # -- sensors ----------------------------------------------------------------------------

    def _on_joint_state(self, message: JointState) -> None:
        stamp_ns, joints = to_ns(message.header.stamp), self._sensing.joints
        every = {
            "joint_positions": message.position,
            "joint_velocities": message.velocity,
            "joint_efforts": message.effort,
        }
        fields = {block: from_doubles(every[block]) for block in joints.blocks}
        repeated = stamp_ns == self._last_stamp_ns and self._last is not None
        try:
            self._sensing.store_joints(message.name, fields, stamp_ns, self.now_ns(), self.stamp_ns())
        except ResfitError as error:
            self._warn(f"joint state rejected: {error}")
            return
        if missing := joints.missing():
            self._warn(f"joint state lacks joint '{missing[0]}' ({len(missing)} missing)")
        elif self.params.lockstep:
            self._sample_lockstep()
            if repeated and self._episode_id:
                # The robot repeats its state when it waits: some message of this step got lost.
                self._publisher.publish(self._last)

    def _on_numbers(self, block: str, read, message) -> None:
        self._store_numbers(block, stamp_of(message), partial(read, message))
        if self.params.lockstep:
            self._sample_lockstep()

    def _store_numbers(self, block: str, stamp_ns: int | None, read) -> None:
        try:
            self._sensing.store_numbers(block, stamp_ns, read(), self.now_ns(), self.stamp_ns())
        except ResfitError as error:
            self._refuse(block, f"'{block}' rejected: {error}", error)

    def _look_up(self) -> None:
        if not self._frames:
            return
        for block, stamp_ns, pose in self._frames.news():
            self._store_numbers(block, stamp_ns, lambda pose=pose: pose)
        for block, why in self._frames.why.items():
            self._sensing.note(block, why)

    def _on_picture(self, name: str, raw: bytes) -> None:
        lockstep = self.params.lockstep
        try:
            picture, same = self._cameras[name].take(raw, eagerly=lockstep)
        except ResfitError as error:
            self._refuse(name, f"camera '{name}': {error}", error)
            return
        same = same and self._refuse_repeats
        if self._sensing.store(name, picture.stamp_ns, picture, self.now_ns(), self.stamp_ns(), same):
            self._pictures[name] = picture
        if lockstep:
            self._sample_lockstep()

    def _refuse(self, source: str, words: str, error: ResfitError) -> None:
        self._sensing.refuse(source, f"is refused: {error}")
        self._warn(words)

    def _warn(self, words: str) -> None:
        """Reports a refused message; not each of thousands."""
        now_ns = self.now_ns()
        if now_ns - self._warned_ns > WARN_EVERY_NS:
            self._warned_ns = now_ns
            self.report(WARN, words)

    def _watch(self) -> None:
        """Every 10 ms: the clock, transforms, and whether the robot may go on."""
        now_ns, ros_ns = self.now_ns(), self.stamp_ns()
        if self._sensing.clock_jumped(ros_ns, now_ns):
            self._start_ns = ros_ns  # the episode goes on by the new clock
            if self._frames:
                self._frames.clear()
        self._look_up()
        trouble = self._sensing.trouble(now_ns)
        listeners = self._hold_requests.get_subscription_count()
        said = self._announcer.update(trouble if self._episode_id else None, listeners, now_ns)
        if said is None:
            return
        request, trouble = said
        self.ask_to_hold(request, trouble.reasons if trouble else Reason.NONE, trouble.why if trouble else "")
        if request == HoldRequest.HOLD:
            self.report(WARN, f"no observations: {trouble.why}")

    # -- observations -----------------------------------------------------------------------

    def _sample_lockstep(self) -> None:
        assembler = self._sensing.assembler
        stamps = assembler.stamps()
        if not self._episode_id or len(stamps) < len(assembler.sources):
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
        trouble = self._sensing.trouble(now_ns)
        if trouble:
            self.report(WARN, f"no observations: {trouble.why}")
            return
        early = self._sensing.assembler.before(self._start_ns)
        if early:
            self.report(WARN, f"nothing of this episode yet from {', '.join(early)}; check the topic and its rate")
            return
        self._step = step
        if self._decode() and self._emit(self.stamp_ns()):
            self._step_clock.observed(step, now_ns)
            if waited_s <= REPORT_AFTER_S:
                self.report(OK, "sampling")

    def _decode(self) -> bool:
        """Decodes the newest pictures; False where one cannot be."""
        for name, picture in self._pictures.items():
            try:
                picture.pixels()
            except ShapeError as error:
                self._sensing.retract(name, f"is refused: {error}")
                self._warn(f"camera '{name}': {error}")
                return False
        return True

    def _emit(self, stamp_ns: int) -> bool:
        """Publishes an observation of the current step; False where the state is not fit for one."""
        assembler = self._sensing.assembler
        state = assembler.state()
        if not np.all(np.isfinite(state)):
            self.report(WARN, "state holds NaN or Inf; no observation made")
            return False
        observation = Observation(
            stamp_ns=stamp_ns,
            episode_id=self._episode_id,
            step=self._step,
            state=state,
            images=assembler.images(),
            source_ages_s=assembler.ages_s(self.now_ns()),
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
