"""Residual reinforcement learning on top of any base policy, as ROS 2 nodes."""

import pkgutil

__version__ = '0.1.0'

# The generated resfit_ros.msg and resfit_ros.srv lie in the installed copy of this package. With the
# repository root as working directory the source folder comes first on sys.path and would hide them:
# this makes both folders one package.
__path__ = pkgutil.extend_path(__path__, __name__)
