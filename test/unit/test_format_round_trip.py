"""Bags to each format and back to bags: every array as it was."""

import dataclasses

import numpy as np
import pytest
from format_builders import ABOUT, assert_same, bags_of, episode

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_about import BagAbout, read_about
from resfit_ros.data.episode_data import EpisodeData, read_episode, write_episode
from resfit_ros.data.formats import FORMATS, ExportOptions, ImportOptions, detected

pytest.importorskip("h5py", reason="imports and exports need h5py: pip install h5py")
pytest.importorskip("pyarrow", reason="imports and exports need pyarrow: pip install pyarrow")

every_format = pytest.mark.parametrize("kind", FORMATS)


def round_trip(tmp_path, kind, bags, said=None, **options) -> list[tuple[EpisodeData, BagAbout]]:
    notes = [] if said is None else said
    out = tmp_path / "dataset"
    assert FORMATS[kind].write(bags, out, ExportOptions(**options), notes.append) == len(bags)
    found = list(FORMATS[kind].read(out, ImportOptions(), notes.append))
    if said is None:
        assert notes == []
    return found


@every_format
@pytest.mark.parametrize("cameras", [0, 2])
def test_when_bags_go_there_and_back_expect_every_array_as_it_was(tmp_path, kind, cameras):
    outcomes = (Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT, Outcome.ABORTED)
    about = dataclasses.replace(ABOUT, **({} if cameras else {"camera_names": (), "image_size": ()}))
    wanted = [episode(2 + i, cameras, seed=i, outcome=outcome) for i, outcome in enumerate(outcomes)]
    bags = bags_of(tmp_path / "bags", *wanted, about=about)
    found = round_trip(tmp_path, kind, bags)
    assert len(found) == 4
    for (data, said), expected in zip(found, wanted, strict=True):
        assert_same(data, expected)
        assert said == about
    again = write_episode(tmp_path / "again", 1, *found[0])
    assert_same(read_episode(again), read_episode(bags[0]))
    assert read_about(again) == about


def any_bits(rng, *shape):
    """Finite numbers of every kind: tiny, huge, denormal, both zeros."""
    values = rng.integers(0, 2**32, shape, np.uint32).view(np.float32)
    values.flat[:2] = (-0.0, 1e-45)[: values.size]
    return np.where(np.isfinite(values), values, np.float32(-0.0))


@every_format
@pytest.mark.parametrize(("steps", "joints", "state"), [(1, 1, 1), (40, 2, 3)])
def test_when_values_are_any_expect_the_same_bits(tmp_path, kind, steps, joints, state):
    rng = np.random.default_rng(steps)
    wanted = episode(
        steps,
        0,
        states=any_bits(rng, steps + 1, state),
        bases=any_bits(rng, steps + 1, joints),
        actions=any_bits(rng, steps, joints),
        phases=any_bits(rng, steps + 1),
    )
    about = BagAbout(control_hz=7.0)
    ((found, said),) = round_trip(tmp_path, kind, bags_of(tmp_path / "bags", wanted, about=about))
    assert_same(found, wanted)
    assert said == about


@every_format
def test_when_a_step_is_missing_expect_it_missing(tmp_path, kind):
    missing = np.array([False, True, True, False, False])
    bags = bags_of(tmp_path / "bags", episode(missing=missing, tainted=None, interventions=None))
    ((found, _),) = round_trip(tmp_path, kind, bags)
    assert_same(found, read_episode(bags[0]))
    np.testing.assert_array_equal(found.missing, missing)


@every_format
def test_when_bags_do_not_say_their_rate_expect_it_from_their_stamps(tmp_path, kind):
    stamps = 10**18 + np.arange(6) * 100_000_000
    said = []
    bags = bags_of(tmp_path / "bags", episode(cameras=0, stamps_ns=stamps), about=BagAbout())
    ((found, about),) = round_trip(tmp_path, kind, bags, said)
    assert about.control_hz == 10.0
    assert "by their stamps it is 10" in said[0]


@every_format
def test_when_written_expect_its_format_detected(tmp_path, kind):
    FORMATS[kind].write(bags_of(tmp_path / "bags", episode()), tmp_path / "out", ExportOptions(), print)
    assert detected(tmp_path / "out").name == kind


@every_format
def test_when_output_exists_expect_it_refused_and_left_alone(tmp_path, kind):
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(DataError, match="exists already"):
        FORMATS[kind].write(bags_of(tmp_path / "bags", episode()), out, ExportOptions(), print)
    assert list(out.iterdir()) == []


