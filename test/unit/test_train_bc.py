"""`resfit train-bc`: from bags to a policy directory, and its success rate in simulation."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from builders import episode_messages
from serialised import write_bag
from tiny_run import tiny_config
from typer.testing import CliRunner

pytest.importorskip("mujoco", reason="the simulated robot needs mujoco")
pytest.importorskip("matplotlib", reason="the loss curve needs matplotlib")

from resfit_ros.cli import train_bc as verb  # noqa: E402
from resfit_ros.core.errors import ConfigError, DataError  # noqa: E402
from resfit_ros.core.learning_config import BCConfig  # noqa: E402
from resfit_ros.learning.bc_data import CameraSize  # noqa: E402
from resfit_ros.learning.bc_training import TrainingRecord  # noqa: E402
from resfit_ros.core.intervals import wilson_interval  # noqa: E402
from resfit_ros.policies.chunk_policy import ChunkPolicy, policy_sha256  # noqa: E402
from resfit_ros.runner.base_policy import load_policy, record_demonstrations  # noqa: E402
from resfit_ros.runner.cloning import clone_policy, policy_inputs, training_summary  # noqa: E402
from resfit_ros.runner.loss_curve import plot_losses  # noqa: E402
from resfit_ros.runner.success import measure_success  # noqa: E402

phases = pytest.importorskip("resfit_ros.phases", reason="rclpy is not installed; run 'make setup'")

PNG = b"\x89PNG"
CAMERAS = {"robot": {"camera_names": ["camera"], "image_width": 24, "image_height": 16}}
SMALL = ["width=16", "heads=2", "encoder_layers=1", "decoder_layers=1", "updates=20", "validate_every=10",
         "validation_fraction=0.2"]  # fmt: skip
app = typer.Typer()
app.command()(verb.train_bc)


def nothing(*_) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def segments():
    return record_demonstrations(tiny_config(), 0, nothing)


@pytest.fixture(scope="module")
def bags(tmp_path_factory) -> Path:
    """Ten short episodes of random values, as the simulated robot's joints and state have them."""
    directory = tmp_path_factory.mktemp("bags")
    rng = np.random.default_rng(0)
    joints, state = len(tiny_config().joint_names), tiny_config().state_dim
    for episode in range(1, 11):
        messages = episode_messages(rng, 4, episode_id=episode, state_dim=state, action_dim=joints)
        write_bag(directory, messages, episode_id=episode)
    return directory


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_when_trained_from_bags_expect_policy_losses_and_picture(bags, tmp_path):
    out = tmp_path / "policy"
    chosen = [word for text in SMALL for word in ("--set", text)]
    result = invoke("--bags", str(bags), "--out", str(out), "--kind", "act", "--seed", "3", *chosen)
    assert result.exit_code == 0, result.output
    assert "act policy in" in result.output
    assert ChunkPolicy(out).spec.config["bc"]["seed"] == 3
    training = json.loads((out / "training.json").read_text())
    assert (training["demonstrations"], len(training["validation_episodes"])) == (10, 2)
    assert training["updates"] == [10, 20]
    assert (out / "loss_curve.png").read_bytes().startswith(PNG)


def test_when_files_beside_the_weights_are_removed_expect_the_same_identity(bags, tmp_path):
    out = tmp_path / "policy"
    phases.train_base(tiny_config(), bags, out, 0, nothing)
    before = policy_sha256(out)
    (out / "training.json").unlink()
    (out / "loss_curve.png").unlink()
    assert ChunkPolicy(out).spec.identity == before


def test_when_training_is_stopped_expect_nothing_written(bags, tmp_path):
    def stop(*_) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        phases.train_base(tiny_config(), bags, tmp_path / "policy", 0, stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "updatse=3"], "unknown key 'updatse'; did you mean 'updates'?"),
        (["--kind", "diffusion"], "kind must be one of"),
        (["--kind", "act", "--set", "kind=flow"], "--kind and --set kind are the same setting"),
        (["--set", "seed=3"], "--seed and --set seed are the same setting"),
        (["--set", "state=joint_positions,pose/cup"], "state block 'pose/cup' is not in the robot's state"),
        (["--kind", "act", "--set", "use_images=true"], "the robot has no camera_names"),
        (["--evaluate", "5", "--set", "horizon=4"], "horizon 4 is shorter than execute_steps"),
    ],
)
def test_when_arguments_are_wrong_expect_the_reason_and_nothing_written(bags, tmp_path, arguments, message):
    result = invoke("--bags", str(bags), "--out", str(tmp_path / "policy"), *arguments)
    assert result.exit_code == 1, result.output
    assert message in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_when_bags_hold_no_pictures_expect_bags_episode_and_camera_named(bags, tmp_path):
    config = tiny_config(train_bc={"kind": "act", "use_images": True}, **CAMERAS)
    with pytest.raises(DataError, match=f"{bags}: episode .* pictures of 0 cameras.*'camera'"):
        phases.train_base(config, bags, tmp_path / "policy", 0, nothing)


