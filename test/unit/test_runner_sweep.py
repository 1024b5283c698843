"""Training in parallel processes, small enough for a test: results, failures, resumption, Ctrl-C."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from tiny_run import tiny_config

pytest.importorskip("mujoco", reason="the simulated robot needs mujoco")

from resfit_ros.core.errors import ConfigError  # noqa: E402
from resfit_ros.learning.checkpoint import load_run_actor  # noqa: E402
from resfit_ros.policies.chunk_policy import load_normaliser, policy_sha256  # noqa: E402
from resfit_ros.runner.base_policy import load_policy, record_demonstrations  # noqa: E402
from resfit_ros.runner.job import JOB, RESULT, Job  # noqa: E402
from resfit_ros.runner.settings import learner_parameters  # noqa: E402
from resfit_ros.runner.sim_train import train_seed  # noqa: E402
from resfit_ros.runner.sweep import JobsFailed, run_jobs  # noqa: E402
from resfit_ros.runner.training import SimTraining  # noqa: E402

WALL_TIMES = ("wall_s", "total_wall_s", "updates_per_s")


def job(out: Path, seed: int, **changes) -> Job:
    values = {"name": "tiny", "seed": seed, "out_dir": out, "eval_every": 70, "eval_episodes": 2}
    return Job(**(values | changes))


def without_wall_times(value):
    if isinstance(value, dict):
        return {k: without_wall_times(v) for k, v in value.items() if k not in WALL_TIMES}
    return [without_wall_times(v) for v in value] if isinstance(value, list) else value


def not_run(job: Job, *_) -> None:
    pytest.fail(f"seed {job.seed} was run again")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """(folder, error of a sweep of seeds 0 and 1 and of a job that cannot write)."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "file").write_text("in the way")
    jobs = [job(folder / "0", 0), job(folder / "file" / "1", 5, name="blocked"), job(folder / "1", 1)]
    with pytest.raises(JobsFailed) as caught:
        run_jobs(jobs, tiny_config(), parallel=2)
    return folder, caught.value


def test_when_a_job_fails_expect_its_seed_and_reason_named_and_the_others_results(sweep):
    folder, error = sweep
    assert [r["seed"] for r in error.results] == [0, 1]
    assert "blocked, seed 5: " in str(error)
    assert "Not a directory" in str(error)
    assert json.loads((folder / "1" / RESULT).read_text()) == error.results[1]


def test_when_training_ends_expect_an_evaluation_at_the_start_between_and_at_the_end(sweep):
    _, error = sweep
    evaluations = error.results[0]["evaluations"]
    steps = [e["env_steps"] for e in evaluations]
    assert (steps[0], evaluations[0]["critic_updates"]) == (0, 0)
    assert steps == sorted(set(steps))
    assert 70 <= steps[1] < 150 <= steps[-1]
    assert evaluations[-1]["critic_updates"] == 5 + int(0.5 * (150 - 60))
    assert all(e["episodes"] == 2 and 0 <= e["successes"] <= 2 for e in evaluations)


def test_when_training_ends_expect_a_log_and_a_checkpoint_that_fits_the_base_policy(sweep):
    folder, error = sweep
    out, last = folder / "0", error.results[0]["evaluations"][-1]
    normaliser = load_normaliser(out / "base_policy")
    loaded = load_run_actor(out / "checkpoints", normaliser)
    assert loaded.path.name == f"step-{last['env_steps']:08d}-{last['critic_updates']:08d}"
    lines = [json.loads(line) for line in (out / "learning.jsonl").read_text().splitlines()]
    assert (lines[-1]["env_steps"], lines[-1]["owed_updates"]) == (last["env_steps"], 0)
    assert [line["episodes"] for line in lines] == list(range(1, len(lines) + 1))


def test_when_a_seed_is_trained_again_expect_the_same_result_but_for_wall_times(sweep, tmp_path):
    folder, error = sweep
    again = train_seed(job(tmp_path / "again", 0), tiny_config())
    assert without_wall_times(again) == without_wall_times(error.results[0])
    first, second = (
        [json.loads(line) for line in (out / "learning.jsonl").read_text().splitlines()]
        for out in (folder / "0", tmp_path / "again")
    )
    np.testing.assert_equal(without_wall_times(first), without_wall_times(second))


def test_when_a_sweep_is_done_expect_its_results_read_and_nothing_run(sweep):
    folder, error = sweep
    jobs = [job(folder / "1", 1), job(folder / "0", 0)]
    results = run_jobs(jobs, tiny_config(), 2, not_run)
    assert results == [error.results[1], error.results[0]]


