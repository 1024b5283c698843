"""How long each base-policy adapter takes for a chunk, on one thread.

The same small perceptron goes through every adapter, so that the differences are the adapters' own;
the built-in transformers come with one 84x84 camera, at their default sizes and with random weights.
The reference is the perceptron called as plain PyTorch, in the same run. With --lerobot DIR, a policy
saved by LeRobot is measured too (in LeRobot's environment), and with --server ws://HOST:PORT a server.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from resfit_ros.core.chunks import Chunking
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.observation import StateLayout
from resfit_ros.core.types import Observation
from resfit_ros.policies.loading import load_policy
from resfit_ros.policies.protocol import Camera, Robot, close_policy
from resfit_ros.policies.reference import PolicyReference, parse_reference

JOINTS, SIDE, HORIZON = 29, 84, 12
NAMES = tuple(f"joint_{i}" for i in range(JOINTS))
LAYOUT = StateLayout(("joint_positions", "joint_velocities", "pose/box"), JOINTS)
BLIND, SEEING = Robot(NAMES, LAYOUT), Robot(NAMES, LAYOUT, (Camera("camera", SIDE, SIDE),))
WARM_UP, CALLS = 20, 200


def observation(robot: Robot, step: int = 0) -> Observation:
    rng = np.random.default_rng(step)
    images = tuple(rng.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in robot.cameras)
    return Observation(0, 1, step, rng.standard_normal(robot.layout.size).astype(np.float32), images)


def milliseconds(call: Callable[[Observation], object], robot: Robot, calls: int = CALLS) -> tuple[float, float]:
    """(median, 99th percentile) of a chunk, [ms]."""
    seen, times = [observation(robot, i) for i in range(8)], []
    for i in range(WARM_UP + calls):
        begin = time.perf_counter()
        call(seen[i % 8])
        times.append(1e3 * (time.perf_counter() - begin))
    return float(np.median(times[WARM_UP:])), float(np.percentile(times[WARM_UP:], 99))


class Hand:
    """The perceptron's place taken by NumPy: what python:MODULE:CLASS costs by itself."""

    def __init__(self, robot: Robot) -> None:
        from resfit_ros.policies.protocol import PolicySpec

        self.spec = PolicySpec("hand", robot.action_dim, HORIZON, identity="hand")

    def reset(self, episode_id: int) -> None:
        pass

    def infer(self, seen: Observation) -> np.ndarray:
        return np.repeat(seen.state[None, :JOINTS], HORIZON, axis=0)


def built_in(directory: Path, kind: str, cameras: bool) -> Path:
    """A policy directory with random weights."""
    from resfit_ros.core.learning_config import BCConfig
    from resfit_ros.core.normalize import Normaliser
    from resfit_ros.learning.bc import build_network
    from resfit_ros.learning.bc_data import BCInputs, CameraSize
    from resfit_ros.policies.chunk_policy import save_chunk_policy

    config = BCConfig(kind=kind, horizon=HORIZON, use_images=cameras)
    sizes = (CameraSize("camera", SIDE, SIDE),) if cameras else ()
    size = LAYOUT.size
    normaliser = Normaliser(NAMES, np.zeros(JOINTS), np.ones(JOINTS), np.zeros(size), np.ones(size))
    network = build_network(size, JOINTS, config, sizes)
    save_chunk_policy(directory, network, normaliser, config, BCInputs(cameras=sizes))
    return directory


