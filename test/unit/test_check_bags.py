"""What `check_bag` says of sound bags, and of each kind of bad one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from builders import episode_messages
from serialised import serialise

from resfit_ros.core.types import Action, EpisodeEnded, Executed, Observation, Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.check_bags import BagReport, check_bag
from resfit_ros.data.episode_bag import EpisodeBag
from resfit_ros.data.read_bags import read_episodes
from resfit_ros.data.segment_digest import digest_of, episode_digest

STEPS = 6
ABOUT = BagAbout(joint_names=("left", "right"), control_hz=20.0)


def messages(episode_id: int = 1, steps: int = STEPS, **fields):
    return episode_messages(np.random.default_rng(episode_id), steps, episode_id=episode_id, **fields)


def bag(directory: Path, given, about: BagAbout = ABOUT, **custom: str) -> Path:
    opened = EpisodeBag(directory, 1, "/resfit")
    for received_ns, value in enumerate(given, start=1):
        topic, raw = serialise(value)
        opened.write(topic, received_ns, raw)
    ended = {"episode_id": "1", "outcome": "success", "steps": str(STEPS), "scene_seed": "7"}
    return opened.close(ended | about.to_custom_data() | custom)


def figures(report: BagReport) -> tuple[int, int, int]:
    return report.episodes, report.steps, report.usable_steps


def test_when_sound_expect_every_step_usable_and_the_digest_of_reading(tmp_path):
    path = bag(tmp_path, messages(image_shape=(4, 5, 3)))
    report = check_bag(path, ABOUT)
    assert figures(report) == (1, STEPS, STEPS)
    assert (report.problems, report.notes, report.usable) == ((), (), True)
    assert report.digest == digest_of(map(episode_digest, read_episodes([path], 2)))


def test_when_recorded_twice_expect_the_same_digest_and_another_for_other_data(tmp_path):
    one, same, other = (
        check_bag(bag(tmp_path / str(i), given)).digest
        for i, given in enumerate([messages(), messages(), messages(tainted=frozenset({2}))])
    )
    assert one == same != other


def test_when_of_another_robot_expect_its_first_differing_joint_and_nothing_usable(tmp_path):
    path = bag(tmp_path, messages())
    report = check_bag(path, BagAbout(joint_names=("left", "wrist")))
    assert report.problems == (
        f"{path}: is of another robot: joint_names: 'right' at place 1, expected 'wrist'; leave it out",
    )
    assert (report.usable_steps, report.usable, report.digest) == (0, False, "")


def test_when_it_says_nothing_of_itself_expect_the_number_of_joints_compared(tmp_path):
    report = check_bag(bag(tmp_path, messages(), BagAbout()), BagAbout(joint_names=("a", "b", "c")))
    assert report.usable_steps == 0
    assert "actions have 2 joints, expected 3" in report.problems[0]


def test_when_a_topic_is_silent_expect_its_messages_named(tmp_path):
    given = [m for m in messages() if not isinstance(m, Action)]
    report = check_bag(bag(tmp_path, given))
    assert figures(report) == (1, STEPS, 0)
    assert report.problems[0].endswith(
        "episode 1: 6 of its 6 steps are lost; missing: every action"
    )


def test_when_one_message_is_missing_expect_it_named_and_the_others_usable(tmp_path):
    given = [m for m in messages() if not (isinstance(m, Executed) and m.step == 2)]
    report = check_bag(bag(tmp_path, given))
    assert figures(report) == (1, STEPS, STEPS - 1)
    assert report.problems[0].endswith("episode 1: 1 of its 6 steps are lost; missing: executed_action 2")


def test_when_many_messages_are_missing_expect_the_first_named_and_the_others_counted(tmp_path):
    given = [m for m in messages() if not (isinstance(m, Observation) and m.step > 0)]
    report = check_bag(bag(tmp_path, given))
    missing = "observation 1, observation 2, observation 3 and 3 more"
    assert report.problems[0].endswith(f"episode 1: 6 of its 6 steps are lost; missing: {missing}")


def test_when_two_episodes_are_mixed_expect_both_whole_and_it_said(tmp_path):
    given = [m for pair in zip(messages(1), messages(2), strict=True) for m in pair]
    report = check_bag(bag(tmp_path, given))
    assert figures(report) == (2, 2 * STEPS, 2 * STEPS)
    assert report.problems[0].endswith(
        "its metadata speak of episode 1, its messages are of 1, 2; each is taken by itself"
    )


def test_when_two_recordings_of_one_episode_are_mixed_expect_it_said(tmp_path):
    def other_action(m):
        return dataclasses.replace(m, action=m.action + 1) if isinstance(m, Executed) else m

    given = [m for first in messages() for m in (first, other_action(first))]
    report = check_bag(bag(tmp_path, given))
    assert figures(report) == (1, STEPS, STEPS)
    assert "step 0 was executed twice, differently (6 such steps)" in report.problems[0]


def test_when_two_robots_are_mixed_expect_what_came_before_kept(tmp_path):
    foreign = [m for m in messages(2, action_dim=3) if isinstance(m, Action)]
    report = check_bag(bag(tmp_path, [*messages(), *foreign]))
    assert (report.usable_steps, report.usable) == (STEPS, True)
    assert "actions have 3 joints, expected 2" in report.problems[0]


def test_when_cut_short_expect_the_good_part_usable_and_the_damage_named(tmp_path):
    path = bag(tmp_path, messages(steps=400), steps="400")
    (file,) = path.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    report = check_bag(path, ABOUT)
    assert report.steps == 400
    assert 50 < report.usable_steps < 400
    damage, lost = report.problems
    assert str(file) in damage and "cut short" in damage
    assert f"{400 - report.usable_steps} of its 400 steps are lost" in lost


def test_when_time_jumps_expect_seconds_named_and_the_rest_usable(tmp_path):
    def late(m):
        after = isinstance(m, EpisodeEnded) or m.step > 3
        return dataclasses.replace(m, stamp_ns=m.stamp_ns + 10**9) if after else m

    report = check_bag(bag(tmp_path, map(late, messages())))
    assert figures(report) == (1, STEPS, STEPS - 1)
    assert "step 3: 1.050 s between observations 3 and 4, 21 control periods" in report.problems[0]


def test_when_a_state_is_nan_expect_its_steps_named_and_the_rest_usable(tmp_path):
    given = messages()
    (observation,) = (m for m in given if isinstance(m, Observation) and m.step == 3)
    observation.state[1] = np.nan
    report = check_bag(bag(tmp_path, given))
    assert figures(report) == (1, STEPS, STEPS - 2)
    (problem,) = report.problems
    words = "steps are left out (steps 2 and 3: state of observation 3 holds nan at place 1)"
    assert problem.endswith(f"episode 1: 2 of its 6 {words}")


def test_when_its_end_is_missing_expect_it_said(tmp_path):
    report = check_bag(bag(tmp_path, messages()[:-1]))
    assert figures(report) == (1, STEPS, 0)
    assert report.problems[0].endswith("episode 1 has no end: its 6 steps are not used")


def test_when_aborted_or_tainted_expect_a_note_and_no_problem(tmp_path):
    aborted = check_bag(bag(tmp_path / "a", messages(outcome=Outcome.ABORTED)))
    tainted = check_bag(bag(tmp_path / "b", messages(tainted=frozenset({1, 2}))))
    assert (aborted.usable_steps, tainted.usable_steps) == (0, STEPS - 2)
    assert aborted.problems == tainted.problems == ()
    assert "episode 1 was aborted" in aborted.notes[0]
    assert "2 steps are marked as tainted" in tainted.notes[0]


def test_when_pictures_are_fewer_than_cameras_expect_both_numbers(tmp_path):
    about = dataclasses.replace(ABOUT, camera_names=("head", "wrist"))
    report = check_bag(bag(tmp_path, messages(image_shape=(4, 5, 3)), about))
    assert report.problems[0].endswith("observations have 1 pictures, the bag speaks of 2 cameras")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe{", b"rosbag2_bagfile_information: 3"])
def test_when_metadata_are_damaged_expect_them_named_and_the_steps_usable(tmp_path, content):
    path = bag(tmp_path, messages())
    (path / "metadata.yaml").write_bytes(content)
    report = check_bag(path, ABOUT)
    assert report.usable_steps == STEPS
    assert str(path / "metadata.yaml") in report.problems[0]


def test_when_there_is_no_bag_expect_it_said_and_no_exception(tmp_path):
    report = check_bag(tmp_path / "nowhere", ABOUT)
    assert figures(report) == (0, 0, 0)
    assert len(report.problems) == 2
