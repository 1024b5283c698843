"""LeRobot datasets of other tools become episodes, as the options say."""

import dataclasses
import sys

import numpy as np
import pytest
from lerobot_datasets import V2, both, columns, dataset, info, pictures, read

from resfit_ros.core.errors import ConfigError, DataError, MismatchError
from resfit_ros.core.types import Outcome
from resfit_ros.data.formats import FORMATS, ImportOptions, detected


@both
@pytest.mark.parametrize("video", [False, True])
def test_when_dataset_is_of_another_tool_expect_its_rows(tmp_path, version, video):
    root = dataset(tmp_path / "set", version, video=video)
    assert detected(root) is FORMATS[version]
    found = read(root)
    assert [len(data) for data, _ in found] == [6, 8]
    for index, (data, about) in enumerate(found):
        wanted = columns(index, len(data))
        np.testing.assert_array_equal(data.actions, wanted["action"])
        np.testing.assert_array_equal(data.states[:-1], wanted["observation.state"])
        np.testing.assert_array_equal(data.states[-1], wanted["observation.state"][-1])  # it has no other
        np.testing.assert_array_equal(data.bases, np.concatenate((data.actions, data.actions[-1:])))
        assert np.diff(data.stamps_ns).tolist() == [100_000_000] * len(data)
        error = data.images[0][:-1].astype(int) - pictures(len(data), 40 * index)
        assert np.abs(error).mean() < (2.0 if video else 1e-9)
        assert data.outcome is Outcome.SUCCESS
        assert about.joint_names == ("shoulder", "elbow")
        assert (about.camera_names, about.image_size, about.control_hz) == (("front",), (48, 32), 10.0)
        assert about.source == f"LeRobot {'v2.1' if version == V2 else 'v3.0'} {root}"


@both
def test_when_episodes_are_named_expect_those(tmp_path, version):
    found = read(dataset(tmp_path / "set", version, (4, 5, 6)), episodes=(0, 2))
    assert [len(data) for data, _ in found] == [4, 6]


@both
def test_when_a_size_is_asked_for_expect_pictures_of_it(tmp_path, version):
    ((data, about),) = read(dataset(tmp_path / "set", version, (4,)), image_size=(24, 16))
    assert data.images[0].shape == (5, 16, 24, 3)
    assert about.image_size == (24, 16)
    mean = pictures(4)[0].reshape(16, 2, 24, 2, 3).mean((1, 3))
    assert np.abs(data.images[0][0] - mean).max() <= 1.0


@both
def test_when_pictures_are_not_wanted_expect_none_read(tmp_path, version):
    root = dataset(tmp_path / "set", version, video=True)
    for film in root.rglob("*.mp4"):
        film.unlink()
    found = read(root, images=False)
    assert [len(data.images) for data, _ in found] == [0, 0]
    assert found[0][1].camera_names == ()


def reordered(values, index):
    return values | {"action": values["action"][:, ::-1]}


@both
def test_when_joints_come_in_another_order_expect_ours_and_a_note(tmp_path, version):
    said = []
    found = read(dataset(tmp_path / "set", version), said, joint_names=("elbow", "shoulder"))
    np.testing.assert_array_equal(found[0][0].actions, columns(0, 6)["action"][:, ::-1])
    assert found[0][1].joint_names == ("elbow", "shoulder")
    assert "brought into the order of joint_names" in said[0] and len(said) == 2
    assert "observation.state are not named as the joints" in said[1]


def named_state(names: list[str]) -> dict:
    """Features whose state has these columns."""
    features = info(V2, 1, False)["features"]
    features["observation.state"] = {"dtype": "float32", "shape": [len(names)], "names": names}
    return features


@both
def test_when_the_state_names_its_joints_in_another_order_expect_that_of_the_actions(tmp_path, version):
    def two_columns(values, index):
        return values | {"observation.state": values["observation.state"][:, :2]}

    said, features = [], named_state(["elbow.pos", "shoulder.pos"])
    root = dataset(tmp_path / "set", version, change=two_columns, features=features)
    data, about = read(root, said)[0]
    assert about.joint_names == ("shoulder", "elbow")
    np.testing.assert_array_equal(data.states[:-1], columns(0, 6)["observation.state"][:, [1, 0]])
    np.testing.assert_array_equal(data.actions, columns(0, 6)["action"])
    (note,) = said
    assert "columns of observation.state are brought into the order of the actions' joints" in note


