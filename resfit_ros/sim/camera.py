"""Offscreen pictures of the scene."""

from __future__ import annotations

import mujoco
import numpy as np

from resfit_ros.sim.errors import RenderError
from resfit_ros.sim.graphics import open_context

MAX_SHAPES = 1000  # drawn at once


class OffscreenCamera:
    """Draws pictures of a model; holds one OpenGL context until closed.

    A context belongs to the thread that made it: draw from that thread alone.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        """Opens the context.

        Raises:
            RenderError: no OpenGL backend works on this machine.
        """
        self._model = model
        self._largest = (int(model.vis.global_.offwidth), int(model.vis.global_.offheight))
        self._context = open_context(*self._largest)
        self._drawing = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._drawing)
        self._size = self._largest
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_SHAPES)
        self._view = mujoco.MjvCamera()
        self._view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._options = mujoco.MjvOption()
        # Group 3 holds the collision pads, which the drawn hands already show.
        self._options.geomgroup[:] = (1, 1, 0, 0, 0, 0)
        self._options.sitegroup[:] = 0

    def render(self, data: mujoco.MjData, width: int, height: int, camera: str) -> np.ndarray:
        """Draws `data` as `camera` sees it, uint8 (height, width, 3), RGB.

        Raises:
            RenderError: no such camera, or a picture larger than the model allows.
        """
        index = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_CAMERA, camera)
        if index < 0:
            known = [self._model.camera(i).name for i in range(self._model.ncam)]
            raise RenderError(f"camera: expected one of {known}, got {camera!r}")
        self._resize(width, height)
        self._context.make_current()
        self._view.fixedcamid = index
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._options,
            None,
            self._view,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        viewport = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(viewport, self._scene, self._drawing)
        picture = np.empty((height, width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(picture, None, viewport, self._drawing)
        return np.ascontiguousarray(picture[::-1])  # OpenGL's first row is the lowest

    def close(self) -> None:
        """Frees the context."""
        self._context.make_current()
        self._drawing.free()
        self._context.free()

    def _resize(self, width: int, height: int) -> None:
        if not (0 < width <= self._largest[0] and 0 < height <= self._largest[1]):
            raise RenderError(
                f"picture: expected at most {self._largest[0]}x{self._largest[1]}, "
                f"got {width}x{height}"
            )
        if self._size != (width, height):
            self._context.make_current()
            mujoco.mjr_resizeOffscreen(width, height, self._drawing)
            self._size = (width, height)
