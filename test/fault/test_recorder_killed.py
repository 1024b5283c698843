"""Recorder killed, power cut, full disk: every episode whose end was recorded is there."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from builders import identity_normaliser
from killed_recorder import ABOUT, messages, record, serialised
from small_disk import SmallDisk
from soak import count

from resfit_ros.core.errors import DataError
from resfit_ros.core.transitions import AssembledEpisode, TransitionAssembler
from resfit_ros.core.types import EpisodeEnded
from resfit_ros.data.bag_about import custom_data
from resfit_ros.data.bag_directory import bag_paths_by_id
from resfit_ros.data.episode_bag import UNFINISHED, EpisodeBag, bag_name
from resfit_ros.data.mcap_scan import RawMessages
from resfit_ros.data.recover_bags import recover
from resfit_ros.data.run_bags import RunBags
from resfit_ros.learning.replay import ReplayBuffer

HERE = Path(__file__).parent


@pytest.fixture
def memory() -> Iterator[Path]:
    """In memory where that can be: a kill takes nothing from the page cache, and no disk is waited for."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as directory:
        yield Path(directory)


def killed_recorders(directory: Path, kills: int) -> list[dict]:
    """What each child of `killed_recorder.py` had said."""
    paths = [str(HERE.parents[1]), str(HERE.parent / "unit")]
    command = [sys.executable, str(HERE / "killed_recorder.py"), str(directory), str(kills)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    output = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def raw(bag: Path) -> list[bytes]:
    """Messages of a bag, and that nothing of it is damaged."""
    (file,) = bag.glob("*.mcap")
    read = RawMessages(file)
    found = [message.data for message in read]
    assert not read.damage
    return found


def given(episode_id: int) -> list[bytes]:
    return [data for _, data in serialised(episode_id)]


def end_of(episode_id: int) -> int:
    """How many messages there are up to the end of the episode."""
    return next(n for n, value in enumerate(messages(episode_id), 1) if isinstance(value, EpisodeEnded))


def replay_of(episodes: list[AssembledEpisode]) -> ReplayBuffer:
    buffer = ReplayBuffer(10_000, identity_normaliser(3, 2), ((20, 30, 3),))
    for episode in episodes:
        for segment in episode.segments:
            buffer.add(segment)
    return buffer


def arrays(buffer: ReplayBuffer) -> list[np.ndarray]:
    """All that a replay buffer holds."""
    parts = [part if isinstance(part, list | tuple) else [part] for part in buffer._observation]
    observation = [array for part in parts for array in part]
    rest = [buffer._action, buffer._reward, buffer._steps_left, buffer._terminal]
    return [a for a in (*observation, *rest) if a is not None]


def test_when_killed_at_any_moment_expect_every_ended_episode_bit_for_bit_and_the_same_replay(
    memory, measured
):
    found = killed_recorders(memory, count(500, 110))
    assert all(f["killed"] for f in found)
    recover(memory)
    kept = {int(i): n for f in found for i, n in f["kept"].items()}
    bags, heard = bag_paths_by_id(memory), []
    assert set(kept) <= set(bags)
    for episode_id, path in sorted(bags.items()):
        read = raw(path)
        assert read == given(episode_id)[: len(read)]
        assert len(read) >= max(kept.get(episode_id, 0), end_of(episode_id))
        assert custom_data(path)["resfit.joint_names"] == ABOUT["resfit.joint_names"]
        assembler = TransitionAssembler(2)
        for value in messages(episode_id)[: len(read)]:
            heard += assembler.add(value)
        heard += assembler.flush()
    for left in memory.glob(f"{UNFINISHED}/episode_*"):
        for file in left.glob("*.mcap"):
            prefix = [message.data for message in RawMessages(file)]
            episode_id = int(left.name.split("_")[1].split("-")[0])
            assert prefix == given(episode_id)[: len(prefix)]
    live, rebuilt = replay_of(heard), replay_of(list(RunBags(memory, 2, 3, pytest.fail).all()))
    assert len(live) == len(rebuilt) > 0
    for ours, theirs in zip(arrays(live), arrays(rebuilt), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    recovered = sum("resfit.recovered" in custom_data(path) for path in bags.values())
    measured(
        21,
        f"recorder: {len(found)} kills, {len(kept)} episodes whose end was recorded, {recovered} of them not "
        f"closed: all there bit for bit; replay of {len(rebuilt)} transitions the same",
    )


def synced_bag(directory: Path, episode_id: int) -> tuple[Path, int]:
    """An unfinished bag whose end was recorded, and how many bytes of it were then on the disk."""
    bag, size = EpisodeBag(directory, episode_id, "/resfit", ABOUT), 0
    (file,) = bag.partial.glob("*.mcap")
    for number, value in enumerate(messages(episode_id)):
        topic, data = serialised(episode_id)[number]
        bag.write(topic, number, data)
        if isinstance(value, EpisodeEnded):
            bag.sync()
            size = file.stat().st_size
    bag._writer.close()  # its summary is on its way to the disk when the power is cut
    bag._release()
    return bag.partial, size


@pytest.mark.parametrize("lost", ["cut off", "zeros"])
def test_when_the_power_is_cut_expect_synced_episodes_whole_and_of_others_an_unaltered_beginning(
    memory, measured, lost
):
    episode_id, times = 27, count(2000, 110)
    original, synced = synced_bag(memory / "original", episode_id)
    expected, rng, whole = given(episode_id), np.random.default_rng(0), 0
    for i in range(times):
        directory = memory / "run"
        left = Path(shutil.copytree(original, directory / UNFINISHED / original.name))
        (file,) = left.glob("*.mcap")
        size = file.stat().st_size
        at = int(rng.integers(synced if i % 2 else 0, size))
        os.truncate(file, at)
        if lost == "zeros":
            os.truncate(file, size)
        (result,) = recover(directory)
        if at >= synced:
            assert result.is_whole
            assert raw(result.path)[: end_of(episode_id)] == expected[: end_of(episode_id)]
        if result.is_whole:
            whole += 1
            read = raw(result.path)
            assert not list((directory / UNFINISHED).iterdir())
        else:
            assert not (directory / bag_name(episode_id)).exists()
            read = [message.data for message in RawMessages(file)]
        assert read == expected[: len(read)]
        shutil.rmtree(directory)
    figure = f"{times} places, {whole} of them after the end: all of those whole"
    measured(21, f"power cut, the rest {lost}: {figure}")


@pytest.fixture
def disk(tmp_path):
    mounted = SmallDisk(tmp_path / "disk", 2)
    yield mounted
    mounted.unmount()


def test_when_the_disk_fills_up_expect_every_ended_episode_whole_and_nothing_else_called_so(disk, measured):
    bags, kept, refused = disk.path / "bags", {}, 0

    def keep(text: str) -> None:
        _, episode_id, number = text.split()
        kept[int(episode_id)] = int(number)

    for episode_id in range(1, 60):
        try:
            record(bags, episode_id, keep)
        except DataError:
            refused += 1
    (disk.path / "bags" / bag_name(1)).rename(disk.path / "gone")
    shutil.rmtree(disk.path / "gone")  # somebody frees some space
    del kept[1]
    results = recover(bags)
    found = bag_paths_by_id(bags)
    assert refused > 10 and len(found) > 5
    assert set(found) == set(kept)
    for episode_id, path in found.items():
        assert raw(path)[: kept[episode_id]] == given(episode_id)[: kept[episode_id]]
    assert all(r.path.parent.name == UNFINISHED for r in results if not r.is_whole)
    measured(21, f"full disk: {len(found)} episodes whose end was recorded all whole, {refused} refused")


def test_when_the_disk_is_full_at_recovery_expect_it_made_up_for_later(disk):
    bags = disk.path / "bags"
    left, _ = synced_bag(bags, 20)
    before = {file.name: file.read_bytes() for file in left.iterdir()}
    with disk.full():
        (result,) = recover(bags)
        assert "not recovered yet" in result.note and "free some disk space" in result.note
        assert [p.name for p in (bags / UNFINISHED).iterdir()] == [left.name]
        assert {file.name: file.read_bytes() for file in left.iterdir()} == before
    (result,) = recover(bags)
    assert result.is_whole and raw(result.path) == given(20)
