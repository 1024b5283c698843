"""Which links of a robot may touch which, from the collision geometry of its URDF."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from resfit_ros.core.errors import ConfigError, nearest
from resfit_ros.core.types import Float64
from resfit_ros.robot.body_pose import BodyPose, pinocchio

PACKAGE_SCHEMES = ("package://", "model://")


class IgnoredPair(NamedTuple):
    """Two links that are not kept apart, and why."""

    first: str
    second: str
    why: str


class CollisionGeometry:
    """Pairs of collision bodies whose distance changes with the controlled joints.

    Left out, and listed in `ignored`: links joined by one joint, configured pairs, pairs nearer than
    min_distance_m [m] at rest_position (A,). A mesh counts as its convex hull.
    Raises ConfigError on meshes that are not there and where nothing is left to watch.
    """

    def __init__(
        self,
        pose: BodyPose,
        root: ElementTree.Element,
        source: str,
        min_distance_m: float,
        ignored_pairs: Iterable[tuple[str, str]],
        package_dirs: Sequence[str],
        rest_position: Float64,
    ) -> None:
        self._pin, self._pose = pinocchio(), pose
        self.min_distance_m = min_distance_m
        find_meshes(root, source, package_dirs)
        text = ElementTree.tostring(root, encoding="unicode")
        try:
            kind = self._pin.GeometryType.COLLISION
            self.model: Any = self._pin.buildGeomFromUrdfString(pose.model, text, kind)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"{source}: collision geometry cannot be read ({error})") from None
        _hulls(self.model)
        frames = pose.model.frames
        self._links = [frames[body.parentFrame].name for body in self.model.geometryObjects]
        self.ignored = self._choose_pairs(root, set(map(frozenset, ignored_pairs)), rest_position)
        self.pairs = [(self._links[p.first], self._links[p.second]) for p in self.model.collisionPairs]
        if not self.pairs:
            raise ConfigError(
                f"{source}: self_collision has no pair of links to watch ({len(self._links)} collision "
                f"bodies, {len(self.ignored)} pairs ignored); add <collision> elements, or switch it off"
            )
        self._data = self._new_data()

    def _new_data(self) -> Any:
        data = self.model.createData()
        for request in data.collisionRequests:
            request.security_margin = self.min_distance_m
        return data

    def _choose_pairs(
        self, root: ElementTree.Element, configured: set[frozenset], rest_position: Float64
    ) -> tuple[IgnoredPair, ...]:
        joined = {_ends(joint): joint.get("name") for joint in root.findall("joint")}
        ignored = {}
        bodies = list(self.model.geometryObjects)
        for i, first in enumerate(bodies):
            for j in range(i):
                pair = frozenset((self._links[i], self._links[j]))
                if not self._pose.moves_between(first.parentJoint, bodies[j].parentJoint):
                    continue
                if pair in joined:
                    ignored[pair] = f"joined by joint '{joined[pair]}'"
                elif pair in configured:
                    ignored[pair] = "configured"
                else:
                    self.model.addCollisionPair(self._pin.CollisionPair(j, i))
        for pair in self._near(rest_position):
            ignored[pair] = f"nearer than {self.min_distance_m * 1e3:g} mm at rest"
        for p in list(self.model.collisionPairs):
            if frozenset((self._links[p.first], self._links[p.second])) in ignored:
                self.model.removeCollisionPair(p)
        return tuple(IgnoredPair(*sorted(pair), why) for pair, why in sorted(ignored.items(), key=_names))

    def _near(self, position: Float64) -> set[frozenset]:
        self._data = self._new_data()
        pairs = self.model.collisionPairs
        near = [pairs[k] for k in self.touching(self._pose.configuration(position))]
        return {frozenset((self._links[p.first], self._links[p.second])) for p in near}

    def touching(self, q: Float64) -> list[int]:
        """Pairs nearer than the least distance at q (nq,)."""
        pin, pose, data = self._pin, self._pose, self._data
        if not pin.computeCollisions(pose.model, pose.data, self.model, data, q, True):
            return []
        pin.computeCollisions(self.model, data, False)
        return [k for k, result in enumerate(data.collisionResults) if result.isCollision()]

    def clearances(self, q: Float64, pairs: Iterable[int]) -> dict[int, float]:
        """Distance beyond the least one [m], per pair, at q (nq,); negative: too near."""
        pin, pose, data = self._pin, self._pose, self._data
        pin.updateGeometryPlacements(pose.model, pose.data, self.model, data, q)
        return {
            k: pin.computeDistance(self.model, data, k).min_distance - self.min_distance_m for k in pairs
        }


def _names(item: tuple[frozenset, str]) -> list[str]:
    return sorted(item[0])


def _ends(joint: ElementTree.Element) -> frozenset:
    """The two links of a joint."""
    ends = (joint.find(tag) for tag in ("parent", "child"))
    return frozenset(end.get("link", "") for end in ends if end is not None)


def _hulls(model: Any) -> None:
    for body in model.geometryObjects:
        if hasattr(body.geometry, "buildConvexHull"):
            try:
                body.geometry.buildConvexHull(True, "Qt")
            except RuntimeError:
                continue  # a build without qhull: the mesh itself, which is slower
            body.geometry = body.geometry.convex


def find_meshes(root: ElementTree.Element, source: str, package_dirs: Sequence[str]) -> None:
    """Replaces the names of collision meshes by paths. Raises ConfigError naming the link and the file."""
    for link in root.findall("link"):
        for mesh in link.findall("collision/geometry/mesh"):
            name = mesh.get("filename", "")
            tried = _candidates(name, package_dirs)
            found = next((path for path in tried if path.is_file()), None)
            if found is None:
                looked = ", ".join(map(str, tried)) or "nowhere: mesh_dirs is empty"
                raise ConfigError(
                    f"{source}: link '{link.get('name')}': collision mesh '{name}' is not there "
                    f"(looked at {looked}); set mesh_dirs to the folder that holds the package"
                )
            mesh.set("filename", str(found.resolve()))


def _candidates(name: str, package_dirs: Sequence[str]) -> list[Path]:
    scheme = next((s for s in PACKAGE_SCHEMES if name.startswith(s)), None)
    if scheme is None:
        return [Path(name.removeprefix("file://"))]
    package, _, rest = name.removeprefix(scheme).partition("/")
    folders = [Path(folder).expanduser() for folder in package_dirs]
    # A folder may hold packages, or be the package.
    return [f / package / rest for f in folders] + [f / rest for f in folders if f.name == package]


def refuse_unknown_pairs(pairs: Iterable[tuple[str, str]], links: Sequence[str], source: str) -> None:
    """Raises ConfigError naming a link of an ignored pair that is not there."""
    for pair in pairs:
        if len(pair) != 2 or pair[0] == pair[1]:
            raise ConfigError(f"collision_ignored: '{' '.join(pair)}' is not two different links")
        for link in pair:
            if link not in links:
                hint = nearest(link, links)
                raise ConfigError(f"collision_ignored: link '{link}' is not in {source}; {hint}")
