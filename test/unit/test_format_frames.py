"""From columns to episodes, without any library of a format."""

import numpy as np
import pytest

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_data import EpisodeData
from resfit_ros.data.formats import ExportOptions, ImportOptions, detected
from resfit_ros.data.formats.frames import Frames, episode_of
from resfit_ros.data.formats.joints import named, ours, state_names
from resfit_ros.data.formats.notes import Notes, listed
from resfit_ros.data.formats.outcomes import outcome_of
from resfit_ros.data.formats.rate import rate_of


def frames(rows=4, **changes):
    values = dict(
        where="set: episode 0",
        states=np.arange(2.0 * rows).reshape(rows, 2),
        actions=np.arange(1.0 * rows).reshape(rows, 1),
        outcome=Outcome.SUCCESS,
    )
    return Frames(**{**values, **changes})


def made(**changes):
    said = []
    return episode_of(frames(**changes), 10.0, 10**9, Notes(said.append)), said


def test_when_an_observation_follows_expect_it_last():
    data, said = made(after=(np.array([8.0, 9.0]), ()))
    assert data.states[-1].tolist() == [8.0, 9.0]
    assert data.stamps_ns.tolist() == [10**9 + k * 10**8 for k in range(5)]
    assert said == []


def test_when_it_timed_out_and_an_observation_follows_expect_every_step_learned_from():
    data, said = made(after=(np.array([8.0, 9.0]), ()), outcome=Outcome.TIMEOUT)
    assert not data.tainted.any() and said == []


def test_when_cut_expect_a_real_last_observation_and_no_success():
    data, said = made(length=9)
    assert (len(data), data.outcome) == (3, Outcome.TIMEOUT)
    assert data.states[-1].tolist() == [6.0, 7.0]
    assert not data.tainted.any()
    assert said == ["set: episode 0: 4 actions, 4 states, expected 9 of each; the first 4 are kept"]


@pytest.mark.parametrize("rows", [0, 1])
def test_when_no_step_is_left_expect_none_and_the_reason(rows):
    data, said = made(rows=rows, length=9)
    assert data is None
    assert said[-1] == "set: episode 0: left out, it has no whole step"


def test_when_nothing_is_finite_expect_none_and_the_reason():
    data, said = made(states=np.full((4, 2), np.nan))
    assert data is None
    assert said[-1] == "set: episode 0: left out, not one step of it is whole"


def test_when_first_rows_are_not_finite_expect_the_episode_to_begin_later():
    actions = np.array([[np.nan], [1.0], [2.0], [3.0]])
    data, said = made(actions=actions)
    assert data.actions.ravel().tolist() == [1.0, 2.0, 3.0]
    assert data.states[:, 0].tolist() == [2.0, 4.0, 6.0, 6.0]
    assert data.stamps_ns[0] == 10**9 + 10**8


def test_when_last_observation_is_not_finite_expect_its_step_missing():
    data, _ = made(after=(np.array([np.nan, 1.0]), ()))
    assert data.missing.tolist() == [False, False, False, True]
    assert data.states[-1].tolist() == [6.0, 7.0]


@pytest.mark.parametrize(
    ("successes", "rewards", "outcome"),
    [
        ([0, 0, 1], None, Outcome.SUCCESS),
        ([0, 0, 0], [0, 1, 1], Outcome.TIMEOUT),
        (None, [0, 1, 1], Outcome.SUCCESS),
        (None, [0, 0, 0], Outcome.TIMEOUT),
    ],
)
def test_when_columns_tell_success_expect_it(successes, rewards, outcome):
    successes, rewards = (None if v is None else np.array(v) for v in (successes, rewards))
    assert outcome_of(ImportOptions(), successes, rewards, "set") is outcome
    assert outcome_of(ImportOptions(outcome="failure"), successes, rewards, "set") is Outcome.FAILURE


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a", "b"], ("a", "b")),
        ({"motors": ["a", "b"]}, ("a", "b")),
        ({"b": 1, "a": 0}, ("a", "b")),
        (["a"], ()),
        (None, ()),
        ({"motors": {"a": 0}}, ()),
    ],
)
def test_when_names_come_in_any_form_expect_them_flat(names, found):
    assert named(names, 2) == found


