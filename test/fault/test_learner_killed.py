"""Row 18: a learner killed while it saves goes on from its last valid checkpoint; control does not notice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import assert_same_segments, episode_messages
from serialised import write_bag
from soak import count

from resfit_ros.core.transitions import AssembledEpisode, TransitionAssembler
from resfit_ros.core.types import Outcome
from resfit_ros.data.run_bags import RunBags

HERE = Path(__file__).parent


def killed_savers(directory: Path, kills: int) -> list[dict]:
    """What each restart of `killed_saver.py` found."""
    paths = [str(HERE.parents[1]), str(HERE.parent / "unit")]
    command = [sys.executable, str(HERE / "killed_saver.py"), str(directory), str(kills)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    output = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def test_when_killed_at_any_moment_expect_the_last_finished_checkpoint_and_at_most_one_interval_lost(
    tmp_path, measured
):
    found = killed_savers(tmp_path / "checkpoints", count(100, 20))
    assert all(f["killed"] for f in found)
    assert [f["problems"] for f in found] == [[]] * len(found)
    saved = 0
    for kill in found:
        saved = max(saved, kill["saved"])  # one that was killed before its first save left the one before
        assert kill["restored"] >= saved
    lost = [f["begun"] - f["restored"] for f in found if f["begun"]]
    assert max(lost) <= 1  # one update is one interval here
    while_writing = sum(f["while_writing"] for f in found)
    measured(
        18,
        f"{len(found)} kills, {while_writing} of them with a checkpoint half written: {len(found)} of {len(found)} "
        f"resumed from the last finished one, at most {max(lost)} interval lost",
    )


# --- episodes that a restarted learner did not hear --------------------------------------------


def messages(episode_id: int, outcome: Outcome = Outcome.SUCCESS):
    return episode_messages(np.random.default_rng(episode_id), 10, outcome, episode_id)


def heard(episode_id: int, first: int = 0) -> AssembledEpisode:
    """The episode as assembled by a learner that listened from message `first` on."""
    assembler = TransitionAssembler(2)
    given = [e for m in messages(episode_id)[first:] for e in assembler.add(m)] + assembler.flush()
    (episode,) = given
    return episode


@pytest.fixture
def bags(tmp_path) -> RunBags:
    """A run whose episodes 1 to 3 were recorded before the learner came up."""
    problems: list[str] = []
    made = RunBags(tmp_path, 2, 3, problems.append)
    made.problems, made.directory = problems, tmp_path
    for episode_id in (1, 2, 3):
        write_bag(tmp_path, messages(episode_id), episode_id)
    return made


def ids(episodes: list[AssembledEpisode]) -> list[int]:
    return [e.end.episode_id for e in episodes]


def test_when_restarted_expect_every_recorded_episode_once(bags):
    assert ids(list(bags.all())) == [1, 2, 3]
    assert bags.missed() == []


def test_when_heard_from_the_middle_on_expect_the_recorded_episode_instead(bags):
    list(bags.all())
    write_bag(bags.directory, messages(4), 4)
    partly = heard(4, first=12)
    assert partly.steps_lost == 4
    (episode,) = bags.completed(partly)
    assert_same_segments(episode.segments, heard(4).segments)
    assert (episode.steps_lost, bags.missed()) == (0, [])


def test_when_heard_from_the_middle_on_and_not_recorded_here_expect_what_was_heard(bags):
    partly = heard(4, first=12)
    assert bags.completed(partly) == [partly]


def test_when_an_end_came_while_nobody_listened_expect_the_recorded_episode_once(bags):
    list(bags.all())
    assert bags.missed() == []
    write_bag(bags.directory, messages(4), 4)
    assert ids(bags.missed()) == [4]
    assert bags.missed() == []
    assert bags.completed(heard(4)) == []  # its messages come after all


def test_when_an_aborted_episode_was_recorded_expect_it_passed_over(bags):
    list(bags.all())
    write_bag(bags.directory, messages(4, Outcome.ABORTED), 4)
    assert bags.missed() == []


def test_when_a_bag_of_the_run_is_damaged_expect_the_others_and_a_report(bags):
    for file in bags.directory.glob("episode_000002/*.mcap"):
        file.write_bytes(file.read_bytes()[:300])
    assert ids(list(bags.all())) == [1, 3]
    assert len(bags.problems) == 1 and "episode_000002" in bags.problems[0]


def test_when_there_are_no_bags_expect_none(tmp_path):
    bags = RunBags(tmp_path / "nowhere", 2, 3, pytest.fail)
    assert (list(bags.all()), bags.missed()) == ([], [])
