"""`pip install .` into an environment with ROS 2: builds the messages with CMake, installs everything.

The wheel holds what `cmake --install` would put into the prefix, so that the environment becomes an
ament prefix with resfit_ros in it, and `pip uninstall` removes all of it.

`RESFIT_WITHOUT_ROS=1 pip install .` installs the Python modules alone, for computers that serve a
policy (`resfit serve-policy`) and have no ROS: the policy's library brings PyTorch along.
"""

import os
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build import build
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / 'scripts'))
import cmake_package  # noqa: E402  (lies in scripts/)

MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()
WITHOUT_ROS = os.environ.get('RESFIT_WITHOUT_ROS') == '1'
SERVING_NEEDS = ['msgpack', 'numpy>=1.26', 'PyYAML', 'rich', 'typer', 'websockets']
# ROS is not listed: it is either sourced or comes from requirements/ros-jazzy.txt.
ROBOT_NEEDS = [
    'aiohttp>=3.8', 'matplotlib', 'mujoco>=3.2,<3.4', 'pillow', 'rosbags', 'safetensors', 'tensorboard',
    'torch>=2.9,<=2.13.0',
]


class CMakeBuild(build):
    """Builds with CMake into a staging folder and sorts its files into modules and data."""

    def run(self):
        super().run()
        prefix = Path(sys.prefix)
        build_dir = Path(self.build_temp).absolute() / 'cmake'
        stage_dir = Path(self.build_temp).absolute() / 'stage'
        cmake_package.build(build_dir, prefix)
        cmake_package.stage(build_dir, stage_dir)
        root = stage_dir / prefix.relative_to('/')
        package = next(root.glob('**/resfit_ros/msg/__init__.py')).parents[1]
        modules = Path(self.build_lib, 'resfit_ros')
        shutil.rmtree(modules, ignore_errors=True)  # modules of an earlier build that exist no more
        shutil.copytree(package, modules, ignore=shutil.ignore_patterns('__pycache__'))
        data = {}
        for path in sorted(root.rglob('*')):
            # pip writes the metadata and the `resfit` command itself.
            if path.is_dir() or path.is_relative_to(package.parent) or path.parent == root / 'bin':
                continue
            data.setdefault(str(path.parent.relative_to(root)), []).append(str(path))
        self.distribution.data_files = list(data.items())


class NoEditable(editable_wheel):
    """Refuses `pip install -e`, which would leave the messages out."""

    def run(self):
        raise SystemExit('resfit_ros: pip install -e is not supported, because the messages have to be '
                         'built: use `make setup`, or `colcon build --symlink-install`')


class BinaryDistribution(Distribution):
    """The messages are compiled: the wheel belongs to one Python and one platform."""

    def has_ext_modules(self):
        return True


def modules():
    """Every folder with Python modules."""
    return sorted('.'.join(p.parent.relative_to(ROOT).parts) for p in ROOT.glob('resfit_ros/**/__init__.py'))


setup(
    name=MANIFEST.findtext('name'),
    version=MANIFEST.findtext('version'),
    description=' '.join(MANIFEST.findtext('description').split()),
    license=MANIFEST.findtext('license'),
    maintainer=MANIFEST.findtext('maintainer'),
    maintainer_email=MANIFEST.find('maintainer').get('email'),
    python_requires='>=3.10',
    packages=modules() if WITHOUT_ROS else ['resfit_ros'],
    install_requires=SERVING_NEEDS + ([] if WITHOUT_ROS else ROBOT_NEEDS),
    extras_require={
        'data': ['av', 'h5py', 'pyarrow'],
        'onnx': ['onnx', 'onnxruntime'],
        'robot': ['opencv-python-headless', 'pin', 'ruckig'],
        'test': [
            'av', 'h5py', 'hypothesis', 'mcap', 'mkdocs', 'onnx', 'onnxruntime', 'pyarrow', 'pytest', 'pytest-timeout',
        ],
    },
    entry_points={'console_scripts': ['resfit = resfit_ros.cli.main:main']},
    cmdclass={} if WITHOUT_ROS else {'build': CMakeBuild, 'editable_wheel': NoEditable},
    distclass=Distribution if WITHOUT_ROS else BinaryDistribution,
)
