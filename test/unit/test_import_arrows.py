"""Dependencies point one way, and what needs no ROS works without it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "resfit_ros"
# Folder to what it may import of this package.
ALLOWED = {
    "core": {"core"},
    "learning": {"core", "learning"},
    "robot": {"core", "robot"},
    "sim": {"core", "sim"},  # for the base of all errors
    "policies": {"core", "learning", "sim", "policies"},
    "pictures": {"core", "pictures"},
    "data": {"core", "policies", "bringup", "pictures", "data"},
    "reporting": {"core", "learning", "data", "sim", "bringup", "__version__", "reporting"},
    "runner": {"core", "learning", "policies", "data", "sim", "bringup", "graphs", "runner"},
    "ros": {"core", "robot", "bringup", "pictures", "msg", "srv", "ros"},
    # The view model imports core alone (test_view_model.py); only its files ros_* know ROS.
    "operating": {"core", "bringup", "msg", "srv", "ros", "operating"},
    "console": {"core", "operating", "ros", "bringup", "console"},
    "rqt": {"core", "bringup", "operating", "rqt"},
    "nodes": {"core", "learning", "policies", "data", "robot", "sim", "pictures", "reporting", "msg", "srv", "ros", "nodes"},
}
ROS_FREE = ("core", "learning", "robot", "sim", "policies", "pictures", "data", "reporting", "runner")
ROS_PACKAGES = (
    "rclpy",
    "ament_index_python",
    "builtin_interfaces",
    "diagnostic_msgs",
    "geometry_msgs",
    "rcl_interfaces",
    "rosbag2_py",
    "rosidl_runtime_py",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "tf2_ros",
    "trajectory_msgs",
)
# The standard library and whatever each may use beside it.
THIRD_PARTY = {
    "core": {"numpy"},
    "learning": {"numpy", "torch", "safetensors", "onnx", "onnxruntime"},
    # Pinocchio and ruckig are imported where they are used.
    "robot": {"numpy", "pinocchio", "ruckig", "yaml"},
    # Most of them imported by one adapter alone, where a policy of its kind is used.
    "policies": {"numpy", "torch", "safetensors", "yaml", "websockets", "msgpack", "onnx", "onnxruntime", "lerobot"},
}


def sources(folder: str) -> list[Path]:
    return sorted((PACKAGE / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Absolute names of everything a file imports, inside functions too."""
    package = [PACKAGE.name, *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            # 'from resfit_ros import msg' imports resfit_ros.msg.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def ours(path: Path) -> set[str]:
    """Parts of this package that a file imports: 'core', 'msg', 'bringup', ..."""
    names = (name.split(".") for name in imported(path))
    return {parts[1] for parts in names if parts[0] == PACKAGE.name and len(parts) > 1}


@pytest.mark.parametrize("folder", ALLOWED)
def test_when_a_folder_imports_ours_expect_only_what_it_may(folder):
    wrong = {str(p.relative_to(ROOT)): sorted(ours(p) - ALLOWED[folder]) for p in sources(folder)}
    assert {path: names for path, names in wrong.items() if names} == {}
    assert len(wrong) >= 3


def test_when_anything_but_a_node_imports_expect_no_node():
    others = [p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0] != "nodes"]
    assert [str(p.relative_to(ROOT)) for p in others if "nodes" in ours(p)] == []


def test_when_nodes_import_expect_none_of_each_other():
    wrong = [str(p.relative_to(ROOT)) for p in sources("nodes") if "nodes" in ours(p)]
    assert wrong == []


@pytest.mark.parametrize("folder", ROS_FREE)
def test_when_a_folder_works_without_ros_expect_no_ros_import(folder):
    banned = {*ROS_PACKAGES, "resfit_ros.msg", "resfit_ros.srv"}
    wrong = {
        (str(path.relative_to(ROOT)), name)
        for path in sources(folder)
        for name in imported(path)
        if name.split(".")[0] in banned or ".".join(name.split(".")[:2]) in banned
    }
    assert wrong == set()


@pytest.mark.parametrize("folder", THIRD_PARTY)
def test_when_a_folder_imports_others_expect_only_its_few(folder):
    known = {PACKAGE.name, *sys.stdlib_module_names, *THIRD_PARTY[folder]}
    wrong = {
        (str(path.relative_to(ROOT)), name)
        for path in sources(folder)
        for name in imported(path)
        if name.split(".")[0] not in known
    }
    assert wrong == set()


WITHOUT_ROS = """
import importlib, pkgutil, sys

class NoRos:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ROS or name.split(".")[:2] in (OURS + ["msg"], OURS + ["srv"]):
            raise ModuleNotFoundError(f"{name} is not there", name=name)

ROS, OURS = set(sys.argv[1].split(",")), ["resfit_ros"]
sys.meta_path.insert(0, NoRos())
sys.modules["rclpy"] = None
try:
    importlib.import_module("resfit_ros.msg")
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the messages are not blocked")
for folder in sys.argv[2].split(","):
    package = importlib.import_module(f"resfit_ros.{folder}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        print(importlib.import_module(module.name).__name__)
"""


def test_when_there_is_no_ros_expect_every_module_to_import():
    pytest.importorskip("mujoco", reason="the simulated robot needs mujoco")
    arguments = [",".join(ROS_PACKAGES), ",".join(ROS_FREE)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ROS, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    modules = {p.relative_to(ROOT).with_suffix("") for folder in ROS_FREE for p in sources(folder)}
    packages = {p.parent for p in modules if p.stem == "__init__" and len(p.parts) > 3}
    expected = {p for p in modules if p.stem != "__init__"} | packages
    assert set(done.stdout.split()) == {".".join(p.parts) for p in expected}
