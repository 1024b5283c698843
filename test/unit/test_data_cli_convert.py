"""`resfit data convert`: which format, which options, and that nothing is left half written."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from raw_bag_builder import commands, joints, of_std, write_bag
from resfit_ros.cli import conversion
from resfit_ros.cli.conversion_options import FLAGS, kind_of, read_joint_map, read_options
from resfit_ros.cli.data import data_app
from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_about import BagAbout, read_about
from resfit_ros.data.bag_table import bag_directories
from resfit_ros.data.episode_data import EpisodeData, read_episode, write_episode
from resfit_ros.data.formats.options import ImportOptions
from resfit_ros.data.raw_options import RawOptions

runner = CliRunner()
NONE_GIVEN = dict.fromkeys(FLAGS)


def episode(steps=4) -> EpisodeData:
    rng = np.random.default_rng(steps)
    return EpisodeData(
        states=rng.normal(size=(steps + 1, 3)).astype(np.float32),
        bases=rng.normal(size=(steps + 1, 2)).astype(np.float32),
        actions=rng.normal(size=(steps, 2)).astype(np.float32),
        stamps_ns=10**18 + np.arange(steps + 1) * 50_000_000,
        outcome=Outcome.FAILURE,
    )


@pytest.fixture
def bags(tmp_path) -> Path:
    about = BagAbout(joint_names=("a", "b"), control_hz=20.0)
    for number, steps in enumerate((4, 7), 3):
        write_episode(tmp_path / "bags", number, episode(steps), about)
    return tmp_path / "bags"


def run(*arguments: object, status: int = 0) -> str:
    result = runner.invoke(data_app, ["convert", *map(str, arguments)])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def options(bags, kind="auto", to="bags", config=None, settings=(), **given):
    return read_options(kind, to, bags, config, NONE_GIVEN | given, settings)


# -- what was asked for ---------------------------------------------------------------------------


def test_when_the_source_is_ours_or_another_recorders_expect_that_told(bags, tmp_path):
    assert kind_of(bags) == "bags"
    assert kind_of(bags / "episode_000003") == "bags"
    assert kind_of(bags / "episode_000003" / "episode_000003.mcap") == "raw"
    raw = tmp_path / "raw" / "drive"
    raw.mkdir(parents=True)
    (raw / "metadata.yaml").write_text(
        "rosbag2_bagfile_information:\n  duration: {nanoseconds: 1}\n  topics_with_message_count: []\n"
    )
    assert kind_of(raw) == kind_of(raw.parent) == "raw"


def test_when_the_source_is_of_no_known_kind_expect_what_was_looked_for(tmp_path):
    (tmp_path / "data.csv").touch()
    with pytest.raises(DataError, match="lerobot"):
        kind_of(tmp_path)


def test_when_options_are_set_expect_them_typed(bags):
    made = options(bags, "robomimic", settings=["image_size=84,64", "images=false", "action_key=7", "control_hz=20"])
    assert made.reading == ImportOptions(image_size=(84, 64), images=False, action_key="7", control_hz=20.0)
    assert made.writing is None


def test_when_lists_are_in_brackets_expect_the_same(bags):
    assert options(bags, "robomimic", settings=["state_keys=[a, b]"]).reading.state_keys == ("a", "b")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("imge_size=3", "did you mean 'image_size'"),
        ("image_size", "NAME=VALUE"),
        ("image_size=wide,high", "expected int"),
        ("outcome=won", "outcome"),
    ],
)
def test_when_an_option_is_wrong_expect_it_named(bags, setting, words):
    with pytest.raises(ConfigError, match=words):
        options(bags, "robomimic", settings=[setting])


def test_when_a_flag_does_not_go_with_the_source_expect_it_named(bags):
    with pytest.raises(ConfigError, match="--labels does not go with --from robomimic"):
        options(bags, "robomimic", labels="x.csv")
    with pytest.raises(ConfigError, match="--outcome does not go with --from bags"):
        options(bags, outcome="success")


def test_when_raw_bags_come_without_a_configuration_expect_it_asked_for(bags):
    with pytest.raises(ConfigError, match="--config"):
        options(bags, "raw")


def test_when_raw_bags_are_given_topics_and_labels_expect_them_in_the_options(bags):
    from resfit_ros.bringup import load_config
    from resfit_ros.paths import find_config

    lift = load_config(find_config("bimanual_lift"))
    made = options(bags, "raw", config=lift, labels="x.csv", topics=["joint_states:=/arm/states"])
    assert made.reading == RawOptions(labels="x.csv", topics=("joint_states:=/arm/states",))


def test_when_a_dataset_is_for_a_robot_expect_its_joints_and_rate_and_no_pictures(bags):
    from resfit_ros.bringup import load_config
    from resfit_ros.paths import find_config

    reading = options(bags, "lerobot-v3", config=load_config(find_config("bimanual_lift"))).reading
    assert (len(reading.joint_names), reading.control_hz, reading.images) == (29, 20.0, False)


def test_when_a_joint_map_is_read_expect_pairs_and_a_wrong_one_named(tmp_path):
    (tmp_path / "good.yaml").write_text("shoulder_pan: arm_1\nelbow: arm_2\n")
    assert read_joint_map(tmp_path / "good.yaml") == ["shoulder_pan=arm_1", "elbow=arm_2"]
    (tmp_path / "bad.yaml").write_text("- shoulder_pan\n")
    with pytest.raises(ConfigError, match="bad.yaml"):
        read_joint_map(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--from", "bagz"), "did you mean 'bags'"), (("--to", "lerobot-v4"), "did you mean 'lerobot-v3'")],
)
def test_when_a_format_is_mistyped_expect_the_nearest_named(bags, tmp_path, arguments, words):
    assert words in run(bags, tmp_path / "out", *arguments, status=1)


# -- the conversion -------------------------------------------------------------------------------


def test_when_bags_are_written_anew_expect_the_same_episodes_from_1(bags, tmp_path):
    said = run(bags, tmp_path / "out")
    assert "2 episodes, bags to bags" in said
    pairs = zip(bag_directories(tmp_path / "out"), bag_directories(bags), strict=True)
    for number, (bag, origin) in enumerate(pairs, 1):
        assert bag.name == f"episode_{number:06d}"
        np.testing.assert_array_equal(read_episode(bag).actions, read_episode(origin).actions)
        assert read_about(bag) == read_about(origin)


@pytest.mark.parametrize(
    ("to", "needs"), [("lerobot-v2.1", "pyarrow"), ("lerobot-v3", "pyarrow"), ("robomimic", "h5py")]
)
def test_when_converted_to_a_dataset_and_back_expect_the_same_bits(bags, tmp_path, to, needs):
    pytest.importorskip(needs)
    dataset = tmp_path / "data.hdf5"
    run(bags, dataset, "--to", to)
    said = run(dataset, tmp_path / "back", "--json")
    assert f'"from": "{to}"' in said
    for bag, origin in zip(bag_directories(tmp_path / "back"), bag_directories(bags), strict=True):
        found, wanted = read_episode(bag), read_episode(origin)
        for name in ("states", "bases", "actions", "phases"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
        assert found.outcome is wanted.outcome
        assert read_about(bag).joint_names == ("a", "b")


def test_when_a_dataset_becomes_another_expect_nothing_left_between(bags, tmp_path):
    for library in ("pyarrow", "h5py"):
        pytest.importorskip(library)
    run(bags, tmp_path / "data.hdf5", "--to", "robomimic")
    assert "2 episodes, robomimic to lerobot-v3" in run(tmp_path / "data.hdf5", tmp_path / "v3", "--to", "lerobot-v3")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bags", "data.hdf5", "v3"]


@pytest.fixture
def raw(tmp_path) -> tuple[Path, Path]:
    """(a bag of 2 s of a robot with joints a and b that says when it succeeded, the robot's configuration)."""
    done = [("/done", t, of_std("Bool", t >= 1000)) for t in (0, 500, 1012, 1500)]
    bag = write_bag(tmp_path / "raw", joints() + commands() + done)
    (tmp_path / "robot.yaml").write_text(
        "robot: {joint_names: [a, b], state: [joint_positions], control_hz: 20.0,\n"
        "  lower: [-50, -50], upper: [50, 50], max_velocity: [9], max_acceleration: [90]}\n"
    )
    return bag, tmp_path / "robot.yaml"


def test_when_a_raw_bag_is_converted_expect_its_episode_and_what_was_made_of_it(raw, tmp_path):
    bag, config = raw
    said = run(bag, tmp_path / "out", "--config", config, "--success-topic", "/done")
    assert "1 episode, raw to bags" in said
    assert "joints /joint_states 201 100.0" in said
    assert "success 0.000 1.050 21 0 kept" in said
    (made,) = bag_directories(tmp_path / "out")
    assert len(read_episode(made)) == 21
    assert read_about(made).source == "raw bag raw"


def test_when_nothing_says_how_a_raw_bag_ended_expect_the_flags_named(raw, tmp_path):
    bag, config = raw
    assert "--outcome" in run(bag, tmp_path / "out", "--config", config, status=1)
    assert not (tmp_path / "out").exists()


def test_when_it_does_not_fit_the_configuration_expect_the_difference_and_nothing_written(bags, tmp_path):
    said = run(bags, tmp_path / "out", "--config", "bimanual_lift", status=1)
    assert "'a' at place 0, expected 'torso_yaw'" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bags"]


def test_when_the_result_exists_expect_it_kept(bags, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    assert "exists already" in run(bags, tmp_path / "out", status=1)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine"]


def test_when_interrupted_expect_nothing_half_written(bags, tmp_path, monkeypatch):
    written = []

    def interrupted(*arguments):
        if written:
            raise KeyboardInterrupt
        written.append(write_episode(*arguments))
        return written[0]

    monkeypatch.setattr(conversion, "write_episode", interrupted)
    assert "stopped" in run(bags, tmp_path / "out", status=130)
    assert len(written) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bags"]


def test_when_a_bag_cannot_be_read_expect_that_said_and_the_others(bags, tmp_path):
    (file,) = (bags / "episode_000003").glob("*.mcap")
    file.write_bytes(file.read_bytes()[:60])
    said = run(bags, tmp_path / "out")
    assert "left out" in said
    assert "1 episode, bags to bags" in said