@pytest.mark.parametrize(
    ("theirs", "joint_map", "found"),
    [
        (("a.pos", "b.pos"), (), ("a", "b")),
        (("a.pos", "b.vel"), (), ("a.pos", "b.vel")),
        (("a.pos", "b.pos"), ("a=x",), ("x", "b")),
        (("a.pos", "b.pos"), ("a.pos=x",), ("x", "b")),
    ],
)
def test_when_joints_are_mapped_expect_our_names(theirs, joint_map, found):
    assert ours(theirs, ImportOptions(joint_map=joint_map)) == found


def test_when_blocks_make_up_the_state_expect_a_name_per_number():
    blocks = ("joint_positions", "wrench/hand", "array/touch/2")
    assert state_names(blocks, ("a",), 9) == [
        "joint_positions/a",
        *(f"wrench/hand/{part}" for part in ("fx", "fy", "fz", "tx", "ty", "tz")),
        "array/touch/2/0",
        "array/touch/2/1",
    ]
    assert state_names(blocks, ("a",), 8) is None
    assert state_names(("nonsense",), ("a",), 8) is None


@pytest.mark.parametrize(("step_ns", "hz"), [(50_000_000, 20.0), (50_400_000, 20.0), (400_000_000, 2.5)])
def test_when_stamps_tell_the_rate_expect_it(step_ns, hz):
    data = EpisodeData(
        states=np.zeros((4, 1), np.float32),
        bases=np.zeros((4, 1), np.float32),
        actions=np.zeros((3, 1), np.float32),
        stamps_ns=10**9 + np.arange(4) * step_ns,
        outcome=Outcome.SUCCESS,
    )
    said = []
    assert rate_of(data, BagAbout(), ExportOptions(), said.append) == hz
    assert len(said) == 1
    assert rate_of(data, BagAbout(control_hz=5.0), ExportOptions(control_hz=7.0), said.append) == 5.0
    assert rate_of(data, BagAbout(), ExportOptions(control_hz=7.0), said.append) == 7.0


def test_when_stamps_stand_still_expect_the_rate_asked_for():
    data = EpisodeData(
        states=np.zeros((2, 1), np.float32),
        bases=np.zeros((2, 1), np.float32),
        actions=np.zeros((1, 1), np.float32),
        stamps_ns=np.zeros(2, np.int64),
        outcome=Outcome.SUCCESS,
    )
    with pytest.raises(DataError, match="give control_hz"):
        rate_of(data, BagAbout(), ExportOptions(), print)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_size": (84,)}, "image_size must be width and height"),
        ({"outcome": "won"}, "outcome must be one of auto, success, failure, timeout"),
        ({"camera_keys": ("a",), "camera_names": ("b", "c")}, "2 names for 1 camera_keys"),
        ({"joint_map": ("a:b",)}, "'a:b' is not THEIRS=OURS"),
    ],
)
def test_when_options_contradict_expect_the_reason(options, words):
    with pytest.raises(ConfigError, match=words):
        ImportOptions(**options)


def test_when_a_note_is_for_all_expect_it_once():
    said = []
    notes = Notes(said.append)
    for _ in range(3):
        notes.once("a")
        notes("b")
    assert said == ["a", "b", "b", "b"]
    assert listed([1, 2, 3, 4, 5, 6, 7]) == "1, 2, 3, 4, 5 and 2 more"


def test_when_path_is_no_dataset_expect_the_known_kinds(tmp_path):
    with pytest.raises(DataError, match="no such file or directory"):
        detected(tmp_path / "nothing")
    with pytest.raises(DataError, match="lerobot-v2.1: a directory with meta/info.json"):
        detected(tmp_path)
