"""robomimic datasets of other tools, written here with h5py in the layout that robomimic writes."""

import collections
import dataclasses
import json

import numpy as np
import pytest
from format_builders import ABOUT, bags_of, episode

from resfit_ros.core.errors import ConfigError, DataError, MismatchError
from resfit_ros.core.types import Outcome
from resfit_ros.data.formats import FORMATS, ExportOptions, ImportOptions, detected

h5py = pytest.importorskip("h5py", reason="robomimic datasets need h5py: pip install h5py")

POSITION, GRIPPER, CAMERA = "robot0_eef_pos", "robot0_gripper_qpos", "agentview_image"
KEYS = (POSITION, GRIPPER)


def normal(rng, exact, *shape):
    """float64, as robomimic has it; exact: numbers that float32 can hold."""
    values = rng.normal(size=shape)
    return values.astype(np.float32).astype(float) if exact else values


def observations(number, rows, exact=True):
    rng = np.random.default_rng(number)
    return {
        POSITION: normal(rng, exact, rows, 3),
        GRIPPER: normal(rng, exact, rows, 2),
        "object": normal(rng, exact, rows, 5),
        CAMERA: rng.integers(0, 255, (rows, 8, 12, 3), np.uint8),
    }


def actions_of(number, steps):
    return normal(np.random.default_rng(100 + number), True, steps, 4)


def write_demo(group, number, steps, following=True, exact=True):
    seen = observations(number, steps + 1, exact)
    group.attrs["num_samples"] = steps
    group.attrs["model_file"] = "<mujoco/>"
    group["actions"] = actions_of(number, steps)
    group["rewards"] = (np.arange(steps) == steps - 1).astype(float)
    group["dones"] = (np.arange(steps) == steps - 1).astype(int)
    group["states"] = np.zeros((steps, 30))
    for key, values in seen.items():
        group[f"obs/{key}"] = values[:-1]
        if following:
            group[f"next_obs/{key}"] = values[1:]


def dataset(path, steps=(5, 7), hz=20, **demo):
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(steps)
        data.attrs["env_args"] = json.dumps(
            {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": hz}}
        )
        for number, count in enumerate(steps):
            write_demo(data.create_group(f"demo_{number}"), number, count, **demo)
        file["mask/valid"] = np.array(["demo_1"], dtype="S")
    return path


def changed(path, change):
    with h5py.File(path, "r+") as file:
        change(file["data"])
    return path


def read(path, said=None, **options):
    notes = [] if said is None else said
    options = {"state_keys": KEYS} | options
    found = list(detected(path).read(path, ImportOptions(**options), notes.append))
    if said is None:
        assert notes == []
    return found


def test_when_dataset_is_of_another_tool_expect_its_rows_and_the_last_of_next_obs(tmp_path):
    path = dataset(tmp_path / "low_dim.hdf5")
    found = read(path)
    assert [len(data) for data, _ in found] == [5, 7]
    for number, (data, about) in enumerate(found):
        seen = observations(number, len(data) + 1)
        np.testing.assert_array_equal(data.states, np.concatenate([seen[k] for k in KEYS], axis=1))
        np.testing.assert_array_equal(data.actions, actions_of(number, len(data)))
        np.testing.assert_array_equal(data.images[0], seen[CAMERA])
        assert data.outcome is Outcome.SUCCESS
        assert not data.tainted.any()
        assert (about.camera_names, about.image_size, about.control_hz) == (("agentview",), (12, 8), 20.0)
        assert about.source == f"robomimic {path}"


def test_when_there_is_no_next_obs_expect_the_last_observation_twice(tmp_path):
    ((data, _),) = read(dataset(tmp_path / "a.hdf5", (5,), following=False))
    np.testing.assert_array_equal(data.states[-1], data.states[-2])
    assert len(data) == 5


def test_when_numbers_need_64_bits_expect_them_rounded_and_said(tmp_path):
    said = []
    found = read(dataset(tmp_path / "a.hdf5", exact=False), said)
    wanted = observations(1, 8, exact=False)[POSITION]
    np.testing.assert_array_equal(found[1][0].states[:, :3], wanted.astype(np.float32))
    assert said == ["numbers of 64 bits are rounded to the 32 bits that bags keep, about 7 digits"]


def test_when_a_filter_key_is_given_expect_its_episodes(tmp_path):
    path = dataset(tmp_path / "a.hdf5")
    assert [len(data) for data, _ in read(path, mask="valid")] == [7]
    with pytest.raises(DataError, match="no filter key 'train'; known: valid"):
        read(path, mask="train")


def test_when_demos_are_many_expect_them_by_number(tmp_path):
    path = dataset(tmp_path / "a.hdf5", tuple(range(1, 13)))
    assert [len(data) for data, _ in read(path)] == list(range(1, 13))


def test_when_state_is_not_told_expect_the_keys_there_are(tmp_path):
    with pytest.raises(
        ConfigError, match="no observation 'state'; give state_keys out of: object, robot0_eef_pos"
    ):
        read(dataset(tmp_path / "a.hdf5"), state_keys=())


def test_when_a_camera_is_not_there_expect_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match="no pictures 'wrist_image'.*known: agentview_image"):
        read(dataset(tmp_path / "a.hdf5"), camera_keys=("wrist_image",))


