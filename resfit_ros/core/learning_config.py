"""Every setting of the learning algorithm, with the paper's defaults (arXiv 2509.19301, section III-C)."""

import dataclasses

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.schema import param, validate

SCALAR, C51, HL_GAUSS = "scalar", "c51", "hl_gauss"
CRITIC_KINDS = (SCALAR, C51, HL_GAUSS)
MEAN, RANDOM_PAIR_MIN, FIRST = "mean", "random_pair_min", "first"
ACTOR_OBJECTIVES = (MEAN, RANDOM_PAIR_MIN, FIRST)
FLOAT32, BFLOAT16 = "float32", "bfloat16"
PRECISIONS = (FLOAT32, BFLOAT16)
MLP, ACT, FLOW = "mlp", "act", "flow"
BC_KINDS = (MLP, ACT, FLOW)
DEVICES = ("cpu", "cuda")
NONE, CQL, CAL_QL = "none", "cql", "cal_ql"
CONSERVATIVE_KINDS = (NONE, CQL, CAL_QL)
SUCCESSES, ALL = "successes", "all"
KEPT_DATA = (NONE, SUCCESSES, ALL)


@dataclasses.dataclass(frozen=True)
class LearningConfig:
    """Settings of the agent and its training schedule; steps are environment steps unless said."""

    # Residual
    residual_scale: float = param(
        0.2, gt=0.0, le=2.0, doc="bound of the residual per joint", unit="normalised action"
    )
    residual_scale_start: float = param(
        0.05, gt=0.0, le=2.0, doc="bound at the end of the warm-up, where it grows on a schedule"
    )
    residual_scale_steps: int = param(
        0, ge=0, doc="steps after the warm-up in which the bound grows to residual_scale; 0: no schedule"
    )
    residual_penalty: float = param(
        0.0, ge=0.0, doc="L2: weight of the mean squared residual / scale in the actor loss"
    )
    rlpd: bool = param(
        False, doc="baseline without a base policy (RLPD): actions are learnt whole, from the centre"
    )
    # Networks
    hidden_width: int = param(256, ge=8, le=4096, doc="units per hidden layer of actor and critics")
    hidden_layers: int = param(2, ge=1, le=8, doc="hidden layers of actor and critics")
    layer_norm: bool = param(True, doc="layer normalisation in actor and critics")
    critic_ensemble: int = param(10, ge=1, le=64, doc="members of the critic ensemble")
    critic_subset: int = param(2, ge=1, le=64, doc="random members whose minimum is the target")
    critic_kind: str = param(
        SCALAR, choices=CRITIC_KINDS, doc="squared error, or a distribution: C51 or HL-Gauss"
    )
    value_bins: int = param(101, ge=3, le=1001, doc="bins of a distribution of returns")
    value_min: float = param(0.0, doc="least return: of the bins and of clipped targets")
    value_max: float = param(1.0, doc="greatest return: of the bins and of clipped targets")
    hl_gauss_sigma: float = param(0.75, gt=0.0, le=10.0, doc="HL-Gauss smoothing", unit="bins")
    # Images
    use_images: bool = param(False, doc="the residual sees the cameras, not the state alone")
    vit_patch: int = param(8, ge=2, le=64, doc="side of an image patch", unit="px")
    vit_width: int = param(128, ge=8, le=1024, doc="size of a patch embedding")
    vit_depth: int = param(1, ge=1, le=12, doc="transformer blocks per camera")
    vit_heads: int = param(4, ge=1, le=16, doc="attention heads")
    image_features: int = param(64, ge=4, le=1024, doc="features that a camera is compressed to")
    random_shift: int = param(4, ge=0, le=32, doc="random-shift augmentation; 0: none", unit="px")
    encoder_path: str = param(
        "", doc="checkpoint whose image encoders training starts from; empty: random ones"
    )
    freeze_encoder: bool = param(False, doc="the image encoders are not trained")
    feature_extractor: str = param(
        "", doc="TorchScript file that turns images into features, stored in their place"
    )
    # Off-policy reinforcement learning
    discount: float = param(0.99, gt=0.0, lt=1.0, doc="discount per environment step")
    n_step: int = param(3, ge=1, le=100, doc="steps of the n-step return")
    utd: float = param(4.0, gt=0.0, le=64.0, doc="critic updates per environment step")
    actor_delay: int = param(4, ge=1, le=64, doc="critic updates per actor update")
    actor_objective: str = param(
        MEAN, choices=ACTOR_OBJECTIVES, doc="what the actor maximises: of the ensemble's values"
    )
    batch_size: int = param(256, ge=2, le=65536, doc="transitions per update")
    offline_fraction: float = param(
        0.5, ge=0.0, lt=1.0, doc="share of each batch drawn from the demonstrations"
    )
    interventions_as_demonstrations: bool = param(
        True, doc="steps a human drove are added to the demonstrations, where there are any"
    )
    prioritised: bool = param(False, doc="draw transitions by their TD error, each buffer by itself")
    priority_exponent: float = param(0.6, ge=0.0, le=1.0, doc="0: uniform; 1: in proportion")
    priority_correction: float = param(
        0.4, ge=0.0, le=1.0, doc="importance weights at the start; 1, in full, at the end"
    )
    critic_lr: float = param(3e-4, gt=0.0, lt=1.0, doc="learning rate of critics and encoders")
    actor_lr: float = param(1e-4, gt=0.0, lt=1.0, doc="learning rate of the actor")
    actor_lr_warmup: int = param(
        0, ge=0, doc="actor updates in which the actor's learning rate grows from zero"
    )
    polyak: float = param(0.005, gt=0.0, le=1.0, doc="Polyak averaging rate of the target critics")
    actor_average: float = param(
        0.005, gt=0.0, le=1.0, doc="averaging rate, per actor update, of the evaluated actor"
    )
    act_with_average: bool = param(False, doc="collect data with the averaged actor")
    target_noise: float = param(
        0.25, ge=0.0, le=2.0, doc="target policy smoothing: noise", unit="residual scale"
    )
    target_noise_clip: float = param(
        0.5, ge=0.0, le=4.0, doc="target policy smoothing: clip of the noise", unit="residual scale"
    )
    clip_targets: bool = param(True, doc="clip TD targets to [value_min, value_max]")
    max_grad_norm: float = param(10.0, gt=0.0, doc="gradients are scaled down to this norm")
    matmul_precision: str = param(
        FLOAT32, choices=PRECISIONS, doc="arithmetic of matrix products; weights stay float32"
    )
    # Exploration
    exploration_std: float = param(
        0.05, ge=0.0, le=2.0, doc="exploration noise", unit="normalised action"
    )
    exploration_std_end: float = param(
        0.0, ge=0.0, le=2.0, doc="noise at the end of its schedule", unit="normalised action"
    )
    exploration_steps: int = param(
        0, ge=0, doc="steps after the warm-up in which the noise falls to its end; 0: no schedule"
    )
    exploration_correlation: float = param(
        0.8, ge=0.0, lt=1.0, doc="correlation of the noise from one step to the next, AR(1)"
    )
    warmup_std: float = param(0.1, ge=0.0, le=2.0, doc="noise on the base action before learning")
    # Pretraining on recorded data
    pretrain_updates: int = param(
        0, ge=0, doc="node learner: critic updates on bags that are played, then it is done; 0: it fine-tunes"
    )
    warm_start_updates: int = param(
        0, ge=0, doc="updates at the end of pretraining in which the actor learns as well; 0: none"
    )
    conservative: str = param(
        NONE, choices=CONSERVATIVE_KINDS, doc="pretraining: pushes down the values of actions nobody took"
    )
    conservative_weight: float = param(0.1, ge=0.0, doc="weight of that beside the critic loss")
    conservative_actions: int = param(
        4, ge=1, le=64, doc="actions pushed down per transition: so many uniform ones, and as many near the actor's"
    )
    conservative_temperature: float = param(
        0.1, gt=0.0, doc="of the soft maximum over them, in units of the return"
    )
    keep_offline_data: str = param(
        ALL, choices=KEPT_DATA, doc="fine-tuning after pretraining: which recorded episodes stay in replay"
    )
    warmup_after_pretraining: int = param(
        0, ge=0, doc="warmup_steps where training starts from a pretrained critic and its data"
    )
    # Schedule
    warmup_steps: int = param(1000, ge=0, doc="steps with base + noise before the first update")
    critic_only_updates: int = param(1000, ge=0, doc="critic updates before the first actor update")
    total_steps: int = param(20000, ge=1, doc="steps after which training is done")
    replay_capacity: int = param(200_000, ge=100, doc="observations the online replay buffer holds")
    publish_every: int = param(50, ge=1, doc="actor updates between two published actors")
    seed: int = param(0, ge=0, doc="seed of weights, sampling and noise")

    def __post_init__(self) -> None:
        validate(self)
        if self.total_steps <= self.warmup_steps:
            raise ConfigError(
                f"total_steps {self.total_steps} must be above warmup_steps {self.warmup_steps}: "
                "nothing would be learnt"
            )
        if self.total_steps <= self.warmup_after_pretraining:
            raise ConfigError(
                f"total_steps {self.total_steps} must be above warmup_after_pretraining "
                f"{self.warmup_after_pretraining}: nothing would be learnt"
            )
        if self.value_min >= self.value_max:
            raise ConfigError(
                f"value_min {self.value_min:g} must be below value_max {self.value_max:g}: "
                "they bound the returns"
            )
        if self.vit_width % self.vit_heads:
            raise ConfigError(
                f"vit_width {self.vit_width} must be a multiple of vit_heads {self.vit_heads}"
            )
        for name in ("feature_extractor", "encoder_path"):
            if getattr(self, name) and not self.use_images:
                raise ConfigError(f"{name} is set, but use_images is false; set it to true")

    @property
    def largest_residual(self) -> float:
        """Bound of the residual at the end of its schedule; the whole action range without a base."""
        return 1.0 if self.rlpd else self.residual_scale


