"""LeRobot datasets that are damaged, cut, or edited by other tools: named, and the good part kept."""

import numpy as np
import pytest
from format_builders import ABOUT, bags_of, episode
from lerobot_datasets import CAMERA, V2, V3, both, dataset, pictures, read, write_video

from resfit_ros.core.errors import DataError
from resfit_ros.core.types import Outcome
from resfit_ros.data.formats import FORMATS, ExportOptions, detected


@both
def test_when_rows_are_not_finite_expect_them_named_and_the_rest_kept(tmp_path, version):
    def change(values, index):
        values["observation.state"][[0, 3][index]] = np.nan
        return values

    said = []
    (first, _), (second, _) = read(dataset(tmp_path / "set", version, change=change), said)
    assert len(first) == 5 and not first.missing.any()  # begins with its second row
    assert np.flatnonzero(second.missing).tolist() == [2, 3]
    assert np.isfinite(second.states).all()
    assert [words.split(": ", 1)[1] for words in said] == [
        "episode 0: values in row 0 are not finite; 1 of its 6 steps are left out",
        "episode 1: values in row 3 are not finite; 2 of its 8 steps are left out",
    ]


@both
def test_when_time_jumps_expect_the_step_tainted(tmp_path, version):
    def change(values, index):
        return values | {"timestamp": values["timestamp"] + np.where(values["frame_index"] > 2, 1.5, 0)}

    said = []
    found = read(dataset(tmp_path / "set", version, change=change), said)
    assert np.flatnonzero(found[0][0].tainted).tolist() == [2]
    assert "episode 0: steps 2 do not take 1/10 s (the longest 1.6 s)" in said[0]


@both
def test_when_rows_are_lost_expect_the_first_ones(tmp_path, version):
    def change(values, index):
        return {key: v[:4] for key, v in values.items()} if index == 0 else values

    said = []
    found = read(dataset(tmp_path / "set", version, change=change), said)
    assert [len(data) for data, _ in found] == [3, 8]
    assert found[0][0].outcome is Outcome.TIMEOUT  # its end is lost
    assert "4 actions, 4 states, 4 pictures of camera 0, expected 6 of each; the first 4 are kept" in said[0]


def test_when_a_parquet_file_is_cut_expect_the_other_episodes(tmp_path):
    root = dataset(tmp_path / "set", V2)
    path = root / "data/chunk-000/episode_000000.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    said = []
    assert [len(data) for data, _ in read(root, said)] == [8]
    assert len(said) == 1 and f"{path} cannot be read" in said[0] and "episode 0: left out" in said[0]


@both
def test_when_bytes_of_an_episode_rot_expect_the_other_episodes(tmp_path, version):
    wanted = [episode(30, 0, seed=1), episode(30, 0, seed=2)]
    FORMATS[version].write(bags_of(tmp_path / "bags", *wanted), tmp_path / "set", ExportOptions(), print)
    path = sorted((tmp_path / "set/data").rglob("*.parquet"))[0]
    content = path.read_bytes()
    at = content.index(wanted[0].actions[3].tobytes()[:4])
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    said = []
    ((data, _),) = read(tmp_path / "set", said)
    np.testing.assert_array_equal(data.actions, wanted[1].actions)
    assert len(said) == 1 and "episode 0: left out" in said[0] and str(path) in said[0]


def test_when_a_file_is_missing_expect_the_other_episodes(tmp_path):
    root = dataset(tmp_path / "set", V2, video=True)
    (root / f"videos/chunk-000/{CAMERA}/episode_000001.mp4").unlink()
    said = []
    assert [len(data) for data, _ in read(root, said)] == [6]
    assert "episode_000001.mp4 is missing; fetch it again, or give images=false" in said[0]


@both
def test_when_every_file_is_cut_expect_an_error(tmp_path, version):
    root = dataset(tmp_path / "set", version)
    for path in (root / "data").rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:100])
    said = []
    with pytest.raises(DataError, match="none of the 2 episodes that were asked for can be used"):
        read(root, said)
    assert len(said) == 2


def test_when_a_video_is_cut_expect_the_episodes_before_the_cut(tmp_path):
    root = dataset(tmp_path / "set", V3, (8, 8, 8), video=True)
    write_video(root / f"videos/{CAMERA}/chunk-000/file-000.mp4", np.concatenate([pictures(8), pictures(5)]))
    said = []
    found = read(root, said)
    assert [len(data) for data, _ in found] == [8, 4]
    assert "8 actions, 8 states, 5 pictures of camera 0, expected 8 of each; the first 5 are kept" in said[0]
    assert "episode 2: left out" in said[1] and "no picture at 1.6 s" in said[1]


def test_when_a_video_lost_its_index_expect_it_named(tmp_path):
    root = dataset(tmp_path / "set", V3, video=True)
    path = root / f"videos/{CAMERA}/chunk-000/file-000.mp4"
    path.write_bytes(path.read_bytes()[:-200])
    said = []
    with pytest.raises(DataError, match="none of the 2 episodes"):
        read(root, said)
    assert str(path) in said[0] and "give images=false" in said[0]
    assert [len(data) for data, _ in read(root, images=False)] == [6, 8]


def test_when_list_of_episodes_is_cut_expect_all_by_their_number(tmp_path):
    root = dataset(tmp_path / "set", V2)
    path = root / "meta/episodes.jsonl"
    path.write_text(path.read_text()[:-10])
    said = []
    assert [len(data) for data, _ in read(root, said)] == [6, 8]
    assert "lengths of 1 episodes are known from it" in said[0]


def test_when_table_of_episodes_is_missing_expect_it_named(tmp_path):
    root = dataset(tmp_path / "set", V3)
    (root / "meta/episodes/chunk-000/file-000.parquet").unlink()
    with pytest.raises(DataError, match="no readable table of episodes in meta/episodes"):
        read(root)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"codebase_version": "v1.6"}'])
def test_when_info_is_damaged_expect_no_format_found(tmp_path, text):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text(text)
    with pytest.raises(DataError, match="not a dataset of a known kind"):
        detected(tmp_path)


def test_when_lerobot_dropped_our_file_expect_the_columns_and_a_note(tmp_path):
    wanted = episode()
    FORMATS[V3].write(bags_of(tmp_path / "bags", wanted), tmp_path / "set", ExportOptions(), print)
    (tmp_path / "set/meta/resfit.parquet").unlink()
    said = []
    ((data, about),) = read(tmp_path / "set", said)
    assert len(said) == 1 and "meta/resfit.parquet has nothing of it" in said[0]
    for name in ("actions", "tainted", "interventions"):
        np.testing.assert_array_equal(getattr(data, name), getattr(wanted, name))
    for name in ("states", "bases", "phases", "stamps_ns"):
        np.testing.assert_array_equal(getattr(data, name)[:-1], getattr(wanted, name)[:-1])
    assert data.outcome is Outcome.SUCCESS
    assert about.joint_names == ABOUT.joint_names


def test_when_our_file_is_of_another_episode_expect_it_passed_over(tmp_path):
    first, second = episode(seed=1), episode(seed=2)
    for name, data in (("a", first), ("b", second)):
        FORMATS[V3].write(bags_of(tmp_path / name, data), tmp_path / f"set_{name}", ExportOptions(), print)
    (tmp_path / "set_b/meta/resfit.parquet").replace(tmp_path / "set_a/meta/resfit.parquet")
    said = []
    ((data, _),) = read(tmp_path / "set_a", said)
    assert len(said) == 1
    np.testing.assert_array_equal(data.states[-1], first.states[-2])
