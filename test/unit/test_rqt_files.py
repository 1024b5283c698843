"""The files that rqt reads name things that are there."""

import ast
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import yaml

from resfit_ros.bringup import NAMESPACE

ROOT = Path(__file__).resolve().parents[2]
PERSPECTIVE = json.loads((ROOT / "config" / "rqt" / "resfit.perspective").read_text())
MANAGER = PERSPECTIVE["groups"]["pluginmanager"]
BESIDE = (
    "rqt_plot/Plot",
    "rqt_image_view/ImageView",
    "rqt_robot_monitor/RobotMonitor",
    "rqt_reconfigure/Param",
)


def setting(plugin: str, key: str) -> object:
    """A plugin's own setting in the perspective."""
    settings = MANAGER["groups"][f"plugin__{plugin}__1"]["groups"]["plugin"]["keys"]
    return ast.literal_eval(settings[key]["repr"])


def test_when_rqt_looks_for_plugins_expect_ours_exported_and_installed():
    exported = ElementTree.parse(ROOT / "package.xml").getroot().find("export/rqt_gui")
    assert exported.get("plugin") == "${prefix}/plugin.xml"
    installs = (ROOT / "CMakeLists.txt").read_text()
    assert "install(FILES plugin.xml DESTINATION share/${PROJECT_NAME})" in installs


def test_when_rqt_loads_the_plugin_expect_its_class_where_plugin_xml_says():
    found = ElementTree.parse(ROOT / "plugin.xml").getroot().find("class")
    module, _, name = found.get("type").rpartition(".")
    source = ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())
    assert name in [node.name for node in source.body if isinstance(node, ast.ClassDef)]
    assert (found.get("name"), found.get("base_class_type")) == ("Resfit", "rqt_gui_py::Plugin")


def test_when_the_perspective_opens_expect_five_plugins_that_the_package_depends_on():
    running = ast.literal_eval(MANAGER["keys"]["running-plugins"]["repr"])
    assert set(running) == {"resfit_ros/Resfit", *BESIDE}
    needed = {e.text for e in ElementTree.parse(ROOT / "package.xml").getroot().iter("exec_depend")}
    assert {name.split("/")[0] for name in BESIDE} <= needed


def test_when_the_perspective_plots_expect_fields_of_the_learners_status():
    topics = setting("rqt_plot__Plot", "topics")
    fields = set(re.findall(r"^\w+ (\w+)\s+#", (ROOT / "msg" / "LearnerStatus.msg").read_text(), re.M))
    assert {t.removeprefix(f"{NAMESPACE}/learner_status/") for t in topics} <= fields


def test_when_diagnostics_are_gathered_expect_those_of_our_namespace():
    parameters = yaml.safe_load((ROOT / "config" / "rqt" / "diagnostics.yaml").read_text())["analyzers"]
    assert parameters["ros__parameters"]["resfit"]["startswith"] == [f"{NAMESPACE}/"]
