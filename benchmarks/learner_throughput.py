"""Gradient updates per second beside a plain PyTorch learner of the same mathematics.

(a) state 70 + action 29, 10 critics of width 256; (b) two 84x84 cameras, vision transformer of depth 1
and width 128 with patches of 8, 10 critics of width 1024. Batch 256. One update is one critic update,
and every fourth time an actor update.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from resfit_ros.core.learning_config import BFLOAT16, FLOAT32, PRECISIONS, LearningConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Segment
from resfit_ros.learning import ensemble
from resfit_ros.learning.agent import Agent
from resfit_ros.learning.batch import ObservationBatch, TransitionBatch
from resfit_ros.learning.hardware import keep_freed_memory, matmul_precision
from resfit_ros.learning.networks import ObservationShape
from resfit_ros.learning.trainer import Trainer

STATES, ACTIONS, BATCH, CAMERAS = 70, 29, 256, ((84, 84), (84, 84))
NETWORKS = {
    "state": dict(hidden_width=256),
    "pixels": dict(hidden_width=1024, use_images=True),
}
ROUNDS = {"state": (7, 24), "pixels": (3, 4)}  # rounds, updates in each


# -- the plain learner: what one writes first, one module per critic -------------------------------


def perceptron(inputs: int, outputs: int, width: int) -> nn.Sequential:
    """Two hidden layers with layer normalisation."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.LayerNorm(width), nn.ReLU(),
        nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(),
        nn.Linear(width, outputs),
    )  # fmt: skip


