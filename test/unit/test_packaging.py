"""The files that describe the package agree with each other and with the tree."""

import re
import runpy
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import resfit_ros

ROOT = Path(__file__).resolve().parents[2]
CMAKE = (ROOT / 'CMakeLists.txt').read_text()
MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()
INTERFACES = sorted([*ROOT.glob('msg/*.msg'), *ROOT.glob('srv/*.srv')])


def setup_arguments(monkeypatch):
    """The keyword arguments that setup.py passes to setup()."""
    arguments = {}
    monkeypatch.setattr('setuptools.setup', lambda **kwargs: arguments.update(kwargs))
    runpy.run_path(str(ROOT / 'setup.py'))
    return arguments


def test_name_and_version_agree(monkeypatch):
    arguments = setup_arguments(monkeypatch)
    changelog = (ROOT / 'CHANGELOG.rst').read_text()
    assert MANIFEST.findtext('name') == arguments['name'] == resfit_ros.__name__
    assert MANIFEST.findtext('version') == arguments['version'] == resfit_ros.__version__
    assert f"Changelog for package {arguments['name']}\n" in changelog
    assert re.search(r'^(\d+\.\d+\.\d+) ', changelog, re.M).group(1) == arguments['version']


def test_without_ros_only_modules_are_installed(monkeypatch):
    monkeypatch.setenv('RESFIT_WITHOUT_ROS', '1')
    arguments = setup_arguments(monkeypatch)
    assert {'resfit_ros', 'resfit_ros.policies', 'resfit_ros.cli'} <= set(arguments['packages'])
    assert arguments['cmdclass'] == {}
    assert not any(word.startswith(('torch', 'mujoco')) for word in arguments['install_requires'])


def test_license_is_apache():
    assert MANIFEST.findtext('license') == 'Apache-2.0'
    assert 'Apache License\n                           Version 2.0' in (ROOT / 'LICENSE').read_text()


def test_each_node_module_has_an_executable():
    modules = {path.stem for path in ROOT.glob('resfit_ros/nodes/[!_]*.py')}
    executables = set(re.search(r'foreach\(node\s+(.*?)\)', CMAKE, re.S).group(1).split())
    assert executables == modules


def test_each_interface_is_generated():
    listed = re.search(r'rosidl_generate_interfaces\((.*?)\)', CMAKE, re.S).group(1).split()
    assert {name for name in listed if name.endswith(('.msg', '.srv'))} == {
        str(path.relative_to(ROOT)) for path in INTERFACES}


@pytest.mark.parametrize('path', INTERFACES, ids=lambda path: path.name)
def test_each_field_has_a_comment(path):
    # Names that say everything, and fields whose type is documented elsewhere, need none.
    obvious = r'(std_msgs/Header header|bool success|string message|uint64 episode_id|[A-Z]\w+ \w+)$'
    bare = [line for line in path.read_text().splitlines()
            if line.strip() not in ('', '---') and '#' not in line
            and '=' not in line and not re.match(obvious, line.strip())]
    assert bare == []
