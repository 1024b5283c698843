"""Row 18 through the graph: the learner is killed while it writes a checkpoint, and started again."""

import signal
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed; run 'make setup'")

from soak import count  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from resfit_ros import graphs  # noqa: E402
from resfit_ros.core.run_layout import CHECKPOINTS, FINETUNE_BAGS  # noqa: E402
from resfit_ros.data.bag_directory import bag_ids  # noqa: E402
from resfit_ros.learning.checkpoint import checkpoints  # noqa: E402
from resfit_ros.msg import Episode  # noqa: E402
from resfit_ros.supervise import Supervisor  # noqa: E402

TINY = {
    "total_steps": 100_000,
    "warmup_steps": 60,
    "critic_only_updates": 20,
    "critic_ensemble": 2,
    "hidden_width": 32,
    "batch_size": 32,
    "utd": 1.0,
    "publish_every": 5,
    "actor_delay": 2,
}
EVERY_S = 1.0


def ends(probe) -> list[Episode]:
    """Ends of episodes that are learned from."""
    ended = [e for e in probe.seen["episode"] if e.event == Episode.EVENT_ENDED]
    return [e for e in ended if e.outcome != Episode.OUTCOME_ABORTED]


def is_running(probe) -> bool:
    """Whether an episode is."""
    return bool(probe.seen["episode"]) and probe.seen["episode"][-1].event == Episode.EVENT_STARTED


def kill_while_saving(probe, kill, directory: Path) -> bool:
    """Asks for a checkpoint and kills the learner while it is written; whether it was."""
    client = probe.node.create_client(Trigger, "learner/save")
    probe.wait(client.service_is_ready, 30.0)
    for _ in range(20):
        client.call_async(Trigger.Request())
        for _ in range(2000):
            if any(directory.glob(".step-*.partial")):
                kill()
                return any(directory.glob(".step-*.partial"))
        probe.spin(0.05)
    kill()
    return False


def test_when_the_learner_is_killed_while_saving_expect_it_to_go_on_and_no_episode_lost(
    start, config, policy_dir, tmp_path, measured
):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    learner = TINY | {"checkpoint_every_s": EVERY_S}
    specs = graphs.finetune_graph(config, run_dir, policy_dir, None, seed=0, learner=learner)
    next(s for s in specs if s.name == "episode_manager").parameters["max_steps"] = 300  # for a kill in mid-episode
    only = [s for s in specs if s.name == "learner"]
    probe = start([s for s in specs if s.name != "learner"], whole=False)
    status, directory = probe.seen["learner_status"], run_dir / CHECKPOINTS
    worst_lost = writing = running = done = saved_before = 0
    kills = count(20, 1)
    for number in range(kills + 1):
        status.clear()
        with Supervisor(only, tmp_path / "config", tmp_path / "logs" / str(number)) as supervisor:
            probe.wait(lambda: status, 60.0)
            if number:
                # What it knew at first is the newest checkpoint, and every finished episode of the run.
                assert status[0].gradient_updates >= saved_before
                worst_lost = max(worst_lost, done - saved_before)
            goal = len(ends(probe)) + 1
            probe.wait(lambda n=goal: len(ends(probe)) >= n, 90.0)
            probe.wait(lambda: status[-1].last_episode_id == ends(probe)[-1].episode_id, 30.0)
            learnt = status[-1]
            assert learnt.env_steps == sum(e.steps for e in ends(probe))
            assert (learnt.episodes, learnt.steps_lost) == (len(ends(probe)), 0)
            if number == kills:
                break
            probe.wait(lambda: is_running(probe), 30.0)
            kill = partial(supervisor.send_signal, "learner", signal.SIGKILL)
            writing += kill_while_saving(probe, kill, directory)
            done = status[-1].gradient_updates
            saved_before = int(checkpoints(directory)[0].name.split("-")[-1])
            # The episode that runs goes on to its end without a learner, each step once.
            probe.spin(0.1)
            running += is_running(probe)
            probe.wait(lambda: not is_running(probe), 30.0)
            end = ends(probe)[-1]
            probe.wait(lambda e=end: len(probe.of_episode("action", e.episode_id)) > e.steps, 10.0)
            assert [a.step for a in probe.of_episode("action", end.episode_id)] == list(range(end.steps + 1))
    assert bag_ids(run_dir / FINETUNE_BAGS)[: len(ends(probe))] == [e.episode_id for e in ends(probe)]
    measured(
        18,
        f"through the graph: {kills} kills, {writing} while a checkpoint was being written, {running} while an episode "
        f"ran, which went on to its end without a gap; {len(ends(probe))} episodes, "
        f"{learnt.env_steps} steps, all of them learned from; at most {worst_lost} updates lost "
        f"(checkpoint every {EVERY_S:g} s)",
    )
