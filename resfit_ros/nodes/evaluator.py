"""Runs the arms of an evaluation interleaved, in random order, on the same initial scenes."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import rclpy
from std_srvs.srv import SetBool

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.parameters import EvaluatorParameters
from resfit_ros.core.types import EpisodeEnded, Outcome
from resfit_ros.learning.evaluation import Result, Trial, schedule, summarise
from resfit_ros.msg import Episode
from resfit_ros.ros.convert import episode_from_msg
from resfit_ros.ros.node import OK, WARN, ResfitNode, run_node
from resfit_ros.srv import StartEpisode

POLL_S = 0.2


@dataclass
class _Running:
    trial: Trial
    episode_id: int


class Evaluator(ResfitNode[EvaluatorParameters]):
    """Blind: neither the episode messages nor the labeller see which arm an episode belongs to."""

    def __init__(self) -> None:
        super().__init__("evaluator")
        p = self.params
        if not Path(p.result_path).parent.is_dir():
            raise ConfigError(f"result_path {p.result_path}: its directory does not exist; make it first")
        self._trials = schedule(p.arms, p.episodes, p.scene_seed, p.seed)
        self._results: list[Result] = []
        self._next = 0
        self._busy = False  # a request is under way
        self._running: _Running | None = None
        self._enable = self.create_client(SetBool, "enable_residual")
        self._start = self.create_client(StartEpisode, "start_episode")
        self.hear_episodes(self._on_episode)
        self.every(POLL_S, self._advance)
        self.report(OK, f"{len(self._trials)} episodes to run")

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        return {"episodes done": len(self._results), "episodes in all": len(self._trials)}

    def _advance(self) -> None:
        if self._busy or self._running is not None or self._next >= len(self._trials):
            return
        if not (self._enable.service_is_ready() and self._start.service_is_ready()):
            return
        self._busy = True
        trial = self._trials[self._next]
        request = SetBool.Request(data=trial.arm != "base")
        self._enable.call_async(request).add_done_callback(lambda f: self._on_enabled(trial, f.result()))

    def _on_enabled(self, trial: Trial, answer: SetBool.Response) -> None:
        if not answer.success:
            self._busy = False
            self.report(WARN, f"arm '{trial.arm}': {answer.message}")
            return
        request = StartEpisode.Request(scene_seed=trial.scene_seed)
        self._start.call_async(request).add_done_callback(lambda f: self._on_started(trial, f.result()))

    def _on_started(self, trial: Trial, answer: StartEpisode.Response) -> None:
        self._busy = False
        if not answer.success:
            self.report(WARN, answer.message)
            return
        self._running = _Running(trial, answer.episode_id)

    def _on_episode(self, message: Episode) -> None:
        event = episode_from_msg(message)
        running = self._running
        if not isinstance(event, EpisodeEnded) or running is None:
            return
        if event.episode_id != running.episode_id:
            return
        self._running = None
        if event.outcome is Outcome.ABORTED:
            self.report(WARN, f"episode {event.episode_id} was aborted; it is run again")
        else:
            self._results.append(
                Result(running.trial, event.episode_id, event.outcome, event.steps)
            )
            self._next += 1
        if self._next == len(self._trials):
            self._write()
            rclpy.shutdown()
        else:
            self._advance()

    def _write(self) -> None:
        p = self.params
        result = summarise(p.arms, self._results) | {"seed": p.seed, "first_scene": p.scene_seed}
        path = Path(p.result_path)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(json.dumps(result, indent=1) + "\n")
        os.replace(partial, path)


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros evaluator`."""
    return run_node(Evaluator, args)


if __name__ == "__main__":
    raise SystemExit(main())
