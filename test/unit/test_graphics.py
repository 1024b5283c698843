"""The order in which graphics libraries are loaded."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("mujoco", reason="MuJoCo is not installed")

from resfit_ros.sim import graphics  # noqa: E402
from resfit_ros.sim.errors import RenderError  # noqa: E402

RENDER = """
from resfit_ros.sim import HumanoidSim
with HumanoidSim() as sim:
    sim.reset(1)
    sim.render(32, 32)
import triton
print("alive")
"""


def test_when_a_context_is_opened_expect_triton_loaded_before_opengl(monkeypatch):
    loaded = []

    def load(name: str):
        loaded.append(name)
        raise ImportError(name)

    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(graphics, "import_module", load)
    with pytest.raises(RenderError, match="mujoco.osmesa"):
        graphics.open_context(8, 8)
    assert loaded == ["triton", "mujoco.osmesa"]


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed: it comes with PyTorch for CUDA")
@pytest.mark.parametrize("chosen", ["", "osmesa"])
def test_when_triton_is_imported_after_rendering_expect_the_process_alive(chosen):
    environment = {k: v for k, v in os.environ.items() if k != "MUJOCO_GL"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    ran = subprocess.run(
        [sys.executable, "-c", RENDER],
        env=environment | ({"MUJOCO_GL": chosen} if chosen else {}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "alive"), ran.stderr[-500:]