class PlainCamera(nn.Module):
    """Vision transformer of one camera, float pictures (B, 3, H, W) to features (B, F)."""

    def __init__(self, height: int, width: int, c: LearningConfig) -> None:
        super().__init__()
        self.padding = (0, -width % c.vit_patch, 0, -height % c.vit_patch)
        tokens = -(-height // c.vit_patch) * -(-width // c.vit_patch)
        self.embed = nn.Conv2d(3, c.vit_width, c.vit_patch, stride=c.vit_patch)
        self.position = nn.Parameter(torch.zeros(tokens, c.vit_width))
        block = nn.TransformerEncoderLayer(
            c.vit_width, c.vit_heads, 4 * c.vit_width, dropout=0.0, batch_first=True, norm_first=True,
            activation="gelu",
        )  # fmt: skip
        self.blocks = nn.TransformerEncoder(block, c.vit_depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(c.vit_width)
        self.compress = nn.Linear(tokens * c.vit_width, c.image_features)
        self.out_norm = nn.LayerNorm(c.image_features)

    def forward(self, image: Tensor) -> Tensor:
        x = nn.functional.pad(image.float(), self.padding, value=127.0) / 127.5 - 1.0
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        tokens = self.norm(self.blocks(tokens))
        return torch.tanh(self.out_norm(self.compress(tokens.flatten(1))))


def shifted(images: Tensor, pixels: int) -> Tensor:
    """Random-shift augmentation of (B, 3, H, W): pad, then crop each picture."""
    if not pixels:
        return images
    height, width = images.shape[2:]
    padded = nn.functional.pad(images.float(), (pixels,) * 4, mode="replicate")
    at = torch.randint(0, 2 * pixels + 1, (len(images), 2)).tolist()
    return torch.stack([p[:, y : y + height, x : x + width] for p, (y, x) in zip(padded, at)])


class PlainLearner:
    """The same update as `Agent.update`, written without regard to speed."""

    def __init__(self, shape: ObservationShape, c: LearningConfig) -> None:
        self.c = c
        self.cameras = nn.ModuleList(PlainCamera(*size, c) for size in shape.cameras)
        features = shape.state_dim + shape.action_dim + 1 + c.image_features * len(shape.cameras)
        inputs, width = features + shape.action_dim, c.hidden_width
        self.actor = perceptron(features, shape.action_dim, width)
        self.critics = nn.ModuleList(perceptron(inputs, 1, width) for _ in range(c.critic_ensemble))
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        critic_side = [*self.critics.parameters(), *self.cameras.parameters()]
        self.critic_optimiser = torch.optim.Adam(critic_side, lr=c.critic_lr)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), lr=c.actor_lr)
        self.average = copy.deepcopy(nn.ModuleList([self.actor, self.cameras])).requires_grad_(False)
        self.updates = 0

    def encode(self, observation: ObservationBatch) -> Tensor:
        parts = [observation.state, observation.base, observation.phase]
        for camera, image in zip(self.cameras, observation.images):
            parts.append(camera(shifted(image.permute(0, 3, 1, 2), self.c.random_shift)))
        return torch.cat(parts, dim=-1)

    @torch.no_grad()
    def target(self, batch: TransitionBatch) -> Tensor:
        c, scale = self.c, self.c.residual_scale
        features = self.encode(batch.next_observation)
        residual = scale * torch.tanh(self.actor(features))
        noise = (torch.randn_like(residual) * c.target_noise).clamp(-c.target_noise_clip, c.target_noise_clip)
        action = batch.next_observation.base + (residual + scale * noise).clamp(-scale, scale)
        chosen = torch.randperm(c.critic_ensemble)[: c.critic_subset].tolist()
        x = torch.cat((features, action), dim=-1)
        value = torch.stack([self.targets[i](x).squeeze(-1) for i in chosen]).amin(dim=0)
        return (batch.reward + batch.discount * value).clamp(c.value_min, c.value_max)

    def update(self, batch: TransitionBatch) -> tuple[Tensor, Tensor | None]:
        """One critic update and, every fourth time, an actor update; their losses."""
        c, target = self.c, self.target(batch)
        features = self.encode(batch.observation)
        x = torch.cat((features, batch.action), dim=-1)
        q = torch.stack([critic(x).squeeze(-1) for critic in self.critics])
        loss = (q - target).square().mean()
        self._step(self.critic_optimiser, loss)
        self._follow(self.targets, self.critics, c.polyak)
        self.updates += 1
        if self.updates % c.actor_delay:
            return loss.detach(), None
        return loss.detach(), self._update_actor(batch, features.detach())

    def _update_actor(self, batch: TransitionBatch, features: Tensor) -> Tensor:
        self.critics.requires_grad_(False)
        residual = self.c.residual_scale * torch.tanh(self.actor(features))
        x = torch.cat((features, batch.observation.base + residual), dim=-1)
        loss = -torch.stack([critic(x) for critic in self.critics]).mean()
        self._step(self.actor_optimiser, loss)
        self.critics.requires_grad_(True)
        self._follow(self.average, nn.ModuleList([self.actor, self.cameras]), self.c.actor_average)
        return loss.detach()

    def _step(self, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], self.c.max_grad_norm)
        optimiser.step()

    @torch.no_grad()
    def _follow(self, slow: nn.Module, fast: nn.Module, rate: float) -> None:
        for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
            a.lerp_(b, rate)


# -- the same mathematics, checked ------------------------------------------------------------------


def copy_weights(plain: PlainLearner, agent: Agent) -> None:
    """Gives `agent` the weights of `plain`."""
    with torch.no_grad():
        for module in (agent.critic, agent.target_critic):
            for m, critic in enumerate(plain.critics):
                linears, norms = [critic[0], critic[3]], [critic[1], critic[4]]
                for layer, linear, norm in zip(module.layers, linears, norms):
                    layer.linear.weight[m] = linear.weight.T
                    layer.linear.bias[m, 0] = linear.bias
                    layer.gain[m, 0], layer.offset[m, 0] = norm.weight, norm.bias
                module.head.weight[m] = critic[6].weight.T
                module.head.bias[m, 0] = critic[6].bias
        actor = agent.actor
        own = [*actor.trunk.parameters(), *actor.head.parameters()]
        for ours, theirs in zip(own, plain.actor.parameters(), strict=True):
            ours.copy_(theirs)
        for ours, theirs in zip(actor.encoder.cameras, plain.cameras, strict=True):
            copy_camera(ours, theirs)


