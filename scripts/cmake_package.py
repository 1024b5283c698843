"""Build and install resfit_ros with CMake. Shared by the Makefile and setup.py.

Usage: cmake_package.py build|install BUILD_DIR PREFIX
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
GENERATORS = 'share/rosidl_default_generators/package.xml'
DEBIAN_PACKAGES = Path('/usr/lib/python3/dist-packages')


def build(build_dir: Path, prefix: Path) -> None:
    """Generate and compile the messages for an installation into `prefix`.

    Starts from an empty folder: a message that was removed must not be installed again.
    """
    check_machine()
    shutil.rmtree(build_dir, ignore_errors=True)
    build_dir.mkdir(parents=True)
    if not _imports('ament_package', build_dir) and (DEBIAN_PACKAGES / 'ament_package').is_dir():
        # Not on PyPI. A link to this one folder keeps Debian's other modules out of the build.
        (build_dir / 'python').mkdir()
        (build_dir / 'python/ament_package').symlink_to(DEBIAN_PACKAGES / 'ament_package')
    for module, remedy in (
            ('ament_package', 'apt-get install python3-ament-package'),
            ('numpy', 'pip install numpy'),
            ('em', 'pip install -r requirements/ros-jazzy.txt'),
            ('lark', 'pip install -r requirements/ros-jazzy.txt'),
            ('catkin_pkg', 'pip install -r requirements/ros-jazzy.txt')):
        if not _imports(module, build_dir):
            raise SystemExit(f'resfit_ros: the Python module {module} is missing: {remedy}')
    jobs = str(len(os.sched_getaffinity(0)))
    _run(build_dir, ['cmake', '-S', str(SOURCE), '-B', str(build_dir), '-DCMAKE_BUILD_TYPE=Release',
                     '-DBUILD_TESTING=OFF', f'-DCMAKE_INSTALL_PREFIX={prefix}',
                     f'-DPython3_EXECUTABLE={sys.executable}'])
    _run(build_dir, ['cmake', '--build', str(build_dir), '--parallel', jobs])


def install(build_dir: Path, prefix: Path) -> None:
    """Install what `build` made, and delete files that an earlier installation left and this has not."""
    record = prefix / '.resfit_ros_files'
    before = set(record.read_text().splitlines()) if record.exists() else set()
    _run(build_dir, ['cmake', '--install', str(build_dir)])
    now = (build_dir / 'install_manifest.txt').read_text()
    for name in before - set(now.splitlines()):
        path = Path(name)
        path.unlink(missing_ok=True)
        shutil.rmtree(path.parent / '__pycache__', ignore_errors=True)
        while path.parent.is_dir() and not any(path.parent.iterdir()):
            path = path.parent
            path.rmdir()
    record.write_text(now)


def stage(build_dir: Path, stage_dir: Path) -> None:
    """Install what `build` made below `stage_dir` instead of into its prefix."""
    shutil.rmtree(stage_dir, ignore_errors=True)
    _run(build_dir, ['cmake', '--install', str(build_dir)], DESTDIR=str(stage_dir))


def check_machine() -> None:
    """Exit with one sentence that says what is missing and what to do."""
    if not any((path / GENERATORS).exists() for path in _ros_prefixes()):
        raise SystemExit(
            f'resfit_ros: no ROS 2 found in {sys.prefix} to build the messages with: '
            'source /opt/ros/jazzy/setup.bash, or pip install -r requirements/ros-jazzy.txt first '
            '(`make setup` does all of it)')
    if not shutil.which('cmake'):
        raise SystemExit('resfit_ros: cmake is missing: apt-get install cmake')
    if not any(map(shutil.which, filter(None, (os.environ.get('CXX'), 'c++', 'g++', 'clang++')))):
        raise SystemExit('resfit_ros: a C++ compiler is missing: apt-get install g++')
    if not Path(sysconfig.get_path('include'), 'Python.h').exists():
        raise SystemExit('resfit_ros: the headers of Python are missing: apt-get install python3-dev')


def _ros_prefixes() -> list[Path]:
    sourced = [Path(path) for path in os.environ.get('AMENT_PREFIX_PATH', '').split(':') if path]
    return [*sourced, Path(sys.prefix)]


def _environment(build_dir: Path) -> dict[str, str]:
    # pip builds with a PYTHONPATH of its own, which hides the modules of ROS, and `make` passes on
    # flags that mean nothing to the build below it.
    dropped = ('PYTHONPATH', 'PYTHONHOME', 'MAKEFLAGS', 'MAKELEVEL', 'MFLAGS', 'DESTDIR')
    env = {name: value for name, value in os.environ.items() if name not in dropped}
    prefixes = _ros_prefixes()
    version = f'python{sys.version_info.major}.{sys.version_info.minor}'
    modules = [build_dir / 'python']
    for path in prefixes[:-1]:  # this interpreter finds those of its own prefix by itself
        modules += [path / 'lib' / version / 'site-packages',
                    path / 'local/lib' / version / 'dist-packages']
    env['PYTHONPATH'] = ':'.join(map(str, modules))
    env['AMENT_PREFIX_PATH'] = ':'.join(map(str, prefixes))
    env['CMAKE_PREFIX_PATH'] = ':'.join(
        filter(None, [env['AMENT_PREFIX_PATH'], os.environ.get('CMAKE_PREFIX_PATH')]))
    return env


def _imports(module: str, build_dir: Path) -> bool:
    return subprocess.run([sys.executable, '-c', f'import {module}'], env=_environment(build_dir),
                          cwd='/', stderr=subprocess.DEVNULL).returncode == 0


def _run(build_dir: Path, command: list[str], **variables: str) -> None:
    log = build_dir / 'build.log'
    with log.open('a') as output:
        code = subprocess.run(command, env=_environment(build_dir) | variables, stdout=output,
                              stderr=subprocess.STDOUT).returncode
    if code:
        tail = '\n'.join(log.read_text(errors='replace').splitlines()[-40:])
        raise SystemExit(f'{tail}\nresfit_ros: {" ".join(command[:2])} failed, all of it is in {log}')


if __name__ == '__main__':
    steps = {'build': build, 'install': install}
    if len(sys.argv) != 4 or sys.argv[1] not in steps:
        raise SystemExit(__doc__)
    steps[sys.argv[1]](Path(sys.argv[2]).absolute(), Path(sys.argv[3]).absolute())
