"""`resfit data` info, check, view, split and merge, as a user runs them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from resfit_ros.bringup import load_config
from resfit_ros.cli.data import data_app
from resfit_ros.cli.data_config import known_robot
from resfit_ros.data.expected import configured_about
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_data import EpisodeData, write_episode
from resfit_ros.paths import find_config

runner = CliRunner()
LIFT = load_config(find_config("bimanual_lift"))
ABOUT = BagAbout(joint_names=("a", "b"), control_hz=10.0, base_policy_sha256="ab" * 32)


def episode(outcome=Outcome.SUCCESS, steps=5, joints=2, states=3) -> EpisodeData:
    actions = np.linspace(0, 1, steps * joints).reshape(steps, joints).astype(np.float32)
    return EpisodeData(
        states=np.zeros((steps + 1, states), np.float32),
        bases=np.vstack([actions, actions[-1:]]),
        actions=actions,
        stamps_ns=10**18 + np.arange(steps + 1) * 100_000_000,
        outcome=outcome,
    )


@pytest.fixture
def bags(tmp_path) -> Path:
    """Two successes, a failure and an aborted episode."""
    kinds = (Outcome.SUCCESS, Outcome.FAILURE, Outcome.SUCCESS, Outcome.ABORTED)
    for number, outcome in enumerate(kinds, 1):
        write_episode(tmp_path / "bags", number, episode(outcome), ABOUT)
    return tmp_path / "bags"


def cut(bag: Path, size: int) -> None:
    (file,) = bag.glob("*.mcap")
    with file.open("rb+") as opened:
        opened.truncate(size)


def run(*arguments: object, status: int = 0) -> str:
    """What the verb printed, in one line; it must end with `status`."""
    result = runner.invoke(data_app, [str(a) for a in arguments])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def run_json(*arguments: object, status: int = 0):
    return json.loads(run(*arguments, "--json", status=status))


@pytest.mark.parametrize("verb", ["info", "check", "view", "split", "merge", "convert"])
def test_when_help_is_asked_expect_it(verb):
    assert "Usage" in run(verb, "--help")


# -- info -----------------------------------------------------------------------------------------


def test_when_listed_expect_every_episode_and_totals(bags):
    said = run("info", bags)
    assert "robot: 2 joints, 10 Hz; base policy: abababababab" in said
    assert "episode_000002 failure 5 0.5" in said
    assert "4 episodes, 20 steps, 2.0 s" in said
    assert "2 success, 1 failure, 1 aborted; 67% success" in said


def test_when_listed_for_a_script_expect_json(bags):
    listed = run_json("info", bags)
    assert [b["outcome"] for b in listed["bags"]] == ["success", "failure", "success", "aborted"]
    assert listed["bags"][0]["about"]["joint_names"] == ["a", "b"]
    assert listed["totals"]["steps"] == 20
    assert listed["totals"]["success_share"] == pytest.approx(2 / 3)


def test_when_a_bag_is_cut_short_expect_it_marked_from_its_metadata_alone(bags):
    cut(bags / "episode_000002", 700)
    said = run("info", bags)
    assert "episode_000002.mcap is cut short" in said
    assert "1 damaged" in said


def test_when_a_file_or_the_metadata_are_lost_expect_that_said(bags):
    next((bags / "episode_000001").glob("*.mcap")).unlink()
    (bags / "episode_000002" / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    (bags / "episode_000003" / "metadata.yaml").unlink()
    damages = [b["damage"] for b in run_json("info", bags)["bags"]]
    assert damages[0] == "episode_000001.mcap is missing"
    assert damages[1].startswith("metadata.yaml cannot be read")
    assert damages[2].startswith("metadata.yaml is missing")
    assert damages[3] == ""


def test_when_old_bags_say_nothing_of_the_robot_expect_sizes_with_deep(tmp_path):
    write_episode(tmp_path, 1, episode(), BagAbout(source=""))
    assert "robot" not in run("info", tmp_path)
    assert "robot: 2 joints, 3 states" in run("info", tmp_path, "--deep")


def test_when_a_folder_of_folders_is_given_expect_totals_of_each(bags):
    write_episode(bags.parent / "more", 1, episode(), ABOUT)
    said = run("info", bags.parent)
    assert f"{bags}: 4 episodes" in said
    assert f"{bags.parent / 'more'}: 1 episode" in said


def test_when_bags_differ_expect_what_differs_in_a_column(bags):
    write_episode(bags, 5, episode(joints=3), BagAbout(joint_names=("a", "b", "c"), source="LeRobot"))
    said = run("info", bags)
    assert "3 joints" in said
    assert "LeRobot" in said


def test_when_there_are_no_bags_expect_it_said(tmp_path):
    assert "holds no bags; record some" in run("info", tmp_path, status=1)
    assert "no such directory" in run("info", tmp_path / "none", status=1)


# -- check ----------------------------------------------------------------------------------------


def test_when_all_bags_are_good_expect_status_0(bags):
    report = run_json("check", bags)
    assert report["verdict"] == "good"
    assert sum(b["usable_steps"] for b in report["bags"].values()) == 15  # the aborted one is left out


def test_when_some_bags_are_bad_expect_status_3_and_the_reason(bags):
    cut(bags / "episode_000002", 700)
    said = run("check", bags, status=3)
    assert "episode_000002" in said
    assert "4 bags, 1 with problems" in said


def test_when_nothing_can_be_used_expect_status_1(bags):
    for bag in bags.iterdir():
        if not bag.name.startswith("."):
            cut(bag, 60)
    assert run_json("check", bags, status=1)["verdict"] == "nothing"


def test_when_a_bag_is_of_another_robot_than_most_expect_it_named(bags):
    write_episode(bags, 9, episode(), BagAbout(joint_names=("a", "z")))
    said = run("check", bags, status=3)
    assert "'z' at place 1, expected 'b'" in said


def test_when_checked_against_a_configuration_of_another_robot_expect_nothing_usable(bags):
    said = run("check", bags, "--config", "bimanual_lift", status=1)
    assert "expected 'torso_yaw'" in said


def test_when_a_recorder_was_killed_expect_it_named_and_recovered_with_repair(bags):
    (bags / ".partial").mkdir(exist_ok=True)
    (bags / "episode_000003").rename(bags / ".partial" / "episode_000003")
    (bags / ".partial" / "episode_000003" / "metadata.yaml").unlink()
    said = run("check", bags, status=3)
    assert "never closed" in said
    assert "--repair" in said
    assert "usable" not in run("check", bags, "--repair")
    assert (bags / "episode_000003" / "metadata.yaml").is_file()


# -- view -----------------------------------------------------------------------------------------


def test_when_viewed_expect_a_picture(bags, tmp_path):
    said = run("view", bags, "--episode", 2, "--out", tmp_path / "new" / "two.png")
    assert "failure, 5 steps" in said
    assert Image.open(tmp_path / "new" / "two.png").size[0] == 1600


def test_when_the_episode_is_not_chosen_or_not_there_expect_that_said(bags):
    assert "holds 4 bags; choose one with --episode" in run("view", bags, status=1)
    assert "has no episode 77" in run("view", bags, "--episode", 77, status=1)


def test_when_the_picture_is_no_png_expect_it_refused(bags):
    assert "ends in .png" in run("view", bags / "episode_000001", "--out", "x.jpg", status=1)


def test_when_a_bag_lies_in_a_run_expect_limits_and_bound_of_the_run(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "run.yaml").write_text(find_config("bimanual_lift").read_text())
    count = len(LIFT.joint_names)
    actions = np.vstack([np.zeros(count), np.ones(count)]).astype(np.float32)
    scaling = Normaliser.fit(LIFT.joint_names, np.zeros((2, 3), np.float32), actions)
    (tmp_path / "normaliser.json").write_text(json.dumps(scaling.to_dict()))
    known = known_robot(tmp_path / "bags" / "finetune" / "episode_000001", None)
    assert known.joint_names == LIFT.joint_names
    assert (known.lower[0], known.upper[0]) == (-0.8, 0.8)
    np.testing.assert_allclose(known.bound, 0.2 * 0.5)  # residual_scale times half the range


def test_when_nothing_is_known_of_the_robot_expect_neither_names_nor_limits(tmp_path):
    known = known_robot(tmp_path / "episode_000001", None)
    assert (known.joint_names, known.lower, known.bound) == ((), None, None)


def test_when_a_configuration_has_no_cameras_expect_none_in_its_bags():
    about = configured_about(LIFT)
    assert (len(about.joint_names), about.control_hz, about.image_size) == (29, 20.0, ())
    assert about.state == ("joint_positions", "joint_velocities", "pose/box")


# -- split and merge ------------------------------------------------------------------------------


def test_when_split_expect_two_folders_and_what_went_where(bags, tmp_path):
    said = run("split", bags, tmp_path / "sets", "--fraction", 0.25)
    assert f"3 in {tmp_path / 'sets' / 'train'}, 1 in {tmp_path / 'sets' / 'held_out'}" in said
    assert json.loads((tmp_path / "sets" / "split.json").read_text())["seed"] == 0


def test_when_split_in_an_unknown_way_expect_the_nearest_named(bags, tmp_path):
    assert "did you mean 'outcome'" in run("split", bags, tmp_path / "sets", "--by", "outcom", status=1)


def test_when_the_result_exists_expect_it_kept(bags, tmp_path):
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "mine").touch()
    assert "exists already" in run("split", bags, tmp_path / "sets", status=1)
    assert [p.name for p in (tmp_path / "sets").iterdir()] == ["mine"]


def test_when_merged_expect_what_was_written_and_notes_once(bags, tmp_path):
    write_episode(tmp_path / "more", 1, episode(), ABOUT)
    cut(bags / "episode_000002", 60)
    merged = run_json("merge", tmp_path / "all", bags, tmp_path / "more")
    assert merged["episodes"] == 4
    assert len(merged["notes"]) == 1
    assert sorted(p.name for p in (tmp_path / "all").iterdir() if p.name[0] != ".") == [
        f"episode_{i:06d}" for i in range(1, 5)
    ]
