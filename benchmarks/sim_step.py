"""Cost of one simulated control step (20 Hz), beside bare MuJoCo physics of the same length."""

import argparse
import json
import time

import mujoco
import numpy as np

from resfit_ros.sim import HumanoidSim, ScriptedExpert

STEPS = 2000
CONTROL_S = 0.05


def step_ms(sim: HumanoidSim) -> float:
    """Mean time of `HumanoidSim.step` over whole lifts, contacts included, in ms."""
    expert = ScriptedExpert(sim.model)
    spent = 0.0
    for k in range(STEPS):
        if k % 40 == 0:
            sim.reset(k)
            expert.reset(k)
        target = expert.act(sim.joint_positions, sim.box_position, sim.box_quaternion)
        begin = time.perf_counter()
        sim.step(target, CONTROL_S)
        spent += time.perf_counter() - begin
    return spent / STEPS * 1e3


def physics_ms(sim: HumanoidSim) -> float:
    """Mean time of the bare physics ticks of one control step, robot at rest, in ms."""
    model = sim.model.mj
    data = mujoco.MjData(model)
    data.ctrl[:] = sim.home
    ticks = round(CONTROL_S / model.opt.timestep)
    begin = time.perf_counter()
    for _ in range(STEPS):
        for _ in range(ticks):
            mujoco.mj_step(model, data)
    return (time.perf_counter() - begin) / STEPS * 1e3


def main() -> None:
    """Prints both figures and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    arguments = parser.parse_args()
    with HumanoidSim() as sim:
        figures = {"step_ms": step_ms(sim), "physics_ms": physics_ms(sim)}
    figures["ratio"] = figures["step_ms"] / figures["physics_ms"]
    print(
        f"one control step {figures['step_ms']:.3f} ms, bare physics at rest "
        f"{figures['physics_ms']:.3f} ms, ratio {figures['ratio']:.2f}"
    )
    if arguments.json:
        print(json.dumps({name: float(np.round(value, 4)) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