def exported(directory: Path) -> tuple[Callable[[Observation], object], dict[str, str]]:
    """(the perceptron as plain PyTorch, references of it in files)."""
    import torch

    layers = [torch.nn.Linear(LAYOUT.size, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(256, HORIZON * JOINTS))
    network = torch.nn.Sequential(network, torch.nn.Unflatten(1, (HORIZON, JOINTS))).eval()
    example = (torch.zeros(1, LAYOUT.size),)
    torch.jit.script(network).save(str(directory / "policy.pt"))
    torch.export.save(torch.export.export(network, example), directory / "policy.pt2")
    files = {"TorchScript": "policy.pt", "torch.export": "policy.pt2"}
    try:
        torch.onnx.export(network, example, directory / "policy.onnx", input_names=["state"], dynamo=False)
        files["ONNX"] = "policy.onnx"
    except (ImportError, ModuleNotFoundError) as error:
        print(f"ONNX not measured: {error}")

    @torch.inference_mode()
    def plain(seen: Observation) -> np.ndarray:
        return network(torch.from_numpy(seen.state)[None]).numpy()

    return plain, {name: str(directory / file) for name, file in files.items()}


def report(name: str, figures: tuple[float, float], reference: float) -> None:
    median, p99 = figures
    print(f"{name:<44} {median:9.3f} {p99:9.3f} {median / reference:9.1f}", flush=True)


def measure(name: str, reference: PolicyReference, robot: Robot, plain_ms: float, calls: int = CALLS) -> None:
    try:
        policy = load_policy(reference, robot, Chunking(1))
    except ConfigError as error:
        print(f"{name:<44} not measured: {error}")
        return
    policy.reset(1)
    report(name, milliseconds(policy.infer, robot, calls), plain_ms)
    close_policy(policy)


def through_a_server(directory: Path, robot: Robot, name: str, plain_ms: float) -> None:
    """Our server and client on this machine, over the loopback interface."""
    from resfit_ros.policies.serving import PolicyServer, ServedPolicy

    served = load_policy(parse_reference(str(directory)), robot, Chunking(1))
    server = PolicyServer(ServedPolicy(served, robot), port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    measure(name, parse_reference(f"ws://127.0.0.1:{server.port}"), robot, plain_ms)
    server.stop()
    thread.join()


def of_lerobot(directory: str) -> None:
    """A policy saved by LeRobot, as its own configuration describes it."""
    from resfit_ros.policies.lerobot import described_robot

    reference = PolicyReference("lerobot", directory)
    robot = described_robot(reference)
    policy = load_policy(reference, robot, Chunking(1))
    policy.reset(1)
    report(f"{policy.spec.name}, in process", milliseconds(policy.infer, robot, 30), float("nan"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lerobot", default="", help="directory saved by LeRobot; nothing else is measured")
    arguments = parser.parse_args()
    try:
        import torch
    except ModuleNotFoundError:
        raise SystemExit("PyTorch is needed: pip install torch") from None
    torch.set_num_threads(1)
    print(f"{'adapter':<44} {'median ms':>9} {'p99 ms':>9} {'ratio':>9}")
    if arguments.lerobot:
        of_lerobot(arguments.lerobot)
        return
    with tempfile.TemporaryDirectory() as scratch:
        plain, files = exported(Path(scratch))
        plain_ms, plain_p99 = milliseconds(plain, BLIND)
        report("perceptron in plain PyTorch (reference)", (plain_ms, plain_p99), plain_ms)
        for kind, cameras in (("mlp", False), ("act", False), ("act", True), ("flow", False), ("flow", True)):
            place = built_in(Path(scratch, f"{kind}{cameras}"), kind, cameras)
            seen = ", one camera 84x84" if cameras else ", state alone"
            measure(f"built-in {kind}{seen}", parse_reference(str(place)), SEEING if cameras else BLIND, plain_ms)
        for name, file in files.items():
            measure(f"{name}, perceptron", parse_reference(file), BLIND, plain_ms)
        measure("python:MODULE:CLASS, NumPy", parse_reference("python:benchmarks.policy_latency:Hand"), BLIND, plain_ms)
        through_a_server(Path(scratch, "mlpFalse"), BLIND, "openpi protocol on this machine, perceptron", plain_ms)
        through_a_server(Path(scratch, "actTrue"), SEEING, "openpi protocol on this machine, act, camera", plain_ms)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
