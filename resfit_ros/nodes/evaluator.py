"""Runs the arms of an evaluation interleaved, in random order, on the same initial scenes where it can."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from std_srvs.srv import SetBool

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.parameters import EvaluatorParameters
from resfit_ros.core.types import EpisodeEnded, EpisodeStarted, Outcome
from resfit_ros.learning.blind_record import BlindRecord, is_unfinished, lock, random_seed
from resfit_ros.learning.evaluation import Result, Trial, schedule
from resfit_ros.learning.evaluation_result import why_over, write_result
from resfit_ros.msg import Action, ActionChunk, Episode
from resfit_ros.ros.convert import episode_from_msg
from resfit_ros.ros.node import OK, WARN, ResfitNode, run_node
from resfit_ros.ros.qos import STEPS
from resfit_ros.srv import StartEpisode

POLL_S = 0.2
CLOSING_S = 2.0  # the recorder closes the last bag before the report reads it


@dataclass
class _Running:
    trial: Trial
    episode_id: int
    modes: dict[int, tuple[int, int, bool]] = field(default_factory=dict)  # step: mode, version, tainted


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
        self._busy = False  # a request is under way
        self._running: _Running | None = None
        self._started = (0, 0)  # (episode id, stamp [ns]) of the newest that began
        self._over = False
        self._policy_sha256 = ""  # of the base policy whose chunks are used
        self._choose = self.create_client(SetBool, "residual/choose")
        self._start = self.create_client(StartEpisode, "start_episode")
        self.hear_episodes(self._on_episode)
        self.hear(Action, "action", self._on_action, STEPS)
        self.create_subscription(ActionChunk, "action_chunk", self._on_chunk, STEPS)
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
        elif not self._busy and self._running is None:
            self._begin_trial()

    def _begin_trial(self) -> None:
        why = why_over(self._record)
        if why:
            self._end(why)
            return
        chooses = len(self.params.arms) > 1
        if not self._start.service_is_ready() or (chooses and not self._choose.service_is_ready()):
            return
        self._busy = True
        trial = self._record.trials[self._record.next_position]
        if not chooses:
            self._request_start(trial)
            return
        request = SetBool.Request(data=self.params.arms.index(trial.arm) == 1)
        self._choose.call_async(request).add_done_callback(lambda f: self._on_chosen(trial, f.result()))

    def _on_chosen(self, trial: Trial, answer: SetBool.Response) -> None:
        if answer.success:
            self._request_start(trial)
            return
        self._busy = False
        self.report(WARN, f"the next episode cannot begin: {answer.message}")

    def _request_start(self, trial: Trial) -> None:
        request = StartEpisode.Request(scene_seed=trial.scene_seed)
        self._start.call_async(request).add_done_callback(lambda f: self._on_started(trial, f.result()))

    def _on_started(self, trial: Trial, answer: StartEpisode.Response) -> None:
        self._busy = False
        if not answer.success:
            self.report(WARN, answer.message)
            return
        self._running = _Running(trial, answer.episode_id)
        self.report(OK, f"episode {answer.episode_id}: {self._record.next_position + 1} of at most "
                        f"{len(self._record.trials)}")  # fmt: skip

    def _on_action(self, message: Action) -> None:
        running = self._running
        if running is not None and message.episode_id == running.episode_id:
            running.modes[message.step] = (message.mode, message.actor_version, message.tainted)

    def _on_chunk(self, message: ActionChunk) -> None:
        self._policy_sha256 = message.policy_sha256

    def _on_episode(self, message: Episode) -> None:
        event = episode_from_msg(message)
        running = self._running
        if isinstance(event, EpisodeStarted):  # may overtake the answer of the service
            self._started = event.episode_id, event.stamp_ns
        elif (
            isinstance(event, EpisodeEnded) and running is not None and event.episode_id == running.episode_id
        ):
            self._running = None
            self._keep(running, event)
            self._advance()

    def _keep(self, running: _Running, event: EpisodeEnded) -> None:
        modes = [mode for step, mode in running.modes.items() if step < event.steps]
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
        if self.params.report:
            if (self.now_ns() - self._over_ns) * 1e-9 < CLOSING_S:
                return
            from resfit_ros.reporting.evaluation_report import write_report

            page = write_report(self._result_path)
            self.get_logger().info(f"report: {page}")
        rclpy.shutdown()


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros evaluator`."""
    return run_node(Evaluator, args)


if __name__ == "__main__":
    raise SystemExit(main())