def copy_camera(ours: nn.Module, theirs: PlainCamera) -> None:
    """Gives our camera encoder the weights of the plain one."""
    ours.embed.weight.copy_(theirs.embed.weight.permute(0, 2, 3, 1).flatten(1))
    ours.embed.bias.copy_(theirs.embed.bias)
    ours.position.copy_(theirs.position)
    for block, layer in zip(ours.blocks, theirs.blocks.layers, strict=True):
        block.qkv.weight.copy_(layer.self_attn.in_proj_weight)
        block.qkv.bias.copy_(layer.self_attn.in_proj_bias)
        pairs = (
            (block.out, layer.self_attn.out_proj), (block.up, layer.linear1), (block.down, layer.linear2),
            (block.norm_attention, layer.norm1), (block.norm_mlp, layer.norm2),
        )  # fmt: skip
        for a, b in pairs:
            a.load_state_dict(b.state_dict())
    for name in ("norm", "compress", "out_norm"):
        getattr(ours, name).load_state_dict(getattr(theirs, name).state_dict())


def check_same(shape: ObservationShape, settings: dict, batch: TransitionBatch) -> float:
    """Largest relative difference of the losses over four updates, without anything random."""
    c = LearningConfig(**settings, target_noise=0.0, random_shift=0, critic_subset=10)
    plain, agent = PlainLearner(shape, c), Agent(shape, c)
    copy_weights(plain, agent)
    worst = 0.0
    for _ in range(c.actor_delay):
        theirs, ours = plain.update(batch), agent.update(batch).metrics
        pairs = ((theirs[0], ours["critic_loss"]), (theirs[1], ours.get("actor_loss")))
        worst = max([worst] + [abs(float(a / b) - 1.0) for a, b in pairs if a is not None])
    return worst


# -- measuring --------------------------------------------------------------------------------------


def random_batch(shape: ObservationShape, size: int = BATCH) -> TransitionBatch:
    """A batch of noise."""

    def observation() -> ObservationBatch:
        vector = torch.randn(size, shape.state_dim + shape.action_dim + 1)
        images = tuple(
            torch.randint(0, 256, (size, *sides, 3), dtype=torch.uint8) for sides in shape.cameras
        )
        return ObservationBatch.from_vector(vector, shape.state_dim, images)

    reward = (torch.rand(size) < 0.1).float()
    action = torch.randn(size, shape.action_dim)
    return TransitionBatch(observation(), action, reward, torch.full((size,), 0.97), observation())


def seconds(update: Callable[[], object], count: int) -> float:
    """Mean time of one call."""
    begin = time.perf_counter()
    for _ in range(count):
        update()
    return (time.perf_counter() - begin) / count


def matmul_rate(precision: str) -> float:
    """Best rate of 1024 x 1024 products, FLOP/s."""
    a, b, out = (torch.randn(1024, 1024) for _ in range(3))
    with matmul_precision(precision):
        torch.mm(a, b, out=out)
        return 2 * 1024**3 / min(seconds(lambda: torch.mm(a, b, out=out), 10) for _ in range(5))


def flops(agent: Agent, batch: TransitionBatch) -> float:
    """Of matrix products in one update, the actor's share included."""
    with FlopCounterMode(display=False) as counter:
        for _ in range(agent.config.actor_delay):
            agent.update(batch)
    return counter.get_total_flops() / agent.config.actor_delay


