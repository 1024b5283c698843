"""Values of launch arguments."""

from pathlib import Path

import pytest

from resfit_ros.core.errors import ConfigError
from resfit_ros.launching import AUTO, NONE, Values


def beside(given: str, policy: str) -> Path | None:
    return Values("deploy", {"checkpoint": given}).beside_policy("checkpoint", "checkpoints", policy)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A current directory with the checkpoints of some run, and a run elsewhere."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "run" / "base_policy").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_when_the_policy_is_of_a_run_expect_what_lies_beside_it(here):
    assert beside(AUTO, str(here / "run" / "base_policy")) == here / "run" / "checkpoints"


@pytest.mark.parametrize("policy", ["", "ws://gpu:8000", "lerobot:/models/act"])
def test_when_the_policy_is_of_no_run_expect_nothing_taken_from_the_current_directory(here, policy):
    assert beside(AUTO, policy) is None


def test_when_a_directory_is_given_expect_it_with_any_policy(here):
    assert beside("checkpoints", "") == here / "checkpoints"
    assert beside(NONE, str(here / "run" / "base_policy")) is None


def test_when_a_directory_is_not_there_expect_what_to_give(here):
    with pytest.raises(ConfigError, match="checkpoint:=bags: no such directory; give another, or checkpoint:=none"):
        beside("bags", "")
