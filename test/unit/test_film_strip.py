"""Frames of an episode, and the picture they are part of."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from resfit_ros.core.errors import DataError
from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_data import EpisodeData, write_episode
from resfit_ros.data.episode_plot import draw_episode
from resfit_ros.data.episode_view import Known, view_episode
from resfit_ros.data.film_strip import GAP, even_steps, film_strip
from resfit_ros.data.picture_page import WIDTH, spans

NAMES = ("shoulder", "elbow", "wrist")


def recorded(directory, steps=12, cameras=0, residual=(0.0, 0.02, -0.1), **changes):
    """A bag of an episode whose residual is the same in every step."""
    bases = np.linspace(0, [1.0, 0.5, 2.0], steps + 1).astype(np.float32)
    values = dict(
        states=np.zeros((steps + 1, 4), np.float32),
        bases=bases,
        actions=bases[:-1] + np.float32(residual),
        stamps_ns=10**18 + np.arange(steps + 1) * 50_000_000,
        images=tuple(np.full((steps + 1, 8, 12, 3), 90, np.uint8) for _ in range(cameras)),
        outcome=Outcome.SUCCESS,
    )
    about = BagAbout(joint_names=NAMES, camera_names=tuple(f"camera_{i}" for i in range(cameras)))
    return write_episode(directory, 1, EpisodeData(**{**values, **changes}), about)


@given(rows=st.integers(1, 400), frames=st.integers(1, 20))
def test_when_steps_are_chosen_expect_first_and_last_and_even_distances(rows, frames):
    steps = even_steps(rows, frames)
    assert len(steps) == min(rows, frames)
    assert steps[0] == 0
    assert frames == 1 or steps[-1] == rows - 1
    distances = np.diff(steps)
    assert len(distances) == 0 or distances.max() - distances.min() <= 1


def test_when_there_are_frames_expect_each_in_its_place_and_white_behind_the_last():
    images = np.stack([np.full((10, 20, 3), value, np.uint8) for value in (10, 200)])
    strip = film_strip(images, [0, 1], 806, frames=4)
    size = (806 - 3 * GAP) // 4
    assert strip.shape == (size // 2, 806, 3)
    assert strip[5, size // 2].tolist() == [10, 10, 10]
    assert strip[5, size + GAP + size // 2].tolist() == [200, 200, 200]
    assert strip[:, 2 * (size + GAP) :].min() == 255


def test_when_steps_are_marked_expect_their_stretches():
    assert spans(np.array([True, True, False, True])) == [(-0.5, 1.5), (2.5, 3.5)]
    assert spans(np.zeros(3, bool)) == []


def test_when_no_joint_is_named_expect_the_largest_residual_first(tmp_path):
    view = view_episode(recorded(tmp_path))
    assert [view.joint(j) for j in view.joints_to_show(8)] == ["wrist", "elbow", "shoulder"]
    assert view.joints_to_show(1) == [2]


def test_when_nothing_was_corrected_expect_the_joint_that_moved_most_first(tmp_path):
    view = view_episode(recorded(tmp_path, residual=(0, 0, 0)))
    assert not view.has_residual
    assert view.joints_to_show(2) == [2, 0]


def test_when_joints_are_named_or_numbered_expect_those(tmp_path):
    view = view_episode(recorded(tmp_path))
    assert view.joints_named(["elbow", "0"]) == [1, 0]


def test_when_a_joint_is_mistyped_expect_the_nearest_named(tmp_path):
    view = view_episode(recorded(tmp_path))
    with pytest.raises(DataError, match="did you mean 'elbow'"):
        view.joints_named(["elbwo"])


def test_when_the_configuration_is_of_another_robot_expect_the_joint_named(tmp_path):
    with pytest.raises(DataError, match="'elbow' at place 1, expected 'hip'"):
        view_episode(recorded(tmp_path), Known(joint_names=("shoulder", "hip", "wrist")))


def test_when_the_end_of_the_bag_is_lost_expect_a_view_of_what_is_left(tmp_path):
    path = recorded(tmp_path, steps=400)
    (file,) = path.glob("*.mcap")
    with file.open("rb+") as opened:
        opened.truncate(file.stat().st_size // 2)
    view = view_episode(path)
    assert 50 < len(view.data) <= 400
    assert "cut short" in view.damage


@pytest.mark.parametrize("cameras", [0, 2])
@pytest.mark.parametrize("residual", [(0.0, 0.02, -0.1), (0, 0, 0)])
def test_when_drawn_expect_a_picture_of_the_width_promised(tmp_path, cameras, residual):
    steps = np.arange(12)
    path = recorded(
        tmp_path, cameras=cameras, residual=residual, interventions=steps == 3, tainted=steps == 6, missing=steps == 9
    )
    known = Known(joint_names=NAMES, lower=np.full(3, -1.0), upper=np.full(3, 2.1), bound=np.full(3, 0.1))
    view = view_episode(path, known)
    draw_episode(view, tmp_path / "view.png", view.joints_to_show(3))
    picture = np.asarray(Image.open(tmp_path / "view.png").convert("RGB"))
    assert picture.shape[1] == WIDTH
    for colour in ("human", "tainted"):
        wanted = {"human": (240, 180, 41), "tainted": (224, 90, 78)}[colour]
        assert (picture == wanted).all(axis=2).sum() > 500, colour
    grey = (picture == 90).all(axis=2).sum()
    assert (grey > 300_000) == bool(cameras)  # two rows of eight frames of 173 x 115


def test_when_an_episode_has_one_step_expect_a_picture(tmp_path):
    view = view_episode(recorded(tmp_path, steps=1))
    draw_episode(dataclasses.replace(view, name="short"), tmp_path / "view.png", [0])
    assert (tmp_path / "view.png").stat().st_size > 1000
