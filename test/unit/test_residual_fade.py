"""A correction that is not finite any more is faded out."""

import dataclasses

import numpy as np
import pytest

from resfit_ros.core.acting import base_action
from resfit_ros.core.residual import ResidualFade
from resfit_ros.core.types import Mode, Observation

BASE = np.array([0.5, -0.5], np.float32)
ALONE = base_action(Observation(7, 1, 3, np.zeros(2, np.float32)), BASE, 0.25, "r")
GOOD = dataclasses.replace(ALONE, residual=np.float32([0.08, -0.04]), mode=Mode.RESIDUAL)


def test_when_the_residual_fails_expect_it_gone_after_the_fade_time_and_each_action_tainted():
    fade = ResidualFade(0.2, 0.05)
    fade.keep(GOOD)
    given = [fade.without(ALONE) for _ in range(5)]
    np.testing.assert_allclose([a.residual[0] for a in given], [0.06, 0.04, 0.02, 0.0, 0.0], atol=1e-7)
    assert all(a.tainted for a in given)
    assert given[-1].command.tobytes() == BASE.tobytes()
    assert fade.failures == 5


def test_when_the_residual_is_good_again_expect_the_fade_to_begin_anew():
    fade = ResidualFade(0.2, 0.05)
    fade.keep(GOOD)
    fade.without(ALONE)
    fade.keep(GOOD)
    assert fade.without(ALONE).residual[0] == pytest.approx(0.06)


@pytest.mark.parametrize("fade_s", [0.0, 0.2])
def test_when_nothing_is_left_or_was_there_expect_the_base_action_alone(fade_s):
    fade = ResidualFade(fade_s, 0.05)
    if not fade_s:
        fade.keep(GOOD)
    action = fade.without(ALONE)
    assert (action.command.tobytes(), action.tainted, action.mode) == (BASE.tobytes(), True, Mode.BASE)
