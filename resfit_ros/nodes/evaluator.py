"""Runs the arms of an evaluation interleaved, in random order, on the same initial scenes where it can."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.client import Client
from rclpy.task import Future
from std_srvs.srv import SetBool

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.parameters import EvaluatorParameters
from resfit_ros.core.types import EpisodeEnded, EpisodeStarted, Outcome
from resfit_ros.learning.blind_record import BlindRecord, is_unfinished, lock, random_seed
from resfit_ros.learning.evaluation import UNSEEDED, Result, Trial, schedule
from resfit_ros.learning.evaluation_result import why_over, write_result
from resfit_ros.msg import Action, ActionChunk, Episode
from resfit_ros.ros.convert import episode_from_msg
from resfit_ros.ros.node import OK, OPEN_BAGS, WARN, ResfitNode, run_node
from resfit_ros.ros.qos import STEPS
from resfit_ros.srv import StartEpisode

POLL_S = 0.2
# At the end the recorder closes the last bag, which the report reads: so long until it says whether one is
# open, and until it would have given up.
CLOSING_S, LONGEST_CLOSING_S = 1.5, 7.0
# A reply can be lost, e.g. while nodes still find each other; the evaluation must not wait for ever.
ANSWER_TIMEOUT_S = 3.0

Acts = dict[int, tuple[int, int, bool]]  # step: mode, version, tainted


@dataclass
class _Running:
    trial: Trial
    episode_id: int


def plan_of(p: EvaluatorParameters) -> dict[str, Any]:
    """The settings that a resumed evaluation must share, as plain JSON."""
    return {
        "arms": list(p.arms),
        "episodes": p.episodes,
        "scene_seed": p.scene_seed,
        "seed": p.seed,
        "matched": p.matched,
        "sequential": p.sequential,
        "alpha": p.alpha,
        "min_difference": p.min_difference,
        "setup": json.loads(p.setup or "{}"),
    }


class Evaluator(ResfitNode[EvaluatorParameters]):
    """Blind: nothing it says or writes while it runs tells which arm an episode belongs to.

    Every finished episode is on the disk before the next one begins; an evaluation that was interrupted
    goes on where it was.
    """

    def __init__(self) -> None:
        super().__init__("evaluator")
        p = self.params
        self._result_path = Path(p.result_path)
        if not self._result_path.parent.is_dir():
            raise ConfigError(f"result_path {p.result_path}: its directory does not exist; make it first")
        self._lock = lock(self._result_path)  # until the process ends
        self._record = self._open_record()
        self._question: Future | None = None  # a request is under way
        self._wanted: Trial | None = None  # an episode of it was asked for
        self._running: _Running | None = None
        self._acts: dict[int, Acts] = {}  # by episode: actions may overtake what says that it began
        self._started = (0, 0)  # (episode id, stamp [ns]) of the newest that began
        self._over = False
        self._policy_sha256 = ""  # of the base policy whose chunks are used
        self._open_bags: int | None = None  # what the recorder said last; None: there is none
        self._choose = self.create_client(SetBool, "residual/choose")
        self._start = self.create_client(StartEpisode, "start_episode")
        self.hear_episodes(self._on_episode)
        self.hear(Action, "action", self._on_action, STEPS)
        self.create_subscription(ActionChunk, "action_chunk", self._on_chunk, STEPS)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self.every(POLL_S, self._advance)
        self.report(OK, "waiting for the first episode")

    def _open_record(self) -> BlindRecord:
        p, plan = self.params, plan_of(self.params)
        if is_unfinished(self._result_path):
            record = BlindRecord.resume(self._result_path)
            record.require_plan(plan)
        else:
            seed = random_seed() if p.seed < 0 else p.seed
            trials = schedule(p.arms, p.episodes, p.scene_seed, seed, p.matched)
            record = BlindRecord.begin(self._result_path, plan, trials)
        done = f"{record.next_position} of at most {len(record.trials)} episodes are done"
        self.get_logger().info(f"{done}; SHA-256 of the order of the arms: {record.commitment}")
        return record

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        done, most = self._record.next_position, len(self._record.trials)
        return {"episodes done": done, "episodes at most": most, "blind": len(self.params.arms) > 1}

    def _advance(self) -> None:
        if self._over:
            self._finish()
        elif self._running is None and not self._is_asking():
            self._begin_trial()

    def _begin_trial(self) -> None:
        why = why_over(self._record)
        if why:
            self._end(why)
            return
        chooses = len(self.params.arms) > 1
        if not self._start.service_is_ready() or (chooses and not self._choose.service_is_ready()):
            return
        trial = self._record.trials[self._record.next_position]
        if not chooses:
            self._request_start(trial)
            return
        request = SetBool.Request(data=self.params.arms.index(trial.arm) == 1)
        self._ask(self._choose, request, lambda answer: self._on_chosen(trial, answer))

    def _ask(self, client: Client, request, on_answer: Callable[[Any], None]) -> None:
        """One question at a time; it may be asked again, so asking twice must do what asking once does."""
        question = client.call_async(request)
        self._question, self._asked_client, self._asked_ns = question, client, self.now_ns()

        def answered(future: Future) -> None:
            if future is self._question:
                self._question = None
                on_answer(future.result())

        question.add_done_callback(answered)

    def _is_asking(self) -> bool:
        """Whether an answer may still come."""
        if self._question is None:
            return False
        if (self.now_ns() - self._asked_ns) * 1e-9 < ANSWER_TIMEOUT_S:
            return True
        client, question, self._question = self._asked_client, self._question, None
        client.remove_pending_request(question)
        self.report(WARN, f"{client.srv_name}: no answer in {ANSWER_TIMEOUT_S:g} s; it is asked again")
        return False

    def _on_chosen(self, trial: Trial, answer: SetBool.Response) -> None:
        if answer.success:
            self._request_start(trial)
        else:
            self.report(WARN, f"the next episode cannot begin: {answer.message}")

    def _request_start(self, trial: Trial) -> None:
        self._wanted = trial
        request = StartEpisode.Request(scene_seed=trial.scene_seed)
        self._ask(self._start, request, lambda answer: self._on_started(trial, answer))

    def _on_started(self, trial: Trial, answer: StartEpisode.Response) -> None:
        if answer.success:
            self._run(trial, answer.episode_id)
        else:
            self.report(WARN, answer.message)

    def _run(self, trial: Trial, episode_id: int) -> None:
        self._running, self._wanted, self._question = _Running(trial, episode_id), None, None
        done, most = self._record.next_position, len(self._record.trials)
        self.report(OK, f"episode {episode_id}: {done + 1} of at most {most}")

    def _on_action(self, message: Action) -> None:
        if self.trusts(message, "residual"):
            acts = self._acts.setdefault(message.episode_id, {})
            acts[message.step] = (message.mode, message.actor_version, message.tainted)

    def _on_chunk(self, message: ActionChunk) -> None:
        self._policy_sha256 = message.policy_sha256

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        recorder = f"{self.get_namespace().rstrip('/')}/recorder"
        for status in message.status:
            if status.name == recorder:
                self._open_bags = next((int(v.value) for v in status.values if v.key == OPEN_BAGS), 0)

    def _on_episode(self, message: Episode) -> None:
        event = episode_from_msg(message)
        if isinstance(event, EpisodeStarted):
            self._on_began(event)
            return
        running = self._running
        if running is not None and event.episode_id == running.episode_id:
            self._running = None
            self._keep(running, event)
            self._advance()

    def _on_began(self, event: EpisodeStarted) -> None:
        """May overtake the answer of the service, which may even be lost."""
        self._started = event.episode_id, event.stamp_ns
        self._acts = {i: acts for i, acts in self._acts.items() if i >= event.episode_id}
        trial = self._wanted
        if self._running is None and trial is not None and trial.scene_seed in (UNSEEDED, event.scene_seed):
            self._run(trial, event.episode_id)

    def _keep(self, running: _Running, event: EpisodeEnded) -> None:
        modes = [act for step, act in self._acts.get(event.episode_id, {}).items() if step < event.steps]
        self._acts = {i: acts for i, acts in self._acts.items() if i > event.episode_id}
        begun = self._started[1] if self._started[0] == event.episode_id else event.stamp_ns
        result = Result(
            trial=running.trial,
            episode_id=event.episode_id,
            outcome=event.outcome,
            steps=event.steps,
            interventions=sum(mode == Action.MODE_INTERVENTION for mode, *_ in modes),
            as_planned=all(self._is_of(running.trial.arm, *mode) for mode in modes),
            seconds=round(max(0.0, (event.stamp_ns - begun) * 1e-9), 3),
            labelled_by=event.labelled_by,
        )
        self._record.add(result)
        if event.outcome is Outcome.ABORTED:
            self.report(WARN, f"episode {event.episode_id} was aborted; it is run again")

    def _is_of(self, arm: str, mode: int, version: int, tainted: bool) -> bool:
        """Whether the arm, or a human, decided the action; what a fault touched is the arm's own doing."""
        if mode == Action.MODE_INTERVENTION or tainted:
            return True
        if arm == "base":
            return mode == Action.MODE_BASE
        return mode == Action.MODE_RESIDUAL and version == self.params.arms.index(arm) + 1

    def _end(self, why: str) -> None:
        write_result(self._record, self._result_path, why, self._policy_sha256)
        self._over, self._over_ns = True, self.now_ns()
        self.report(OK, "the evaluation is over")

    def _finish(self) -> None:
        over_s = (self.now_ns() - self._over_ns) * 1e-9
        if self._open_bags is not None and over_s < (LONGEST_CLOSING_S if self._open_bags else CLOSING_S):
            return
        if self.params.report:
            from resfit_ros.reporting.evaluation_report import write_report

            page = write_report(self._result_path)
            self.get_logger().info(f"report: {page}")
        rclpy.shutdown()


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros evaluator`."""
    return run_node(Evaluator, args)


if __name__ == "__main__":
    raise SystemExit(main())
