"""The OpenGL context that pictures are drawn in, on machines with and without a screen."""

from __future__ import annotations

import os
from contextlib import suppress
from ctypes.util import find_library
from importlib import import_module
from pathlib import Path
from typing import Protocol

from resfit_ros.sim.errors import RenderError

BACKENDS = ("egl", "osmesa", "glfw")


def load_triton_first() -> None:
    """Call before any OpenGL library is loaded.

    Triton comes with PyTorch for CUDA and has an LLVM inside. Mesa loads another one for all to see, and a
    Triton that is imported after that takes it for its own: the process dies of a segmentation fault.
    """
    with suppress(ImportError):  # PyTorch for the CPU, or none
        import_module("triton")


class GraphicsContext(Protocol):
    """An offscreen OpenGL context, as MuJoCo's backends make them."""

    def make_current(self) -> None:
        """Makes this thread draw into the context."""

    def free(self) -> None:
        """Destroys the context."""


def choose_backend() -> str:
    """Names the OpenGL backend: the environment's MUJOCO_GL, else one that needs no screen.

    EGL draws on a graphics card; OSMesa draws on the processor. MuJoCo's own choice, at import,
    would be a window system, which aborts the process where there is no screen.

    Raises:
        RenderError: MUJOCO_GL names no backend, or none is installed.
    """
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    if asked:
        if asked not in BACKENDS:
            raise RenderError(f"MUJOCO_GL: expected one of {BACKENDS}, got {asked!r}")
        return asked
    has_card = Path("/dev/nvidia0").exists() or Path("/dev/dri/renderD128").exists()
    libraries = {"egl": "EGL", "osmesa": "OSMesa"}
    for backend in ("egl", "osmesa") if has_card else ("osmesa", "egl"):
        if find_library(libraries[backend]):
            return backend
    if os.environ.get("DISPLAY"):
        return "glfw"
    raise RenderError("no OpenGL backend: expected libOSMesa or libEGL (libosmesa6, libegl1)")


def open_context(width: int, height: int) -> GraphicsContext:
    """Makes an offscreen context and makes it current.

    Raises:
        RenderError: the chosen backend does not work on this machine.
    """
    backend = choose_backend()
    load_triton_first()
    try:
        # Each backend's module loads its library on import, so only the chosen one may be.
        context = import_module(f"mujoco.{backend}").GLContext(width, height)
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise RenderError(
            f"the OpenGL backend {backend!r} does not work here; "
            f"try MUJOCO_GL=egl or MUJOCO_GL=osmesa ({error})"
        ) from error
    context.make_current()
    return context
