"""What one update of the agent is computed from."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class ObservationBatch:
    """What the residual sees, float32: state (B, S) standardised, base (B, A) normalised, phase (B, 1).

    images: one uint8 (B, H, W, 3) per camera.
    """

    state: Tensor
    base: Tensor
    phase: Tensor
    images: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class TransitionBatch:
    """n-step transitions, float32.

    action (B, A): executed, normalised. reward (B,): discounted sum over the window. discount (B,):
    discount ** steps of the window, 0 where bootstrapping ends.
    """

    observation: ObservationBatch
    action: Tensor
    reward: Tensor
    discount: Tensor
    next_observation: ObservationBatch
