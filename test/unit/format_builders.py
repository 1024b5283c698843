"""Episodes, bags and comparisons for the tests of data formats."""

from pathlib import Path

import numpy as np

from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_data import EpisodeData, write_episode

ARRAYS = ("states", "bases", "actions", "stamps_ns", "phases", "interventions", "tainted", "missing")
JOINTS = ("shoulder", "elbow")
ABOUT = BagAbout(
    joint_names=JOINTS,
    state=("joint_positions", "array/force/1"),
    camera_names=("wrist", "above"),
    image_size=(12, 8),
    control_hz=20.0,
    base_policy_sha256="ab" * 32,
    source="robot",
    versions={"resfit_ros": "0.1.0"},
)


def episode(
    steps: int = 5, cameras: int = 2, joints: int = 2, state: int = 3, seed: int = 0, **changes
) -> EpisodeData:
    rng = np.random.default_rng(seed)
    values = dict(
        states=rng.normal(size=(steps + 1, state)).astype(np.float32),
        bases=rng.normal(size=(steps + 1, joints)).astype(np.float32),
        actions=rng.normal(size=(steps, joints)).astype(np.float32),
        phases=rng.uniform(size=steps + 1).astype(np.float32),
        stamps_ns=10**18
        + seed * 10**12
        + np.arange(steps + 1) * 50_000_000
        + rng.integers(0, 10**6, steps + 1),
        images=tuple(rng.integers(0, 255, (steps + 1, 8, 12, 3), np.uint8) for _ in range(cameras)),
        interventions=np.arange(steps) == 2,
        tainted=np.arange(steps) == 1,
        outcome=Outcome.SUCCESS,
        scene_seed=17 + seed,
        labelled_by="button",
    )
    return EpisodeData(**{**values, **changes})


def bags_of(directory: Path, *episodes: EpisodeData, about: BagAbout = ABOUT) -> list[Path]:
    return [write_episode(directory, 1 + i, data, about) for i, data in enumerate(episodes)]


def assert_same(found: EpisodeData, wanted: EpisodeData, pictures: bool = True) -> None:
    for name in ARRAYS:
        a, b = getattr(found, name), getattr(wanted, name)
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)
        assert a.tobytes() == b.tobytes(), name  # 0.0 and -0.0 are equal, their bits are not
    assert len(found.images) == len(wanted.images)
    for camera, expected in zip(found.images, wanted.images, strict=True):
        assert camera.shape == expected.shape
        if pictures:
            np.testing.assert_array_equal(camera, expected)
    rest = ("outcome", "scene_seed", "labelled_by")
    assert [getattr(found, n) for n in rest] == [getattr(wanted, n) for n in rest]
