"""What a body guard is made from: meshes that are found, and errors that name what is wrong."""

import builtins
import math
from pathlib import Path

import numpy as np
import pytest

from resfit_ros.core.errors import ConfigError, ShapeError
from resfit_ros.core.types import Reason

pytest.importorskip("pinocchio", reason="pip install pin")
from resfit_ros.robot.body import BodyGuard  # noqa: E402
from resfit_ros.robot.body_pose import NO_PINOCCHIO  # noqa: E402

CARTS = (Path(__file__).parent / "bodies" / "two_carts.urdf").read_text()
BALL = '<sphere radius="0.1"/>'
CUBE_FACES = [(0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)]


def carts(joints=("slide_a", "slide_b"), text=CARTS, **options) -> BodyGuard:
    return BodyGuard(text, joints, **options)


def collision(shape: str) -> str:
    return f"<collision><geometry>{shape}</geometry></collision>"


# -- meshes ---------------------------------------------------------------------------------


def with_mesh(name: str) -> str:
    return CARTS.replace(BALL, f'<mesh filename="{name}"/>', 1)


def cube(path: Path, half: float) -> Path:
    """An OBJ file."""
    path.parent.mkdir(parents=True)
    corners = [f"v {x} {y} {z}" for x in (-half, half) for y in (-half, half) for z in (-half, half)]
    faces = [f"f {a + 1} {b + 1} {c + 1}\nf {a + 1} {c + 1} {d + 1}" for a, b, c, d in CUBE_FACES]
    path.write_text("\n".join([*corners, *faces, ""]))
    return path


@pytest.mark.parametrize("folder", (".", "my_robot"))
def test_when_a_mesh_is_in_a_package_expect_it_found(tmp_path, folder):
    cube(tmp_path / "my_robot/meshes/cube.obj", 0.2)
    text = with_mesh("package://my_robot/meshes/cube.obj")
    guard = carts(text=text, package_dirs=(str(tmp_path / folder),))
    assert guard.check(np.array([0.689, 0.0])).reasons == Reason.NONE
    assert guard.check(np.array([0.695, 0.0])).words.startswith("links 'cart_a' and 'cart_b' 5.0 mm apart")


def test_when_a_mesh_is_given_by_its_path_expect_it_found(tmp_path):
    path = cube(tmp_path / "m/cube.obj", 0.2)
    guard = carts(text=with_mesh(f"file://{path}"))
    assert guard.check(np.array([0.695, 0.0])).reasons == Reason.COLLISION


def test_when_one_body_is_inside_a_mesh_expect_collision_and_the_way_out(tmp_path):
    guard = carts(text=with_mesh(str(cube(tmp_path / "m/cube.obj", 0.3))))
    inside, out, further_in = np.array([[0.9, 0.0], [0.8, 0.0], [0.95, 0.0]])
    assert guard.check(inside).reasons == Reason.COLLISION
    assert guard.check(out, inside).reasons == Reason.NONE
    assert guard.check(further_in, inside).reasons == Reason.COLLISION


def test_when_a_mesh_is_missing_expect_link_file_and_folders_named(tmp_path):
    with pytest.raises(ConfigError) as error:
        carts(text=with_mesh("package://my_robot/arm.stl"), package_dirs=(str(tmp_path),))
    for part in ("link 'cart_a'", "package://my_robot/arm.stl", f"{tmp_path}/my_robot/arm.stl", "mesh_dirs"):
        assert part in str(error.value)


def test_when_a_mesh_cannot_be_read_expect_an_error(tmp_path):
    (tmp_path / "bad.stl").write_text("no mesh")
    with pytest.raises(ConfigError, match="cannot be read"):
        carts(text=with_mesh(str(tmp_path / "bad.stl")))


def test_when_only_the_workspace_is_watched_expect_no_mesh_needed():
    text = with_mesh("package://my_robot/arm.stl")
    guard = carts(text=text, self_collision=False, workspace=(-1, -3, -1, 2, 1, 1))
    assert guard.check(np.zeros(2)).reasons == Reason.NONE


# -- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    (
        ({"joints": ("slide_a", "slide_c")}, "'slide_c' is not in .* did you mean 'slide_b'"),
        ({"joints": ("raise",)}, "'raise' follows joint 'slide_b'"),
        ({"fixed_positions": {"turm": 0.0}}, "'turm' is not in .* did you mean 'turn'"),
        ({"fixed_positions": {"slide_a": 0.0}}, "'slide_a' is one of joint_names"),
        ({"fixed_positions": {"raise": 0.0}}, "'raise' follows joint 'slide_b'"),
        ({"fixed_positions": {"turn": math.nan}}, "'turn': nan is not finite"),
        ({"ignored_pairs": (("cart_a", "kart_b"),)}, "link 'kart_b' is not in .* did you mean 'cart_b'"),
        ({"ignored_pairs": (("cart_a", "cart_a"),)}, "not two different links"),
        ({"workspace": (0, 0, 0, 1, 1, 1), "workspace_links": ("flat",)}, "'flat' is not in .* 'flag'"),
        ({"workspace": (0, 0, 0, 1, 1, 1), "workspace_links": ("rail",)}, "'rail' is not moved"),
        ({"workspace": (0, 0, 0, 1, 0, 1)}, "workspace: expected least x, y, z"),
        ({"workspace": (0, 0, 0, 1, math.nan, 1)}, "workspace: expected least x, y, z"),
        ({"min_distance_m": -0.01}, "collision_margin -0.01"),
        ({"text": "<robot name='r'/>"}, "no joint that moves"),
        ({"text": CARTS.replace('joint="slide_b" m', 'joint="slide_c" m')}, "'slide_c', which is not there"),
        ({"text": CARTS.replace('joint="slide_b" m', 'joint="raise" m')}, "'raise' follows itself"),
        ({"text": CARTS.replace('multiplier="2"', 'multiplier="two"')}, "'raise': <mimic>"),
        ({"text": CARTS.replace('multiplier="2"', 'multiplier="nan"')}, "'raise': <mimic>.* finite"),
        ({"text": CARTS.replace('<child link="cart_b"/>', '<child link="cart_c"/>')}, "Pinocchio"),
    ),
)
def test_when_something_is_unknown_or_wrong_expect_it_named(options, match):
    with pytest.raises(ConfigError, match=match):
        carts(**options)


def test_when_no_link_has_a_body_expect_an_error_instead_of_no_watch():
    text = CARTS
    for shape in (BALL, '<sphere radius="0.05"/>', '<box size="0.1 0.1 0.1"/>'):
        text = text.replace(collision(shape), "")
    with pytest.raises(ConfigError, match="no pair of links to watch"):
        carts(text=text)


@pytest.mark.parametrize("position", ([0.0], [0.0, math.nan], [[0.0, 0.0]]))
def test_when_a_position_is_no_finite_vector_expect_an_error(position):
    with pytest.raises(ShapeError, match="finite positions"):
        carts().check(np.array(position))


def test_when_pinocchio_is_missing_expect_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **named):
        if name == "pinocchio":
            raise ModuleNotFoundError("No module named 'pinocchio'")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError) as error:
        carts()
    assert str(error.value) == NO_PINOCCHIO