@every_format
def test_when_no_bag_is_usable_expect_nothing_written(tmp_path, kind):
    (bag,) = bags_of(tmp_path / "bags", episode())
    (bag / "metadata.yaml").unlink()
    said = []
    with pytest.raises(DataError, match="none of the 1 bags can be used"):
        FORMATS[kind].write([bag], tmp_path / "out", ExportOptions(), said.append)
    assert "metadata.yaml" in said[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bags"]


@every_format
def test_when_a_bag_is_of_another_robot_expect_it_left_out_and_named(tmp_path, kind):
    bags = bags_of(tmp_path / "bags", episode(), episode(seed=1))
    other = dataclasses.replace(ABOUT, joint_names=("shoulder", "wrist"))
    bags += bags_of(tmp_path / "other", episode(seed=2), about=other)
    said = []
    assert FORMATS[kind].write(bags, tmp_path / "out", ExportOptions(), said.append) == 2
    assert len(said) == 1 and str(bags[2]) in said[0]
    assert "'wrist' at place 1, expected 'elbow'" in said[0]


@every_format
def test_when_writing_fails_expect_nothing_left(tmp_path, kind, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    bags = bags_of(tmp_path / "bags", episode())
    path = "robomimic._write_demo" if kind == "robomimic" else "lerobot_side_file.write"
    monkeypatch.setattr(f"resfit_ros.data.formats.{path}", fail)
    with pytest.raises(DataError, match="No space left on device"):
        FORMATS[kind].write(bags, tmp_path / "out", ExportOptions(), print)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bags"]


@pytest.mark.parametrize("kind", ["lerobot-v2.1", "lerobot-v3"])
@pytest.mark.parametrize("codec", ["libx264rgb", "ffv1"])
def test_when_video_is_lossless_expect_the_same_pictures(tmp_path, kind, codec):
    pytest.importorskip("av", reason="videos need PyAV: pip install av")
    wanted = [episode(4, seed=0), episode(6, seed=1)]
    found = round_trip(tmp_path, kind, bags_of(tmp_path / "bags", *wanted), video=codec)
    for (data, _), expected in zip(found, wanted, strict=True):
        assert_same(data, expected)


@pytest.mark.parametrize("kind", ["lerobot-v2.1", "lerobot-v3"])
@pytest.mark.parametrize("codec", ["libx264", "libsvtav1"])
def test_when_video_is_lossy_expect_pictures_close_and_the_rest_as_it_was(tmp_path, kind, codec):
    pytest.importorskip("av", reason="videos need PyAV: pip install av")
    ramp = np.linspace(0, 200, 64 * 64).reshape(64, 64)
    pictures = np.repeat(np.stack([ramp + 4 * k for k in range(7)])[..., None], 3, axis=-1).astype(np.uint8)
    wanted = [episode(6, seed=i, images=(pictures,)) for i in range(3)]
    about = dataclasses.replace(ABOUT, camera_names=("wrist",), image_size=(64, 64))
    found = round_trip(tmp_path, kind, bags_of(tmp_path / "bags", *wanted, about=about), video=codec)
    for (data, _), expected in zip(found, wanted, strict=True):
        assert_same(data, expected, pictures=False)
        error = np.abs(data.images[0].astype(int) - pictures)
        assert error.mean() < 3.0  # and frame k is picture k: neighbours differ by 4
        np.testing.assert_array_equal(data.images[0][-1], pictures[-1])  # kept as PNG


def test_when_file_size_is_small_expect_several_files_and_the_same_episodes(tmp_path):
    wanted = [episode(4, seed=i) for i in range(3)]
    bags = bags_of(tmp_path / "bags", *wanted)
    found = round_trip(tmp_path, "lerobot-v3", bags, file_mb=0.0001)
    assert len(list((tmp_path / "dataset" / "data").rglob("*.parquet"))) == 3
    for (data, _), expected in zip(found, wanted, strict=True):
        assert_same(data, expected)


def test_when_video_files_are_small_expect_one_per_episode_and_camera(tmp_path):
    pytest.importorskip("av", reason="videos need PyAV: pip install av")
    wanted = [episode(4, seed=i) for i in range(3)]
    bags = bags_of(tmp_path / "bags", *wanted)
    found = round_trip(tmp_path, "lerobot-v3", bags, video="ffv1", file_mb=0.0001)
    assert len(list((tmp_path / "dataset" / "videos").rglob("*.mp4"))) == 6
    for (data, _), expected in zip(found, wanted, strict=True):
        assert_same(data, expected)


def test_when_video_cannot_hold_the_pictures_expect_it_said_and_nothing_written(tmp_path):
    pytest.importorskip("av", reason="videos need PyAV: pip install av")
    pictures = np.zeros((6, 7, 9, 3), np.uint8)
    about = dataclasses.replace(ABOUT, camera_names=("wrist",), image_size=(9, 7))
    bags = bags_of(tmp_path / "bags", episode(images=(pictures,)), about=about)
    with pytest.raises(ConfigError, match="libx264 needs an even width and height, pictures are 9 x 7 px"):
        FORMATS["lerobot-v3"].write(bags, tmp_path / "out", ExportOptions(video="libx264"), print)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bags"]
