#!/usr/bin/env bash
# Check the system packages that the set-up needs; install what is missing as root, name it otherwise.
# Usage: system_packages.sh PYTHON wheels|<ROS distribution>     (PYTHON may be empty: none was found)
set -euo pipefail
python=$1
ros=$2
missing=()

command -v cmake >/dev/null || missing+=(cmake)
command -v c++ >/dev/null || command -v "${CXX:-g++}" >/dev/null || missing+=(g++)
if [ -z "$python" ]; then
  missing+=(python3 python3-venv python3-dev)
else
  # Debian's python3.12 has python3.12-venv and so on; another Python brings its own or fails here.
  name=$("$python" -c 'import sys; print(f"python3.{sys.version_info[1]}")')
  "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=("$name-venv")
  "$python" -c 'import os, sysconfig, sys
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
    missing+=("$name-dev")
fi
if [ "$ros" = wheels ] && [ ! -d /usr/lib/python3/dist-packages/ament_package ]; then
  missing+=(python3-ament-package)  # the one Python module of the message build that PyPI lacks
fi
if [ "${MUJOCO_GL:-}" = osmesa ] && ! /sbin/ldconfig -p | grep -q libOSMesa; then
  missing+=(libosmesa6)  # MuJoCo's renderer where there is no display
fi

[ ${#missing[@]} -gt 0 ] || exit 0
install="apt-get install -y --no-install-recommends ${missing[*]}"
if ! command -v apt-get >/dev/null; then
  echo "resfit_ros: install the equivalents of these Debian packages, then try again: ${missing[*]}" >&2
  exit 1
elif [ "$(id -u)" -ne 0 ]; then
  echo "resfit_ros: system packages are missing, run this and try again: sudo $install" >&2
  exit 1
fi
echo "Installing system packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# A fresh container has no package lists, an old machine stale ones; others need no update.
$install >/dev/null 2>&1 || { apt-get update >/dev/null && $install >/dev/null; } || {
  echo "resfit_ros: $install failed, see above" >&2
  exit 1
}
