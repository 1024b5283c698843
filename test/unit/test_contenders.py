"""Two actors, one of which acts; it changes between episodes only."""

from pathlib import Path

import pytest
from test_compatibility import BASE_POLICY, OTHER_POLICY, make_trainer, saved

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.learning.contenders import BASE_ALONE, Contenders

JOINTS = ("a", "b")


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    return str(saved(tmp_path, make_trainer()))


def test_when_nobody_was_chosen_expect_the_base_policy_alone(checkpoint):
    assert not Contenders((checkpoint, checkpoint), JOINTS).begin_episode().usable


def test_when_one_is_chosen_expect_it_from_the_next_episode_on_and_not_before(checkpoint):
    contenders = Contenders((BASE_ALONE, checkpoint), JOINTS)
    acting = contenders.begin_episode()
    contenders.choose(True)
    assert not acting.usable
    assert contenders.begin_episode().usable
    contenders.choose(False)
    assert not contenders.begin_episode().usable


def test_when_two_checkpoints_compete_expect_versions_that_tell_their_actions_apart(checkpoint):
    contenders = Contenders((checkpoint, checkpoint), JOINTS)
    versions = []
    for second in (False, True):
        contenders.choose(second)
        versions.append(contenders.begin_episode().schedule.version)
    assert versions == [1, 2]


def test_when_a_contender_learnt_on_another_base_policy_expect_it_said_whoever_acts(checkpoint):
    contenders = Contenders((BASE_ALONE, checkpoint), JOINTS)
    contenders.see_base_policy(BASE_POLICY)
    assert contenders.problem == ""
    contenders.see_base_policy(OTHER_POLICY)
    contenders.choose(False)
    assert "learnt on top of base policy" in contenders.problem


@pytest.mark.parametrize("paths", [(), (BASE_ALONE,), (BASE_ALONE,) * 3])
def test_when_there_are_not_two_expect_refusal(paths):
    with pytest.raises(ConfigError, match=f"expected 2 .* got {len(paths)}"):
        Contenders(paths, JOINTS)


def test_when_a_checkpoint_is_missing_expect_it_named(tmp_path):
    with pytest.raises(DataError, match="none"):
        Contenders((BASE_ALONE, str(tmp_path / "none")), JOINTS)
