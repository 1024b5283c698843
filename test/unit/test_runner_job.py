"""What a job's directory may hold before it is run."""

import json
from pathlib import Path

import pytest
from tiny_run import shipped_config, tiny_config

pytest.importorskip("mujoco", reason="the simulated robot needs mujoco")

from resfit_ros.bringup import config_sha256  # noqa: E402
from resfit_ros.core.errors import ConfigError, DataError  # noqa: E402
from resfit_ros.core.whole_file import write_json  # noqa: E402
from resfit_ros.runner.job import JOB, RESULT, Job, finished_result  # noqa: E402
from resfit_ros.runner.sim_train import check_job  # noqa: E402


def job(out: Path, **changes) -> Job:
    return Job(**({"name": "plain", "seed": 0, "out_dir": out, "overrides": {"utd": 1.0}} | changes))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The directory of a finished job whose base policy was removed."""
    write_json(tmp_path / JOB, job(tmp_path).identity(shipped_config()))
    write_json(tmp_path / RESULT, {"base_policy_sha256": "abc", "evaluations": [1]})
    return tmp_path


def test_when_a_job_is_done_expect_its_result(finished):
    assert finished_result(job(finished), shipped_config())["evaluations"] == [1]


def test_when_a_setting_is_given_as_another_kind_of_number_expect_the_same_job(finished):
    assert finished_result(job(finished, overrides={"utd": 1}), shipped_config()) is not None


def test_when_only_the_name_differs_expect_the_same_job(finished):
    assert finished_result(job(finished, name="other"), shipped_config()) is not None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "seed 0 is there, now asked for: 1"),
        ({"overrides": {"utd": 2.0}}, "overrides .* is there"),
        ({"demonstrations": False}, "demonstrations True is there, now asked for: False"),
        ({"eval_every": 10}, "eval_every 2500"),
        ({"eval_episodes": 10}, "eval_episodes 50"),
    ],
)
def test_when_the_directory_holds_another_job_expect_what_differs_named(finished, changes, words):
    with pytest.raises(ConfigError, match=words):
        finished_result(job(finished, **changes), shipped_config())


def test_when_the_configuration_differs_expect_refusal(finished):
    with pytest.raises(ConfigError, match="config_sha256"):
        finished_result(job(finished), tiny_config())


def test_when_a_job_was_stopped_expect_it_to_be_run_anew(finished):
    (finished / RESULT).unlink()
    assert finished_result(job(finished), shipped_config()) is None


def test_when_there_is_only_a_base_policy_expect_the_job_to_be_run(tmp_path):
    (tmp_path / "base_policy").mkdir()
    assert finished_result(job(tmp_path), shipped_config()) is None


def test_when_the_directory_holds_something_else_expect_it_named_and_kept(tmp_path):
    (tmp_path / "thesis.tex").write_text("keep me")
    with pytest.raises(ConfigError, match=r"holds 'thesis\.tex'"):
        finished_result(job(tmp_path), shipped_config())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_when_a_result_is_damaged_expect_the_file_named(finished, text):
    (finished / RESULT).write_text(text)
    with pytest.raises(DataError, match=r"result\.json: damaged"):
        finished_result(job(finished), shipped_config())


def test_when_comments_and_order_differ_expect_the_same_configuration():
    config = shipped_config()
    turned = shipped_config()
    object.__setattr__(turned, "sections", dict(reversed(list(config.sections.items()))))
    assert config_sha256(turned) == config_sha256(config)
    assert config_sha256(tiny_config()) != config_sha256(config)


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("eval_every", 0), ("eval_episodes", 0)])
def test_when_a_number_is_out_of_range_expect_it_named(tmp_path, name, value):
    with pytest.raises(ConfigError, match=f"{name} must be at least"):
        job(tmp_path, **{name: value})


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"residual_scal": 0.1}, "did you mean 'residual_scale'"),
        ({"total_steps": 10}, "total_steps 10 must be above warmup_steps"),
        ({"use_images": True}, "no camera_names"),
    ],
)
def test_when_settings_cannot_work_expect_refusal_and_nothing_written(tmp_path, overrides, words):
    with pytest.raises(ConfigError, match=words):
        check_job(job(tmp_path / "out", overrides=overrides), shipped_config())
    assert list(tmp_path.iterdir()) == []


def test_when_a_given_base_policy_is_damaged_expect_refusal_and_nothing_written(tmp_path):
    policy = tmp_path / "policy"
    policy.mkdir()
    with pytest.raises(DataError, match="policy"):
        check_job(job(tmp_path / "out", base_policy=policy), shipped_config())
    assert not (tmp_path / "out").exists()


def test_when_json_is_written_expect_no_partial_file_left(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