def test_when_a_block_of_the_state_names_its_joints_expect_it_alone_reordered(tmp_path):
    features = named_state(["array/force/1/0", "joint_positions/elbow", "joint_positions/shoulder"])
    said = []
    data, _ = read(dataset(tmp_path / "set", V2, features=features), said)[0]
    np.testing.assert_array_equal(data.states[:-1], columns(0, 6)["observation.state"][:, [0, 2, 1]])
    assert len(said) == 1


def test_when_the_state_is_named_otherwise_expect_it_kept_and_a_note(tmp_path):
    said = []
    data, _ = read(dataset(tmp_path / "set", V2, features=named_state(["x", "y", "z"])), said)[0]
    np.testing.assert_array_equal(data.states[:-1], columns(0, 6)["observation.state"])
    (note,) = said
    assert "observation.state are not named as the joints; they keep their order" in note


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data_path": "data/{episode}.parquet"}, "KeyError: 'episode'"),
        ({"data_path": "data/{}.parquet"}, "IndexError"),
        ({"total_episodes": None}, "TypeError"),
        ({"chunks_size": "many"}, "ValueError"),
    ],
)
def test_when_info_does_not_tell_where_episodes_lie_expect_the_file_named(tmp_path, change, words):
    root = dataset(tmp_path / "set", V2, **change)
    with pytest.raises(DataError, match=f"meta/info.json: total_episodes, .*{words}"):
        read(root)


@both
def test_when_joints_are_others_expect_the_first_difference(tmp_path, version):
    root = dataset(tmp_path / "set", version)
    with pytest.raises(MismatchError, match=r"'elbow' at place 1, expected 'wrist'.*joint_map: elbow=wrist"):
        read(root, joint_names=("shoulder", "wrist"))
    found = read(root, joint_names=("shoulder", "wrist"), joint_map=("elbow=wrist",))
    assert found[0][1].joint_names == ("shoulder", "wrist")


@both
def test_when_rate_is_another_expect_both_named(tmp_path, version):
    with pytest.raises(MismatchError, match="has 10 steps per second, the robot 20"):
        read(dataset(tmp_path / "set", version), control_hz=20.0)


@both
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"action_key": "actoin"}, "no column 'actoin' .action_key.; did you mean 'action'"),
        ({"state_keys": ("state",)}, "no column 'state' .state_keys."),
        ({"camera_keys": ("top",)}, "no column 'top' .camera_keys.; known: observation.images.front"),
    ],
)
def test_when_a_column_is_not_there_expect_the_known_ones(tmp_path, version, options, words):
    with pytest.raises(DataError, match=words):
        read(dataset(tmp_path / "set", version), **options)


def without_success(values, index):
    return {key: value for key, value in values.items() if key != "next.success"}


@both
def test_when_nothing_tells_success_expect_it_asked_for(tmp_path, version):
    root = dataset(tmp_path / "set", version, change=without_success)
    with pytest.raises(ConfigError, match="no column tells success.*give outcome=success"):
        read(root)
    assert read(root, outcome="success")[0][0].outcome is Outcome.SUCCESS


@both
def test_when_an_episode_does_not_succeed_expect_its_last_step_not_learned_from(tmp_path, version):
    def change(values, index):
        return values | {"next.success": values["next.success"] & (index == 1)}

    said = []
    (failed, _), (succeeded, _) = read(dataset(tmp_path / "set", version, change=change), said)
    assert (failed.outcome, succeeded.outcome) == (Outcome.TIMEOUT, Outcome.SUCCESS)
    assert failed.tainted.tolist() == [False] * 5 + [True]
    assert not succeeded.tainted.any()
    assert len(said) == 1 and "the observation after the last action is not in the dataset" in said[0]


def test_when_pyarrow_is_missing_expect_how_to_install_it(tmp_path, monkeypatch):
    root = dataset(tmp_path / "set", V2)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ConfigError, match="need the Python package 'pyarrow', which is missing: pip install pyarrow"
    ):
        read(root)


def test_when_cameras_do_not_fit_their_names_expect_it_said(tmp_path):
    root = dataset(tmp_path / "set", V2)
    with pytest.raises(ConfigError, match="2 names for the cameras observation.images.front"):
        read(root, camera_names=("a", "b"))
    assert read(root, camera_names=("wrist",))[0][1].camera_names == ("wrist",)
    with pytest.raises(ConfigError, match="joint_map: 'elbow' is not THEIRS=OURS"):
        dataclasses.replace(ImportOptions(), joint_map=("elbow",))