def host_seconds(shape: ObservationShape, settings: dict) -> float:
    """What an update costs beside arithmetic: sampling a batch, and the same calls on next to no data."""
    steps = 60
    normaliser = Normaliser(
        tuple(map(str, range(ACTIONS))), np.zeros(ACTIONS), np.ones(ACTIONS), np.zeros(STATES), np.ones(STATES)
    )
    config = LearningConfig(**settings, replay_capacity=4000)
    trainer = Trainer(config, normaliser, cameras=shape.cameras)
    segment = Segment(
        episode_id=1,
        states=np.zeros((steps + 1, STATES), np.float32),
        bases=np.zeros((steps + 1, ACTIONS), np.float32),
        phases=np.zeros(steps + 1, np.float32),
        actions=np.zeros((steps, ACTIONS), np.float32),
        rewards=np.zeros(steps, np.float32),
        terminal=True,
        images=tuple(np.zeros((steps + 1, *sides, 3), np.uint8) for sides in shape.cameras),
    )
    for _ in range(30):
        trainer.add(segment)
        trainer.add_demonstrations([segment])
    sampling = statistics.median(seconds(trainer.sample, 10) for _ in range(5))
    small = ObservationShape(4, 2, tuple((8, 8) for _ in shape.cameras))
    agent = Agent(small, LearningConfig(hidden_width=8, vit_width=8, use_images=bool(shape.cameras)))
    batch = random_batch(small, 2)
    large, ensemble.LARGE_MEMBER = ensemble.LARGE_MEMBER, 0  # the calls that large networks take
    try:
        agent.update(batch)
        return sampling + statistics.median(seconds(lambda: agent.update(batch), 20) for _ in range(5))
    finally:
        ensemble.LARGE_MEMBER = large


def measure(name: str) -> dict[str, float]:
    """Both learners in turns, so that what else the machine does meets all of them."""
    cameras = CAMERAS if name == "pixels" else ()
    shape, settings = ObservationShape(STATES, ACTIONS, cameras), NETWORKS[name]
    batch = random_batch(shape)
    figures = {"losses_differ_by": check_same(shape, settings, batch)}
    plain = PlainLearner(shape, LearningConfig(**settings))
    agents = {p: Agent(shape, LearningConfig(**settings, matmul_precision=p)) for p in PRECISIONS}
    work = flops(agents[FLOAT32], batch)

    def plain_with_units() -> None:
        with matmul_precision(BFLOAT16):
            plain.update(batch)

    learners: dict[str, Callable[[], object]] = {
        "plain_float32": lambda: plain.update(batch),
        "plain_bfloat16": plain_with_units,
    }
    learners |= {p: lambda agent=agent: agent.update(batch) for p, agent in agents.items()}
    rounds, count = ROUNDS[name]
    taken: dict[str, list[float]] = {key: [] for key in learners}
    for update in learners.values():
        update()
    for _ in range(rounds):
        for key, update in learners.items():
            taken[key].append(seconds(update, count))
    for key, values in taken.items():
        figures[f"{key}_per_s"] = 1.0 / statistics.median(values)
    for p in PRECISIONS:
        figures[f"{p}_ratio"] = figures[f"{p}_per_s"] / figures["plain_float32_per_s"]
        figures[f"{p}_ratio_same_arithmetic"] = figures[f"{p}_per_s"] / figures[f"plain_{p}_per_s"]
        figures[f"{p}_matmul_share"] = work * figures[f"{p}_per_s"] / matmul_rate(p)
    figures["gflop_per_update"] = work / 1e9
    host = host_seconds(shape, settings)
    for p in PRECISIONS:
        figures[f"{p}_host_share"] = host * figures[f"{p}_per_s"]
    return figures


def main() -> None:
    """Prints updates per second, ratios and shares of the matrix-multiply rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--only", choices=tuple(NETWORKS), help="one of the two")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    results = {"threads": arguments.threads}
    for name in [arguments.only] if arguments.only else NETWORKS:
        results[name] = f = measure(name)
        print(f"{name}: {f['gflop_per_update']:.2f} GFLOP per update; losses agree to {f['losses_differ_by']:.0e}")
        for p in PRECISIONS:
            print(
                f"  {p:9} {f[p + '_per_s']:8.2f} updates/s, {f[p + '_matmul_share']:4.0%} of the matrix-multiply "
                f"rate, {f[p + '_ratio']:.2f} x plain float32 ({f['plain_float32_per_s']:.2f}/s), "
                f"{f[p + '_ratio_same_arithmetic']:.2f} x plain with the same arithmetic; "
                f"sampling and calls {f[p + '_host_share']:.0%}"
            )
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