def test_when_settings_are_given_expect_lists_split_and_the_section_replaced():
    changed = verb.with_settings(tiny_config(), "flow", ["state=joint_positions, pose/box", "updates=7"])
    bc = changed.behaviour_cloning
    assert (bc.kind, bc.state, bc.updates) == ("flow", ("joint_positions", "pose/box"), 7)


def test_when_the_policy_sees_cameras_expect_those_of_the_configuration():
    config = tiny_config(train_bc={"kind": "act", "use_images": True, "state": ["pose/box"]}, **CAMERAS)
    inputs = policy_inputs(config, config.behaviour_cloning)
    assert inputs.cameras == (CameraSize("camera", 16, 24),)
    assert (inputs.state_slices, inputs.control_hz) == (((58, 65),), 20.0)


def test_when_the_policy_does_not_see_cameras_expect_none():
    assert policy_inputs(tiny_config(**CAMERAS), BCConfig(kind="act")).cameras == ()


def test_when_success_is_measured_expect_each_episode_counted_and_the_same_again(segments, tmp_path):
    config = tiny_config(episode_manager={"max_steps": 12})
    clone_policy(config, config.behaviour_cloning, segments, tmp_path / "policy", nothing)
    policy = load_policy(config, tmp_path / "policy")
    first, second = (measure_success(config, policy, 3, seed=1) for _ in range(2))
    assert first["wilson_95"] == list(wilson_interval(first["successes"], 3))
    assert (first["episodes"], first["first_scene"]) == (3, 1_500_000)
    assert first["identity"] == policy.spec.identity
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_when_evaluated_expect_the_rate_printed_and_written(bags, tmp_path):
    out = tmp_path / "policy"
    result = invoke(
        "--bags", str(bags), "--out", str(out), "--set", "updates=5", "--set", "hidden_width=8", "--evaluate", "1"
    )
    assert result.exit_code == 0, result.output
    assert "success in simulation: 0% of 1 episodes" in " ".join(result.output.split())
    assert json.loads((out / "evaluation.json").read_text())["episodes"] == 1


def test_when_nothing_was_held_out_expect_no_validation_losses_in_the_summary(segments):
    record = TrainingRecord([1], [], [10, 20], [0.5, 0.4], [float("nan")] * 2, best_update=20, seconds=1.0)
    summary = training_summary(record, segments)
    assert (summary["validation_losses"], summary["validation_loss"], summary["loss"]) == ([], None, 0.4)
    json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize("held_out", [[], [2]])
def test_when_losses_are_plotted_expect_a_picture(tmp_path, held_out):
    record = TrainingRecord([1], held_out, [10, 20], [0.5, 0.4], [0.6, 0.7], best_update=10)
    plot_losses(record, "act", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("held_out", [0.0, 0.5])
def test_when_training_diverges_expect_the_reason_and_nothing_written(segments, tmp_path, held_out):
    wild = BCConfig(learning_rate=0.99, weight_decay=1e30, updates=20, hidden_width=8, validation_fraction=held_out)
    with pytest.raises(DataError, match="training diverged by update 20.*lower learning_rate"):
        clone_policy(tiny_config(), wild, segments, tmp_path / "policy", nothing)
    assert list(tmp_path.iterdir()) == []


def test_when_the_policy_directory_is_there_expect_refusal_before_training(segments, tmp_path):
    (tmp_path / "policy").mkdir()
    with pytest.raises(DataError, match="already exists"):
        clone_policy(tiny_config(), BCConfig(), segments, tmp_path / "policy", nothing)


def test_when_a_state_block_is_unknown_expect_the_known_ones_named():
    with pytest.raises(ConfigError, match="'pose/cup' is not in the robot's state .*joint_velocities"):
        policy_inputs(tiny_config(), BCConfig(state=("pose/cup",)))