def test_when_rate_is_another_expect_both_named(tmp_path):
    with pytest.raises(MismatchError, match="has 20 steps per second, the robot 10"):
        read(dataset(tmp_path / "a.hdf5"), control_hz=10.0)


def test_when_rate_is_unknown_expect_it_asked_for(tmp_path):
    path = changed(dataset(tmp_path / "a.hdf5"), lambda data: data.attrs.__delitem__("env_args"))
    with pytest.raises(DataError, match="how many steps it has per second; give control_hz"):
        read(path)
    assert read(path, control_hz=10.0)[0][1].control_hz == 10.0


def test_when_joints_are_too_few_expect_both_counts(tmp_path):
    with pytest.raises(MismatchError, match="actions have 4 columns, expected 2"):
        read(dataset(tmp_path / "a.hdf5"), joint_names=("a", "b"))


def exported(tmp_path, *state):
    """A dataset of our own whose joints are shoulder and elbow, and the episode in it."""
    wanted, about = episode(), dataclasses.replace(ABOUT, state=state)
    path = tmp_path / "ours.hdf5"
    bags = bags_of(tmp_path / "bags", wanted, about=about)
    FORMATS["robomimic"].write(bags, path, ExportOptions(), print)
    return path, wanted


def test_when_joints_are_reordered_expect_those_of_the_state_too(tmp_path):
    path, wanted = exported(tmp_path, "array/force/1", "joint_positions")
    said = []
    ((data, about),) = read(path, said, state_keys=(), joint_names=("elbow", "shoulder"))
    assert about.joint_names == ("elbow", "shoulder")
    np.testing.assert_array_equal(data.actions, wanted.actions[:, ::-1])
    np.testing.assert_array_equal(data.bases, wanted.bases[:, ::-1])
    np.testing.assert_array_equal(data.states, wanted.states[:, [0, 2, 1]])  # the last from next_obs
    assert "brought into the order of joint_names" in said[0]


def test_when_joints_are_reordered_and_blocks_of_the_state_unknown_expect_it_refused(tmp_path):
    path, wanted = exported(tmp_path)
    reorder = {"state_keys": (), "joint_names": ("elbow", "shoulder")}
    with pytest.raises(MismatchError, match="its 3 columns are not of known blocks .none are told.; give those blocks as state"):
        read(path, [], **reorder)
    ((data, _),) = read(path, [], state=("joint_positions", "array/force/1"), **reorder)
    np.testing.assert_array_equal(data.states, wanted.states[:, [1, 0, 2]])


def test_when_rewards_are_dense_expect_the_outcome_asked_for(tmp_path):
    def dense(data):
        data["demo_0/rewards"][...] = 0.3

    path = changed(dataset(tmp_path / "a.hdf5"), dense)
    with pytest.raises(ConfigError, match="demo_0: its rewards are not 0 and 1.*give outcome=success"):
        read(path)
    assert {data.outcome for data, _ in read(path, outcome="failure")} == {Outcome.FAILURE}


