"""Cost of one check of the body guard, beside a bare forward-kinematics call on the same pose."""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from resfit_ros.robot.body import BodyGuard
from resfit_ros.robot.body_pose import pinocchio

POSES = 5000
BOX = (-3.0, -3.0, -3.0, 3.0, 3.0, 3.0)
LENGTH, RADIUS = 0.16, 0.03  # of a link [m]


def chain(name: str, parent: str, origin: str, joints: int) -> str:
    """URDF of a chain of cylinders on `parent`, its joints turning about z and y in turn."""
    parts = []
    for i in range(joints):
        axis = "0 0 1" if i % 2 == 0 else "0 1 0"
        place = origin if i == 0 else f"0 0 {LENGTH}"
        parts.append(
            f'<link name="{name}{i}"><collision><origin xyz="0 0 {LENGTH / 2}"/><geometry>'
            f'<cylinder radius="{RADIUS}" length="{LENGTH}"/></geometry></collision></link>'
            f'<joint name="{name}{i}_joint" type="revolute">'
            f'<parent link="{parent}"/><child link="{name}{i}"/>'
            f'<origin xyz="{place}"/><axis xyz="{axis}"/>'
            '<limit lower="-2" upper="2" velocity="1" effort="1"/></joint>'
        )
        parent = f"{name}{i}"
    return "".join(parts)


def box(name: str, size: str) -> str:
    """URDF of one link."""
    shape = f'<geometry><box size="{size}"/></geometry>'
    return f'<link name="{name}"><collision>{shape}</collision></link>'


def arm() -> str:
    """Seven joints on a base."""
    return f'<robot name="arm">{box("base", "0.2 0.2 0.1")}{chain("arm", "base", "0 0 0.1", 7)}</robot>'


def tree() -> str:
    """A torso of three joints, two arms of seven, two legs of six: 29."""
    limbs = [chain("torso", "pelvis", "0 0 0.1", 3)]
    for side, y in (("left", 1), ("right", -1)):
        limbs.append(chain(f"{side}_arm", "torso2", f"0 {0.3 * y} 0.1", 7))
        limbs.append(chain(f"{side}_leg", "pelvis", f"0 {0.25 * y} -1.1", 6))
    return f'<robot name="tree">{box("pelvis", "0.2 0.3 0.1")}{"".join(limbs)}</robot>'


def times_us(call: Callable[[np.ndarray], object], poses: np.ndarray) -> np.ndarray:
    """Time of each call [us]."""
    spent = np.empty(len(poses))
    for i, pose in enumerate(poses):
        begin = time.perf_counter()
        call(pose)
        spent[i] = time.perf_counter() - begin
    return spent * 1e6


def measure(text: str, joints: int) -> dict[str, float]:
    """Figures of one robot: random poses within 2 rad, each judged as a small move from a neighbour."""
    pin = pinocchio()
    model = pin.buildModelFromXML(text)
    names, data = list(model.names)[1:], model.createData()
    assert len(names) == joints
    guard = BodyGuard(text, names, workspace=BOX)
    poses = np.random.default_rng(0).uniform(-2.0, 2.0, (POSES, joints))
    blocked = np.array([bool(guard.check(pose).reasons) for pose in poses])
    kinematics = np.median(times_us(lambda pose: pin.forwardKinematics(model, data, pose), poses))
    figures = {"pairs": len(guard.watched), "kinematics_us": kinematics, "blocked": float(blocked.mean())}
    for name, chosen in (("clear", poses[~blocked]), ("blocked", poses[blocked])):
        if len(chosen):
            spent = times_us(lambda pose: guard.check(pose, pose + 1e-3), chosen)
            for share in (50, 99):
                figures[f"{name}_p{share}_us"] = np.percentile(spent, share)
                figures[f"{name}_p{share}_ratio"] = figures[f"{name}_p{share}_us"] / kinematics
    return {key: round(float(value), 3) for key, value in figures.items()}


def main() -> None:
    """Prints the figures of an arm and of a humanoid's tree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    arguments = parser.parse_args()
    results = {"arm": measure(arm(), 7), "tree": measure(tree(), 29)}
    for name, f in results.items():
        kinematics = f"kinematics {f['kinematics_us']:.1f} us"
        print(f"{name}: {f['pairs']:.0f} pairs, {f['blocked']:.0%} of poses blocked; {kinematics}")
        for kind in ("clear", "blocked"):
            for share in ("p50", "p99"):
                if f"{kind}_{share}_us" in f:
                    spent, ratio = f[f"{kind}_{share}_us"], f[f"{kind}_{share}_ratio"]
                    print(f"  {kind} {share} {spent:.0f} us, {ratio:.0f} x kinematics")
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
