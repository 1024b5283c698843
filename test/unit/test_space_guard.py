"""Room on the disk before an episode is begun."""

from collections import namedtuple

import pytest

from resfit_ros.data.space_guard import SpaceGuard

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def free(monkeypatch):
    """Sets what is free [MB]."""

    def set_free(megabytes: float) -> None:
        usage = Usage(10**12, 0, round(megabytes * 1e6))
        monkeypatch.setattr("resfit_ros.data.space_guard.shutil.disk_usage", lambda _: usage)

    return set_free


def test_when_there_is_room_expect_nothing_said(tmp_path, free):
    free(500)
    assert SpaceGuard(tmp_path, 500).lack() == ""


def test_when_there_is_too_little_expect_both_figures_and_the_directory(tmp_path, free):
    free(123.4)
    lack = SpaceGuard(tmp_path, 500).lack()
    assert "123 MB free" in lack and "500 MB of min_free_mb" in lack and str(tmp_path) in lack


def test_when_nothing_is_asked_for_expect_nothing_said(tmp_path, free):
    free(0)
    assert SpaceGuard(tmp_path, 0).lack() == ""


def test_when_the_disk_is_gone_expect_it_said(tmp_path):
    assert "still mounted" in SpaceGuard(tmp_path / "gone", 1).lack()
