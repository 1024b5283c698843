#!/usr/bin/env bash
# Make .venv: a Python environment with everything that resfit_ros needs.
# Usage: setup_environment.sh STAMP wheels|<ROS distribution>
# STAMP is written last: without it .venv counts as half-made and is made anew.
# PYTHON and TORCH_INDEX in the environment choose another interpreter or build of PyTorch.
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=$1
ros=$2
venv=$PWD/.venv
log=$PWD/build/environment.log

fail() {
  echo "resfit_ros: $*" >&2
  exit 1
}

find_python() {
  local wanted='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'
  [ "$ros" = wheels ] || wanted='import rclpy'
  for python in ${PYTHON:-python3 /usr/bin/python3 python3.12 python3.11 python3.13 python3.10}; do
    if "$python" -c "$wanted" 2>/dev/null; then
      "$python" -c 'import sys; print(sys.executable)'
      return
    fi
  done
}

pip_install() {
  "$venv/bin/python" -m pip install --disable-pip-version-check "$@" >>"$log" 2>&1
}

if [ "$ros" = wheels ] && [ "$(uname -sm)" != 'Linux x86_64' ]; then
  fail "the ROS wheels exist for Linux on x86-64 only, this is $(uname -sm): install ROS 2 Jazzy," \
    "source its setup.bash and try again"
fi
python=$(find_python)
scripts/system_packages.sh "$python" "$ros"
python=${python:-$(find_python)}
if [ -z "$python" ] && [ "$ros" = wheels ]; then
  fail 'no Python 3.10 to 3.13 found: install one, or name it, as in make setup PYTHON=/usr/bin/python3.12'
elif [ -z "$python" ]; then
  fail "no Python found that imports rclpy, although ROS $ros is sourced: install ros-$ros-rclpy"
fi

mkdir -p build
: >"$log"
if [ "$(cat "$stamp" 2>/dev/null)" != "$PWD" ]; then  # half-made, moved, or made for another ROS
  rm -rf "$venv"
  if [ "$ros" = wheels ]; then
    "$python" -m venv "$venv"
  else
    "$python" -m venv --system-site-packages "$venv"
  fi
fi
rm -f "$stamp"

echo "Installing Python packages (some minutes the first time, details in ${log#"$PWD"/})"
index=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}
pip_install --no-deps --retries 1 --index-url "$index" -r requirements/torch.txt ||
  echo "$index has no PyTorch for this machine or does not answer: taking the build of PyPI"

constraints=requirements/constraints.txt
wanted=(-r requirements/torch.txt -r requirements/python.txt)
if [ "$ros" = wheels ]; then
  wanted+=(-r requirements/ros-jazzy.txt)
else
  # Messages compiled for one NumPy do not load with the next major release: keep the NumPy of ROS.
  constraints=build/constraints.txt
  grep -v '^numpy' requirements/constraints.txt >"$constraints"
  "$python" -c 'import numpy; print("numpy==" + numpy.__version__)' >>"$constraints"
fi
pip_install "${wanted[@]}" -c "$constraints" || {
  tail -n 20 "$log" >&2
  fail "pip failed, all of it is in $log"
}

if [ "$ros" = wheels ]; then
  # The one module of the message build that PyPI lacks: with it `colcon build` works here, too.
  cp -r /usr/lib/python3/dist-packages/ament_package "$("$venv/bin/python" -c \
    'import sysconfig; print(sysconfig.get_path("purelib"))')/"
fi
echo "$PWD" >"$stamp"
