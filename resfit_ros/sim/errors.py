"""Errors of the simulated robot, each with the expected and the actual value."""

from __future__ import annotations

from resfit_ros.core.errors import ResfitError


class SimError(ResfitError):
    """Base class of what the simulated robot raises."""


class TargetError(SimError, ValueError):
    """A joint target has the wrong shape or is not finite."""


class TaskError(SimError, ValueError):
    """A setting of the task or of the expert is out of its range."""


class ModelError(SimError, ValueError):
    """The robot model lacks something that the simulation needs."""


class RenderError(SimError, RuntimeError):
    """No picture could be drawn: no OpenGL backend, or an unknown camera."""


class ClosedError(SimError, RuntimeError):
    """The simulated robot was used after `close()`."""
