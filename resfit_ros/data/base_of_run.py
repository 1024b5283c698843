"""The base policy as a run learns on top of it: its scaling, its identity, and demonstrations it has labelled."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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


@contextmanager
def policy_of_run(p: LearnerParameters) -> Iterator[BasePolicy | None]:
    """The base policy, until the block ends; None where it is an existing controller.

    That one cannot be asked about recorded states: what was recorded keeps the base actions it has.
    """
    if p.base_source == TOPIC:
        yield None
        return
    policy = load_policy(parse_reference(p.policy), Robot.of(p), p.chunking)
    try:
        yield policy
    finally:
        close_policy(policy)


def demonstrations_of(
    p: LearnerParameters, on_note: Callable[[str], None] | None = None
) -> Sequence[Segment]:
    """The successes below `demo_dir` as they were recorded; none where it is empty.

    on_note: takes what is wrong with one that is left out; without it that is raised as DataError.
    """
    if not p.demo_dir:
        return ()
    return successful_segments(
        Path(p.demo_dir), len(p.joint_names), p.layout.size, learner_about(p), on_note
    )


def base_of(
    p: LearnerParameters,
    policy: BasePolicy | None,
    demonstrations: Sequence[Segment],
    successes: Sequence[Segment] = (),
) -> BaseOfRun:
    """Labels the demonstrations, and settles the scaling in the run directory.

    successes: what a scaling that has to be fitted is fitted to, where there are no demonstrations. Raises
    ResfitError naming what is missing or does not fit, MismatchError where the run was begun with another
    base policy.
    """
    record = controller_record(p.base_name) if policy is None else policy_record(policy.spec)
    run_dir, floor = Path(p.run_dir), BCConfig().min_action_range
    fitted_to = demonstrations or successes
    normaliser = scaling_for(
        policy, run_dir, p.normaliser_path, fitted_to, p.joint_names, p.layout.size, floor
    )
    keep_record(run_dir, record)
    if policy is not None and demonstrations:
        demonstrations = labelled(demonstrations, policy, p.chunking)
    return BaseOfRun(normaliser, record, demonstrations)
