"""The base policy as a run learns on top of it: its scaling, its identity, and demonstrations it has labelled."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resfit_ros.core.learning_config import BCConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.parameter_groups import TOPIC
from resfit_ros.core.parameters import LearnerParameters
from resfit_ros.core.types import Segment
from resfit_ros.data.demonstrations import labelled, successful_segments
from resfit_ros.data.expected import learner_about
from resfit_ros.policies.identity import controller_record, keep_record, policy_record
from resfit_ros.policies.loading import load_policy
from resfit_ros.policies.protocol import BasePolicy, Robot, close_policy
from resfit_ros.policies.reference import parse_reference
from resfit_ros.policies.scaling import scaling_for


@dataclass(frozen=True, eq=False)
class BaseOfRun:
    """What learning needs of the base policy. `record`: its name, SHA-256 and configuration, plain JSON."""

    normaliser: Normaliser
    record: Mapping[str, Any]
    demonstrations: Sequence[Segment]

    @property
    def sha256(self) -> str:
        return self.record["sha256"]


def prepare(p: LearnerParameters, on_note: Callable[[str], None] | None = None) -> BaseOfRun:
    """Loads policy and demonstrations, labels these, and settles the scaling in the run directory.

    An existing controller cannot be asked about recorded states: its demonstrations keep the base
    actions they were recorded with. on_note: takes what is wrong with a demonstration that is left out; without
    it that is raised. Raises ResfitError naming what is missing or does not fit, and
    MismatchError where the run was begun with another base policy.
    """
    run_dir = Path(p.run_dir)
    policy: BasePolicy | None = None
    if p.base_source != TOPIC:
        policy = load_policy(parse_reference(p.policy), Robot.of(p), p.chunking)
    try:
        record = controller_record(p.base_name) if policy is None else policy_record(policy.spec)
        segments = []
        if p.demo_dir:
            segments = successful_segments(
                Path(p.demo_dir), len(p.joint_names), p.layout.size, learner_about(p), on_note
            )
        floor = BCConfig().min_action_range
        normaliser = scaling_for(
            policy, run_dir, p.normaliser_path, segments, p.joint_names, p.layout.size, floor
        )
        keep_record(run_dir, record)
        demonstrations = segments if policy is None else labelled(segments, policy, p.chunking)
    finally:
        if policy is not None:
            close_policy(policy)
    return BaseOfRun(normaliser, record, demonstrations)