@dataclasses.dataclass(frozen=True)
class BCConfig:
    """Settings of the action-chunking behaviour-cloning policies."""

    kind: str = param(
        MLP, choices=BC_KINDS, doc="mlp: perceptron on the state; act, flow: transformers, with cameras too"
    )
    demonstrations: int = param(8, ge=1, doc="successful demonstrations the demo records")
    horizon: int = param(10, ge=1, le=200, doc="actions per chunk", unit="steps")
    # What it sees
    state: tuple[str, ...] = param(
        (), doc="blocks of the robot's state that the policy sees; empty: all of them"
    )
    use_images: bool = param(False, doc="act, flow: the policy sees the cameras")
    random_shift: int = param(4, ge=0, le=32, doc="random-shift augmentation; 0: none", unit="px")
    # mlp
    hidden_width: int = param(256, ge=8, le=4096, doc="mlp: units per hidden layer")
    hidden_layers: int = param(2, ge=1, le=8, doc="mlp: hidden layers")
    # act and flow
    width: int = param(128, ge=8, le=2048, doc="act, flow: size of a token, a multiple of 4 and of heads")
    heads: int = param(4, ge=1, le=32, doc="act, flow: attention heads")
    encoder_layers: int = param(2, ge=1, le=12, doc="act, flow: transformer blocks over the observation")
    decoder_layers: int = param(2, ge=1, le=12, doc="act, flow: transformer blocks over the chunk")
    stem_channels: int = param(32, ge=4, le=512, doc="act, flow: channels of a camera's first convolution")
    latent_dim: int = param(16, ge=1, le=512, doc="act: size of the latent")
    kl_weight: float = param(10.0, ge=0.0, doc="act: weight of the KL divergence beside the L1 loss")
    flow_steps: int = param(8, ge=1, le=100, doc="flow: Euler steps at inference")
    # Training
    updates: int = param(3000, ge=1, doc="optimiser steps")
    batch_size: int = param(128, ge=1, doc="chunks per optimiser step")
    learning_rate: float = param(1e-3, gt=0.0, lt=1.0, doc="mlp: initial learning rate, cosine decay")
    transformer_lr: float = param(5e-4, gt=0.0, lt=1.0, doc="act, flow: highest learning rate, cosine decay")
    warmup_updates: int = param(200, ge=0, doc="act, flow: updates in which the learning rate grows from zero")
    weight_decay: float = param(1e-4, ge=0.0, doc="decoupled weight decay")
    max_grad_norm: float = param(1.0, gt=0.0, doc="act, flow: gradients are scaled down to this norm")
    min_action_range: float = param(
        0.1, gt=0.0, doc="floor of a joint's demonstrated range in the scaling", unit="rad"
    )
    validation_fraction: float = param(
        0.1, ge=0.0, lt=1.0, doc="share of the episodes, rounded down, held out to validate on"
    )
    validate_every: int = param(100, ge=1, doc="updates between two validations")
    patience: int = param(
        0, ge=0, doc="validations without a better one after which training stops; 0: it does not"
    )
    device: str = param("cpu", choices=DEVICES, doc="where training runs; the policy itself runs on the CPU")
    seed: int = param(0, ge=0, doc="seed of weights, sampling and, for flow, of the noise at inference")

    def __post_init__(self) -> None:
        validate(self)
        if self.width % self.heads or self.width % 4:
            raise ConfigError(
                f"width {self.width} must be a multiple of 4 and of heads {self.heads}: tokens are split "
                "between them"
            )
        if self.use_images and self.kind == MLP:
            raise ConfigError("use_images is true, but an mlp sees the state alone; set kind to act or flow")
