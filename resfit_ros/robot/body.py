"""Judges poses of the whole robot: links that come too near each other, or leave the workspace."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from resfit_ros.core.errors import ConfigError, ShapeError
from resfit_ros.core.safety_settings import Verdict
from resfit_ros.core.types import Float64, Reason
from resfit_ros.robot.body_pose import BodyPose
from resfit_ros.robot.collision_geometry import CollisionGeometry, IgnoredPair, refuse_unknown_pairs
from resfit_ros.robot.urdf import parse_urdf
from resfit_ros.robot.workspace import Workspace

NOISE_M = 1e-6  # of computed distances
MOST_NAMED = 3
CLEAR = Verdict()


@dataclass(frozen=True)
class _Violation:
    reason: Reason
    key: tuple[int, ...]  # a pair of bodies, or a link and a side of the box
    clearance: float  # negative [m]


class BodyGuard:
    """Self-collision and workspace of a robot description.

    joint_names: the controlled joints, in the order of positions (A,). fixed_positions: those of other
    joints [rad or m]; where not given they stay at zero, or the limit nearest to it. min_distance_m: least
    distance between links [m]. ignored_pairs: links that may touch. workspace: least x, y, z, then greatest
    x, y, z in the base frame [m], for the origins of workspace_links (empty: all that can move).
    package_dirs: folders that package:// names of meshes are looked up in. rest_position: (A,) where links
    that are near each other are meant to be (None: zero, within limits).

    Raises ConfigError naming the joint, link, pair or file, and what to do.
    """

    def __init__(
        self,
        urdf_text: str,
        joint_names: Sequence[str],
        fixed_positions: Mapping[str, float] | None = None,
        self_collision: bool = True,
        min_distance_m: float = 0.01,
        ignored_pairs: Iterable[tuple[str, str]] = (),
        workspace: Sequence[float] | None = None,
        workspace_links: Sequence[str] = (),
        package_dirs: Sequence[str] = (),
        rest_position: Float64 | None = None,
        source: str = "/robot_description",
    ) -> None:
        if not 0.0 <= min_distance_m < math.inf:
            raise ConfigError(f"collision_margin {min_distance_m:g} must be finite and not negative")
        urdf, root = parse_urdf(urdf_text, source), ElementTree.fromstring(urdf_text.lstrip())
        links = [link.get("name", "") for link in root.findall("link")]
        ignored_pairs = tuple(ignored_pairs)
        refuse_unknown_pairs(ignored_pairs, links, source)
        self._pose = BodyPose(urdf, root, joint_names, fixed_positions or {})
        self._box: Workspace | None = None
        if workspace is not None:
            self._box = Workspace(self._pose, workspace, workspace_links, links, source)
        self._geometry: CollisionGeometry | None = None
        if self_collision:
            rest = self._pose.rest if rest_position is None else rest_position
            self._geometry = CollisionGeometry(
                self._pose, root, source, min_distance_m, ignored_pairs, package_dirs, rest
            )

    @property
    def ignored(self) -> tuple[IgnoredPair, ...]:
        """Pairs of links that are not kept apart although they can move, and why; to be logged."""
        return () if self._geometry is None else self._geometry.ignored

    @property
    def watched(self) -> tuple[tuple[str, str], ...]:
        """Pairs of links that are kept apart, each and all in alphabetical order."""
        pairs = [] if self._geometry is None else self._geometry.pairs
        return tuple(sorted({tuple(sorted(pair)) for pair in pairs}))

    def check(self, position: Float64, previous: Float64 | None = None) -> Verdict:
        """Judges `position` (A,), coming from `previous` (A,).

        From a pose that breaks the same rules already, a move passes when it gains clearance somewhere and
        loses it nowhere. Raises ShapeError when either is not finite or of another size.
        """
        found = self._violations(self._pose.configuration(position))
        if not found:
            return CLEAR
        hint = ""
        if previous is not None:
            before = self._clearances(self._pose.configuration(previous), found)
            gained = [v.clearance - b for v, b in zip(found, before, strict=True)]
            already = [b < 0.0 for b in before]
            if all(already) and min(gained) >= -NOISE_M and max(gained) > NOISE_M:
                return CLEAR
            hint = "; only a move away passes" if all(already) else ""
        reasons = Reason.NONE
        for violation in found:
            reasons |= violation.reason
        return Verdict(reasons, self._words(found) + hint)

    def check_path(self, start: Float64, end: Float64, points: int) -> Verdict:
        """The first objection to the straight way, `points` poses evenly spaced up to `end`, both (A,).

        Raises ShapeError when there is no point.
        """
        if points < 1:
            raise ShapeError(f"check_path: expected at least one point, got {points}")
        start, end = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        previous = start
        for part in np.arange(1, points + 1) / points:
            position = start + part * (end - start)
            verdict = self.check(position, previous)
            if verdict.reasons:
                return verdict
            previous = position
        return CLEAR

    def _violations(self, q: Float64) -> list[_Violation]:
        found = []
        if self._geometry is not None:
            touching = self._geometry.touching(q)
            if touching:
                near = self._geometry.clearances(q, touching)
                found += [_Violation(Reason.COLLISION, (k,), c) for k, c in near.items()]
        if self._box is not None:
            room = self._box.room(q)
            if room.min() < 0.0:
                outside = np.argwhere(room < 0.0).tolist()
                found += [_Violation(Reason.WORKSPACE, (i, j), float(room[i, j])) for i, j in outside]
        return found

    def _clearances(self, q: Float64, found: list[_Violation]) -> list[float]:
        """What the violations' clearances are at another q (nq,)."""
        pairs = [v.key[0] for v in found if v.reason is Reason.COLLISION]
        near = self._geometry.clearances(q, pairs) if self._geometry is not None and pairs else {}
        room = self._box.room(q) if self._box is not None and len(pairs) < len(found) else None
        return [near[v.key[0]] if v.reason is Reason.COLLISION else float(room[v.key]) for v in found]

    def _words(self, found: list[_Violation]) -> str:
        worst = sorted(found, key=lambda v: v.clearance)
        words = [self._word(v) for v in worst[:MOST_NAMED]]
        more = f" and {len(worst) - MOST_NAMED} more" if len(worst) > MOST_NAMED else ""
        return "; ".join(words) + more

    def _word(self, violation: _Violation) -> str:
        if violation.reason is Reason.WORKSPACE:
            return self._box.words(*violation.key, violation.clearance)
        first, second = self._geometry.pairs[violation.key[0]]
        least = self._geometry.min_distance_m
        distance = violation.clearance + least
        far = f"{distance * 1e3:.1f} mm apart" if distance >= 0.0 else f"overlap by {-distance * 1e3:.1f} mm"
        return f"links '{first}' and '{second}' {far} (at least {least * 1e3:g} mm)"
