"""What learning takes from the base policy: scaling, identity, labelled demonstrations."""

import json

import numpy as np
import pytest
from test_read_bags import messages, record

from resfit_ros.core.errors import ConfigError, MismatchError
from resfit_ros.core.parameters import LearnerParameters
from resfit_ros.data.base_of_run import BaseOfRun, base_of, demonstrations_of, policy_of_run
from resfit_ros.policies.identity import RECORD, controller_identity
from resfit_ros.policies.scaling import NORMALISER

CLASSES = """
import numpy as np
from resfit_ros.policies.protocol import PolicySpec

class Halves:
    def __init__(self, robot, name="halves"):
        self.spec = PolicySpec(name, robot.action_dim, 4, identity=name * 4, config={"kind": "python"})

    def reset(self, episode_id):
        pass

    def infer(self, observation):
        return np.full((4, 2), 0.5)
"""


@pytest.fixture
def parameters(tmp_path, monkeypatch):
    (tmp_path / "halves_policy.py").write_text(CLASSES)
    monkeypatch.syspath_prepend(tmp_path)
    record(tmp_path / "demos", messages(1))

    def make(**changes) -> LearnerParameters:
        values = dict(
            joint_names=("a", "b"),
            state=("joint_positions",),
            run_dir=str(tmp_path / "run"),
            demo_dir=str(tmp_path / "demos"),
            policy="python:halves_policy:Halves",
            execute_steps=4,
        )
        return LearnerParameters(**(values | changes))

    return make


@pytest.fixture(autouse=True)
def states_of_three(monkeypatch):
    """The recorded states have three numbers, the layout of two joints only two."""
    monkeypatch.setattr(LearnerParameters, "layout", type("Layout", (), {"size": 3, "blocks": (), "poses": ()})())


def prepare(p: LearnerParameters) -> BaseOfRun:
    """As the learner does."""
    with policy_of_run(p) as policy:
        return base_of(p, policy, demonstrations_of(p))


def test_when_a_policy_from_elsewhere_is_used_expect_scaling_and_record_in_the_run(parameters, tmp_path):
    base = prepare(parameters())
    assert base.sha256 == "halves" * 4
    assert json.loads((tmp_path / "run" / RECORD).read_text())["config"] == {"kind": "python"}
    assert (tmp_path / "run" / NORMALISER).is_file()


def test_when_a_policy_is_used_expect_the_demonstrations_labelled_by_it(parameters):
    (segment,) = prepare(parameters()).demonstrations
    np.testing.assert_array_equal(segment.bases, np.full_like(segment.bases, 0.5))


def test_when_a_controller_is_the_base_policy_expect_recorded_base_actions_kept(parameters):
    base = prepare(parameters(policy="", base_source="topic", base_name="mpc 2"))
    (segment,) = base.demonstrations
    assert not np.all(segment.bases == 0.5)
    assert base.sha256 == controller_identity("mpc 2")


def test_when_a_run_is_resumed_with_another_policy_expect_both_named(parameters, tmp_path):
    prepare(parameters())
    (tmp_path / "other.yaml").write_text("{kind: python, location: 'halves_policy:Halves', name: thirds}")
    with pytest.raises(MismatchError, match="'halves'.*'thirds'"):
        prepare(parameters(policy=str(tmp_path / "other.yaml")))


def test_when_there_is_neither_scaling_nor_demonstration_expect_what_to_give(parameters):
    with pytest.raises(ConfigError, match="give demonstrations"):
        prepare(parameters(demo_dir=""))