def test_when_columns_have_different_lengths_expect_the_common_rows(tmp_path):
    def shorten(data):
        short = data["demo_1/actions"][:4]
        del data["demo_1/actions"]
        data["demo_1/actions"] = short

    said = []
    found = read(changed(dataset(tmp_path / "a.hdf5"), shorten), said)
    assert [len(data) for data, _ in found] == [5, 3]
    assert "demo_1: 4 actions, 7 states, 7 pictures of camera 0, expected 7 of each" in said[0]


def test_when_a_dataset_is_missing_expect_the_other_episodes(tmp_path):
    said = []
    path = changed(dataset(tmp_path / "a.hdf5"), lambda data: data.__delitem__("demo_0/actions"))
    assert [len(data) for data, _ in read(path, said)] == [7]
    assert "demo_0: left out, there is no dataset 'actions'; known: dones" in said[0]


def test_when_a_group_is_missing_expect_the_other_episodes(tmp_path):
    said = []
    path = changed(dataset(tmp_path / "a.hdf5"), lambda data: data.__delitem__("demo_0/obs"))
    assert [len(data) for data, _ in read(path, said)] == [7]
    assert "demo_0: left out, it cannot be read" in said[0]


def test_when_values_are_not_finite_expect_them_named(tmp_path):
    def spoil(data):
        data["demo_1/actions"][3, 1] = np.inf

    said = []
    found = read(changed(dataset(tmp_path / "a.hdf5"), spoil), said)
    assert np.flatnonzero(found[1][0].missing).tolist() == [3]
    assert "demo_1: values in row 3 are not finite; 1 of its 7 steps are left out" in said[0]


def test_when_file_is_cut_expect_it_named(tmp_path):
    path = dataset(tmp_path / "a.hdf5")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match="a.hdf5 cannot be read .*truncated file"):
        read(path)


def test_when_a_chunk_is_damaged_expect_the_other_episodes(tmp_path):
    wanted = [episode(seed=1), episode(seed=2)]
    path = tmp_path / "a.hdf5"
    FORMATS["robomimic"].write(bags_of(tmp_path / "bags", *wanted), path, ExportOptions(), print)
    with h5py.File(path) as file:
        chunk = file["data/demo_0/obs/wrist_image"].id.get_chunk_info(2)
    with path.open("rb+") as file:
        file.seek(chunk.byte_offset)
        file.write(bytes(chunk.size))
    said = []
    ((data, _),) = read(path, said, state_keys=())
    np.testing.assert_array_equal(data.actions, wanted[1].actions)
    assert "demo_0: left out, it cannot be read" in said[0]


def test_when_hdf5_is_no_dataset_expect_what_it_needs(tmp_path):
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match="is no robomimic dataset.*it needs groups data/demo_N"):
        read(path)


def test_when_written_expect_what_robomimic_reads(tmp_path):
    wanted = [episode(4, seed=1), episode(6, seed=2, outcome=Outcome.TIMEOUT)]
    path = tmp_path / "a.hdf5"
    FORMATS["robomimic"].write(bags_of(tmp_path / "bags", *wanted), path, ExportOptions(), print)
    with h5py.File(path) as file:
        data = file["data"]
        assert list(data) == ["demo_0", "demo_1"]
        assert data.attrs["total"] == 10
        assert json.loads(data.attrs["env_args"])["env_kwargs"] == {"control_freq": ABOUT.control_hz}
        assert file["mask/success"][()].tolist() == [b"demo_0"]
        demo = data["demo_0"]
        assert demo.attrs["num_samples"] == 4
        assert demo["rewards"][()].tolist() == [0, 0, 0, 1]
        assert demo["dones"][()].tolist() == [0, 0, 0, 1]
        assert data["demo_1/dones"][()].sum() == 0  # a timeout is no end of the task
        np.testing.assert_array_equal(demo["obs/state"][1:], demo["next_obs/state"][:-1])
        np.testing.assert_array_equal(demo["next_obs/above_image"], wanted[0].images[1][1:])
        assert demo["next_obs/wrist_image"].shape == (4, 8, 12, 3)


def test_when_the_disk_is_nearly_full_expect_the_room_needed_and_nothing_written(tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")(10**9, 10**9, 10**5)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    bags = bags_of(tmp_path / "bags", episode())
    with pytest.raises(DataError, match="0.1 MB are free, the next episode may need 1.1 MB"):
        FORMATS["robomimic"].write(bags, tmp_path / "out.hdf5", ExportOptions(), print)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bags"]
