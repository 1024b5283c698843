"""Resets, starts, labels and ends episodes, and holds the next one back while the learner is behind."""

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, KeyValue
from std_srvs.srv import Trigger

from resfit_ros.core.episode import EpisodeMachine, EpisodeState, Refusal, starts_after_reset
from resfit_ros.core.parameters import EpisodeParameters
from resfit_ros.core.types import EpisodeEnded, Outcome, SafetyState
from resfit_ros.msg import Episode, Label, LearnerStatus, SafetyStatus
from resfit_ros.msg import Observation as ObservationMsg
from resfit_ros.ros.convert import episode_to_msg, to_ns
from resfit_ros.ros.node import NOTHING, OK, WAITING_FOR, WARN, ResfitNode, run_node
from resfit_ros.ros.qos import EPISODES, LATCHED, STEPS
from resfit_ros.srv import Label as LabelService
from resfit_ros.srv import ResetScene, StartEpisode

POLL_S = 0.1
SETTLE_S = 0.5  # after the last node found its publishers and servers, for these to find it
RESET_TIMEOUT_S = 60.0
RETRY_S = 2.0


class EpisodeManager(ResfitNode[EpisodeParameters]):
    """The only node that decides when an episode begins and ends."""

    def __init__(self) -> None:
        super().__init__("episode_manager")
        p = self.params
        self._machine = EpisodeMachine(p.max_steps, p.first_episode_id)
        self._learner: LearnerStatus | None = None
        self._connected: set[str] = set()  # nodes that hear every topic they need
        self._last_end = 0  # id of the newest ended episode that the learner takes in
        self._complete_since_ns: int | None = None
        self._wanted = p.auto_start  # an episode should be started as soon as possible
        self._wanted_seed: int | None = None
        self._reset_waits = False  # asked for by service, not begun yet
        self._start_asked: int | None = None  # scene seed of a start by service that has not led to an episode
        self._reset_began_ns = self._not_before_ns = 0
        self._answer = None  # of the reset under way
        self._safety: int | None = None
        self._outcomes = dict.fromkeys(Outcome, 0)
        self._publisher = self.create_publisher(Episode, "episode", EPISODES)
        self.hear(ObservationMsg, "observation", self._on_observation, STEPS)
        self.create_subscription(Label, "label_event", self._on_label_event, STEPS)
        self.create_subscription(LearnerStatus, "learner_status", self._on_learner, LATCHED)
        self.create_subscription(SafetyStatus, "safety_status", self._on_safety, 10)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self._reset = self.create_client(ResetScene if p.seeded_reset else Trigger, "reset_scene")
        self.create_service(Trigger, "reset", self._on_reset)
        self.create_service(LabelService, "label", self._on_label)
        self.create_service(StartEpisode, "start_episode", self._on_start)
        self.every(POLL_S, self._poll)
        self.report(OK, "idle")

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        counts = {o.name.lower(): n for o, n in self._outcomes.items() if o is not Outcome.NONE}
        m = self._machine
        return {"state": m.state.value, "episode": m.episode_id, "step": m.steps} | counts

    def _on_safety(self, message: SafetyStatus) -> None:
        self._safety = message.state

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if self._complete_since_ns is None and KeyValue(key=WAITING_FOR, value=NOTHING) in status.values:
                self._connected.add(status.name.rsplit("/", 1)[-1])

    # -- starting ---------------------------------------------------------------------------

    def _seed_of_next(self) -> int:
        base = self.params.scene_seed
        return base if base < 0 else base + self._machine.episode_id + 1

    def _poll(self) -> None:
        if self._machine.state is EpisodeState.RESETTING:
            waited_s = (self.now_ns() - self._reset_began_ns) * 1e-9
            if waited_s > RESET_TIMEOUT_S:
                self._give_up_reset(f"no answer in {RESET_TIMEOUT_S:g} s")
        self._start_if_possible()

    def _start_if_possible(self) -> None:
        if not self._wanted or self._machine.state is not EpisodeState.IDLE:
            return
        if self.now_ns() < self._not_before_ns:
            return
        obstacle = self._obstacle()
        if obstacle:
            self.report(OK, f"waiting: {obstacle}")
            return
        seed = self._seed_of_next() if self._wanted_seed is None else self._wanted_seed
        self._machine.request_start(seed)
        self._wanted, self._wanted_seed = self.params.auto_start, None
        self._reset_waits = False
        self._reset_began_ns = self.now_ns()
        request = ResetScene.Request(seed=seed) if self.params.seeded_reset else Trigger.Request()
        self._answer = self._reset.call_async(request)
        self._answer.add_done_callback(self._on_reset_done)
        self.report(OK, "resetting the scene")

    def _obstacle(self) -> str | None:
        """Why the next episode cannot start yet."""
        if self._complete_since_ns is None:
            missing = set(self.params.wait_for_nodes) - self._connected
            if missing:
                return f"nodes not up or not connected yet: {', '.join(sorted(missing))}"
            if self.unheard():
                return f"no publisher on {', '.join(self.unheard())}"
        if not self._reset.service_is_ready():
            return f"reset service {self._reset.srv_name} is not available"
        if self._complete_since_ns is None:
            self._complete_since_ns = self.now_ns()
        if (self.now_ns() - self._complete_since_ns) * 1e-9 < SETTLE_S:
            return "connections settle"
        if "safety_filter" in self.params.wait_for_nodes and self._safety != SafetyState.ARMED:
            return "the safety filter is not armed; arm it with the service 'arm'"
        return self._learner_obstacle() if self.params.wait_for_learner else None

    def _learner_obstacle(self) -> str | None:
        status = self._learner
        if status is None or status.phase == LearnerStatus.PHASE_WAITING:
            return "the learner is not ready"
        if status.phase == LearnerStatus.PHASE_DONE:
            return "the learner has finished"
        if status.last_episode_id < self._last_end:
            return "the learner has not taken the last episode in"
        if status.owed_updates > self.params.max_owed_updates:
            return f"the learner owes {status.owed_updates} updates"
        return None

    def _on_reset_done(self, future) -> None:
        if future is not self._answer:  # of a reset that was given up
            return
        response = future.result()
        if response is None or not response.success:
            self._give_up_reset(response.message if response is not None else "no answer")
            return
        stamp: Time | None = getattr(response, "stamp", None)
        start_ns = to_ns(stamp) if stamp is not None else self.stamp_ns()
        started = self._machine.reset_done(start_ns)
        self._start_asked = None
        self._publisher.publish(episode_to_msg(started, self.source_id))
        self.report(OK, f"episode {started.episode_id} is running")

    def _give_up_reset(self, why: str) -> None:
        """Back to idle; the same start is tried again after a while."""
        seed = self._machine.scene_seed
        self._machine.reset_failed()
        self._answer = None
        self._wanted, self._wanted_seed = True, seed
        self._not_before_ns = self.now_ns() + round(RETRY_S * 1e9)
        self.report(WARN, f"reset failed: {why}; it is tried again every {RETRY_S:g} s")

    # -- running and ending -----------------------------------------------------------------

    def _on_observation(self, m: ObservationMsg) -> None:
        ended = self._machine.on_observation(m.episode_id, m.step, to_ns(m.header.stamp))
        if ended is not None:
            self._finish(ended)

    def _finish(self, ended: EpisodeEnded) -> None:
        self._publisher.publish(episode_to_msg(ended, self.source_id))
        if ended.outcome is not Outcome.ABORTED:
            self._last_end = ended.episode_id
        self._outcomes[ended.outcome] += 1
        self.report(OK, f"episode {ended.episode_id} ended: {ended.outcome.name.lower()}")
        self._start_if_possible()

    def _on_learner(self, message: LearnerStatus) -> None:
        self._learner = message
        self._start_if_possible()

    def _label(self, outcome: int, stamp_ns: int, by: str, episode_id: int = 0) -> Refusal | None:
        try:
            verdict = self._machine.on_label(Outcome(outcome), stamp_ns, by, episode_id)
        except ValueError:
            return Refusal(f"{outcome} is not an outcome; see Episode.OUTCOME_*")
        if isinstance(verdict, EpisodeEnded):
            self._finish(verdict)
        return verdict if isinstance(verdict, Refusal) else None

    def _on_label_event(self, message: Label) -> None:
        stamp_ns = to_ns(message.header.stamp) or self.stamp_ns()
        refusal = self._label(message.outcome, stamp_ns, message.labelled_by)
        if refusal is not None:
            self.report(WARN, f"label of {message.labelled_by} refused: {refusal.reason}")

    # -- services ---------------------------------------------------------------------------

    def _on_label(self, request: LabelService.Request, response: LabelService.Response):
        # A press counts for what the robot showed then: the newest observation.
        stamp_ns = self._machine.newest_stamp_ns
        by = request.labelled_by or "label service"
        refusal = self._label(request.outcome, stamp_ns, by, request.episode_id)
        response.success = refusal is None
        response.message = refusal.reason if refusal else "labelled"
        return response

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response):
        if self._machine.state is EpisodeState.RESETTING:
            response.message = "refused: a reset is already under way; wait for it to finish"
            return response
        if self._reset_waits:
            response.message = f"refused: a reset is already waiting: {self._obstacle() or 'it begins now'}"
            return response
        p = self.params
        if not starts_after_reset(p.auto_start, p.wait_for_nodes):
            return self._leave_it_to_the_evaluator(response)
        aborted = self._machine.abort("reset service")
        self._wanted = self._reset_waits = True
        if aborted is not None:
            self._finish(aborted)
        else:
            self._start_if_possible()
        response.success = True
        response.message = self._started_or_waiting(aborted)
        return response

    def _leave_it_to_the_evaluator(self, response: Trigger.Response) -> Trigger.Response:
        aborted = self._machine.abort("reset service")
        if aborted is None:
            response.message = "refused: no episode is running; the evaluator starts the next one"
            return response
        self._finish(aborted)
        response.success = True
        response.message = f"episode {aborted.episode_id} aborted; the evaluator runs it again"
        return response

    def _started_or_waiting(self, aborted: EpisodeEnded | None) -> str:
        before = f"episode {aborted.episode_id} aborted; " if aborted else ""
        if self._machine.state is EpisodeState.RESETTING:
            return f"{before}resetting for episode {self._machine.episode_id + 1}"
        return f"{before}the next one starts when possible: {self._obstacle()}"

    def _on_start(self, request: StartEpisode.Request, response: StartEpisode.Response):
        if self._machine.state is EpisodeState.RUNNING:
            response.message = f"refused: episode {self._machine.episode_id} is not finished"
            return response
        response.episode_id = self._machine.episode_id + 1
        # Who got no answer asks again: the same start is not a second one.
        if self._start_asked != request.scene_seed:
            waits = self._wanted and not self.params.auto_start
            if waits or self._machine.state is EpisodeState.RESETTING:
                response.message = f"refused: another start came first; {self._started_or_waiting(None)}"
                return response
            self._wanted, self._wanted_seed = True, request.scene_seed if request.scene_seed >= 0 else None
            self._start_asked = request.scene_seed
            self._start_if_possible()
        response.success = True
        response.message = self._started_or_waiting(None)
        return response


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros episode_manager`."""
    return run_node(EpisodeManager, args)


if __name__ == "__main__":
    raise SystemExit(main())
