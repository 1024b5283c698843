"""What a robot's configuration says and what is wrong with it, before anything is started."""

from dataclasses import dataclass, field
from typing import Any

from resfit_ros.core.parameters import AggregatorParameters
from resfit_ros.core.safety_parameters import SafetyParameters
from resfit_ros.robot.interfaces import FROM_TOPIC, Interface
from resfit_ros.robot.limits import LIMITS, MergedLimits, merge_limits
from resfit_ros.robot.urdf import Urdf

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `advice` says what to do, where it is not OK."""

    level: str  # OK, WARNING or PROBLEM
    item: str
    found: str
    advice: str = ""


@dataclass(frozen=True)
class RobotReport:
    """A robot file, read: what `resfit check-robot` shows."""

    file: str
    timing: str
    control_hz: float
    limits: MergedLimits
    cameras: tuple[str, ...]
    image_size: tuple[int, int]  # width, height [px]
    state: tuple[tuple[str, int], ...]  # block, length
    interfaces: tuple[Interface, ...]
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing needed is wrong or missing."""
        return all(f.level != PROBLEM for f in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = zip(self.limits.joint_names, *(self.limits.values[n] for n in LIMITS), strict=True)
        return {
            "file": self.file,
            "ok": self.ok,
            "timing": self.timing,
            "control_hz": self.control_hz,
            "limits_from": dict(self.limits.sources),
            "joints": [
                dict(zip(("name", *LIMITS), row, strict=True)) | {"unit": unit}
                for row, unit in zip(rows, self.limits.units, strict=True)
            ],
            "cameras": list(self.cameras),
            "image_size": list(self.image_size),
            "state": dict(self.state),
            "state_size": sum(size for _, size in self.state),
            "interfaces": [
                {k: getattr(i, k) for k in ("what", "source", "robot", "name", "type", "needed")}
                for i in self.interfaces
            ],
            "findings": [vars(f) for f in self.findings],
        }


def check_robot(
    file: str,
    aggregator: AggregatorParameters,
    safety: SafetyParameters,
    interfaces: tuple[Interface, ...],
    urdf: Urdf | None,
) -> RobotReport:
    """Everything that can be said without the robot. urdf: None where there is none, or none yet."""
    layout = aggregator.layout
    slices = [layout.slice_of(block) for block in layout.blocks]
    report = RobotReport(
        file=file,
        timing=safety.timing,
        control_hz=safety.control_hz,
        limits=limits_with(safety, urdf),
        cameras=aggregator.camera_names,
        image_size=(aggregator.image_width, aggregator.image_height),
        state=tuple((b, s.stop - s.start) for b, s in zip(layout.blocks, slices, strict=True)),
        interfaces=interfaces,
    )
    waits_for_topic = urdf is None and safety.urdf == FROM_TOPIC
    if waits_for_topic:
        report.findings.append(
            Finding(
                WARNING, "limits", "urdf is 'topic': the limits are known when the robot runs",
                "check them with --live, or with --urdf FILE",
            )  # fmt: skip
        )
    else:
        report.findings.extend(limit_findings(report.limits))
    report.findings.extend(_settings(aggregator, safety))
    return report


def limits_with(safety: SafetyParameters, urdf: Urdf | None) -> MergedLimits:
    """The configured limits beside those of `urdf`."""
    return merge_limits(safety.joint_names, *(getattr(safety, name) for name in LIMITS), urdf)


def limit_findings(limits: MergedLimits) -> list[Finding]:
    """One problem per wrong or missing limit; its advice is part of the sentence."""
    return [Finding(PROBLEM, "limits", problem) for problem in limits.problems]


def _settings(aggregator: AggregatorParameters, safety: SafetyParameters) -> list[Finding]:
    """Settings that are valid, but rarely meant so on a robot."""
    period, age = 1.0 / safety.control_hz, aggregator.max_source_age_s
    if safety.lockstep or age >= period:
        return []
    found = f"max_source_age_s {age:g} is shorter than a control period, {period:g} s"
    advice = "a source that publishes at control_hz is then too old most of the time"
    return [Finding(WARNING, "aggregator", found, advice)]