def test_when_another_base_policy_lies_there_expect_the_old_result_refused(sweep):
    folder, _ = sweep
    other = job(folder / "0", 0, base_policy=folder / "1" / "base_policy")
    with pytest.raises(ConfigError, match="its result is of base policy"):
        run_jobs([other], tiny_config(), 1, not_run)


def test_when_two_jobs_share_a_directory_expect_refusal_before_anything_is_written(tmp_path):
    jobs = [job(tmp_path / "a", 0), job(tmp_path / "b" / ".." / "a", 1), job(tmp_path / "a", 2)]
    with pytest.raises(ConfigError, match="two jobs would write there"):
        run_jobs(jobs, tiny_config(), 1)
    assert list(tmp_path.iterdir()) == []


def test_when_one_job_is_wrong_expect_no_other_started(tmp_path):
    wrong = job(tmp_path / "b", 1, overrides={"utdd": 1})
    with pytest.raises(ConfigError, match="did you mean 'utd'"):
        run_jobs([job(tmp_path / "a", 0), wrong], tiny_config(), 2, not_run)
    assert list(tmp_path.iterdir()) == []


def test_when_a_process_is_killed_expect_the_signal_named(tmp_path):
    def kill(*_) -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(JobsFailed, match="tiny, seed 3: its process was ended by SIGKILL"):
        run_jobs([job(tmp_path / "a", 3)], tiny_config(), 1, kill)
    assert (tmp_path / "a" / JOB).exists()
    assert not (tmp_path / "a" / RESULT).exists()


def test_when_the_sweep_is_interrupted_expect_its_processes_ended(tmp_path):
    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs([job(tmp_path / "a", 3)], tiny_config(), 1, interrupt)
    assert multiprocessing.active_children() == []


def test_when_a_base_policy_is_shared_expect_it_used_as_it_is_and_no_other_trained(sweep, tmp_path):
    folder, _ = sweep
    shared = folder / "0" / "base_policy"
    before = policy_sha256(shared)
    only = job(tmp_path / "bare", 0, base_policy=shared, demonstrations=False, eval_episodes=1)
    result = train_seed(only, tiny_config())
    assert (result["base_policy_sha256"], result["demonstration_steps"]) == (before, 0)
    assert policy_sha256(shared) == before
    assert not (tmp_path / "bare" / "base_policy").exists()


def test_when_an_unfinished_job_is_run_expect_its_base_policy_kept_and_a_fresh_log(sweep, tmp_path):
    folder, error = sweep
    out = tmp_path / "stopped"
    first = job(out, 0)
    (out / "base_policy").mkdir(parents=True)
    for file in (folder / "0" / "base_policy").iterdir():
        (out / "base_policy" / file.name).write_bytes(file.read_bytes())
    (out / JOB).write_text(json.dumps(first.identity(tiny_config())))
    (out / "learning.jsonl").write_text('{"env_steps": 999}\n')
    result = train_seed(first, tiny_config())
    assert without_wall_times(result) == without_wall_times(error.results[0])
    first_line = (out / "learning.jsonl").read_text().splitlines()[0]
    assert json.loads(first_line)["episodes"] == 1


def test_when_demonstrations_are_recorded_expect_as_many_successes_as_configured():
    said = []
    config = tiny_config(train_bc={"demonstrations": 2})
    segments = record_demonstrations(config, 0, lambda *values: said.append(values))
    assert [s.terminal for s in segments] == [True, True]
    assert said[-1][:2] == (2, 2)
    assert len(said) == segments[-1].episode_id  # failures are skipped, but counted


@pytest.fixture
def training(sweep):
    """A training that has just begun."""
    folder, _ = sweep
    config, directory = tiny_config(), folder / "0" / "base_policy"
    learner = learner_parameters(config, 0, {})
    return SimTraining(config, load_policy(config, directory), directory, learner)


def test_when_training_runs_expect_the_scenes_and_episode_ids_of_the_graph(training):
    ends = [training.collect().end for _ in range(2)]
    assert [(e.episode_id, e.scene_seed) for e in ends] == [(1, 100_001), (2, 100_002)]


def test_when_an_evaluation_comes_between_expect_training_unchanged(training, sweep):
    folder, _ = sweep
    training.collect()
    training.evaluate(1)
    (with_evaluation,) = training.collect().segments
    config, directory = tiny_config(), folder / "0" / "base_policy"
    learner = learner_parameters(config, 0, {})
    other = SimTraining(config, load_policy(config, directory), directory, learner)
    other.collect()
    (without,) = other.collect().segments
    np.testing.assert_array_equal(with_evaluation.actions, without.actions)
