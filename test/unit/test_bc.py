"""Behaviour cloning of chunks: training, validation, best weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from builders import make_segment

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.schema import markdown_table
from resfit_ros.learning import bc_training
from resfit_ros.learning.bc import BCConfig, ChunkNetwork, chunk_targets, clone, fit_normaliser, train_bc
from resfit_ros.learning.bc_data import BCInputs, CameraSize, Demonstrations, check_images, split_episodes

SMALL = BCConfig(horizon=3, hidden_width=32, hidden_layers=1, updates=300, batch_size=32)
TINY = dict(
    horizon=4, width=16, heads=2, encoder_layers=1, decoder_layers=1, latent_dim=2, stem_channels=4,
    hidden_width=16, hidden_layers=1, batch_size=32, flow_steps=4,
)  # fmt: skip


def lines(count: int = 6, steps: int = 20):
    """Demonstrations in which the action is a linear function of the state."""
    rng = np.random.default_rng(0)
    segments = []
    for episode in range(count):
        states = np.cumsum(rng.normal(0, 0.1, (steps + 1, 3)), axis=0).astype(np.float32)
        actions = states[:-1] @ np.array([[1, 0], [0, 1], [1, -1]], np.float32)
        segments.append(make_segment(rng, steps, states=states, actions=actions, episode_id=episode + 1))
    return segments


def plain_loop(segments, config: BCConfig) -> list[torch.Tensor]:
    """The perceptron trained as plainly as can be: the weights that `train_bc` must give, bit for bit."""
    normaliser = fit_normaliser(segments, ("a", "b"), config.min_action_range)
    states = np.concatenate([normaliser.normalise_state(s.states[:-1]) for s in segments])
    actions = [normaliser.normalise_action(s.actions) for s in segments]
    chunks = np.concatenate([chunk_targets(a, config.horizon) for a in actions])
    inputs, targets = torch.from_numpy(states), torch.from_numpy(chunks)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    network = ChunkNetwork(3, 2, config)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.updates)
    for _ in range(config.updates):
        rows = torch.randint(len(inputs), (config.batch_size,), generator=generator)
        loss = (network(inputs[rows]) - targets[rows]).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return list(network.parameters())


def test_when_chunks_are_cut_expect_following_actions_and_the_last_repeated():
    actions = np.arange(4, dtype=np.float32)[:, None]
    chunks = chunk_targets(actions, 3)
    assert chunks[:, :, 0].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 3], [3, 3, 3]]


def test_when_network_is_asked_expect_a_chunk_per_state():
    network = ChunkNetwork(3, 2, SMALL)
    assert network(torch.zeros(5, 3)).shape == (5, 3, 2)


def test_when_trained_expect_the_demonstrated_actions():
    segments = lines()
    network, normaliser = train_bc(segments, ("a", "b"), SMALL)
    states = torch.from_numpy(normaliser.normalise_state(segments[0].states[:-1]))
    first = network(states)[:, 0].detach().numpy()
    wanted = normaliser.normalise_action(segments[0].actions)
    assert np.mean((first - wanted) ** 2) < 0.01
    assert np.var(wanted) > 0.05


def test_when_a_perceptron_is_trained_without_validation_expect_the_plain_loops_weights():
    config = BCConfig(
        horizon=5, hidden_width=16, hidden_layers=2, updates=130, batch_size=24, validation_fraction=0.0, seed=3
    )
    network, _ = train_bc(lines(12, 9), ("a", "b"), config)
    for ours, theirs in zip(network.parameters(), plain_loop(lines(12, 9), config), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", ["mlp", "act", "flow"])
def test_when_seed_is_the_same_expect_the_same_network(kind):
    short = BCConfig(kind=kind, **TINY, updates=5)
    first, second = (train_bc(lines(), ("a", "b"), short)[0] for _ in range(2))
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


@pytest.mark.parametrize(("kind", "most"), [("mlp", 0.2), ("act", 0.5), ("flow", 0.6)])
def test_when_trained_on_a_simple_problem_expect_the_loss_to_fall(kind, most):
    rates = dict(learning_rate=5e-3, transformer_lr=5e-3, warmup_updates=10)
    config = BCConfig(kind=kind, **TINY, **rates, updates=120, validate_every=20)
    losses = clone(lines(), ("a", "b"), config).record.training_losses
    assert losses[-1] < most * losses[0]


def test_when_trained_expect_progress_reported_to_the_end():
    seen: list[tuple[int, float]] = []
    config = BCConfig(horizon=3, hidden_width=8, hidden_layers=1, updates=120)
    train_bc(lines(), ("a", "b"), config, lambda update, loss: seen.append((update, loss)))
    assert [update for update, _ in seen] == [50, 100, 120]
    assert seen[-1][1] < seen[0][1]


def test_when_scaling_is_fitted_expect_all_demonstrations_counted():
    segments = lines(2)
    normaliser = fit_normaliser(segments, ("a", "b"), 0.1)
    actions = np.concatenate([s.actions for s in segments])
    np.testing.assert_allclose(normaliser.normalise_action(actions).max(axis=0), 1.0, atol=1e-6)
    np.testing.assert_allclose(
        normaliser.state_mean, np.concatenate([s.states for s in segments]).mean(axis=0), atol=1e-6
    )


def test_when_there_are_no_demonstrations_expect_refusal():
    with pytest.raises(DataError, match="no demonstrations"):
        train_bc([], ("a",), SMALL)


@pytest.mark.parametrize(
    "change",
    [
        {"horizon": 0},
        {"learning_rate": 0.0},
        {"min_action_range": 0.0},
        {"kind": "diffusion"},
        {"width": 30},
        {"use_images": True},
        {"validation_fraction": 1.0},
    ],
)
def test_when_settings_are_out_of_range_expect_refusal(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        BCConfig(**change)


# -- validation -----------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "held_out"), [(1, 0), (9, 0), (10, 1), (25, 2)])
def test_when_episodes_are_split_expect_each_on_one_side(count, held_out):
    training, validation = split_episodes(count, 0.1, seed=4)
    assert len(validation) == held_out
    assert sorted(training + validation) == list(range(count))


def test_when_almost_all_is_held_out_expect_one_episode_to_train_on():
    training, validation = split_episodes(3, 0.999, seed=0)
    assert (len(training), len(validation)) == (1, 2)


def test_when_a_held_out_episode_changes_expect_training_untouched():
    config = BCConfig(**TINY, updates=40, validate_every=20, validation_fraction=0.2)
    one = clone(lines(10), ("a", "b"), config)
    others = lines(10)
    for i in split_episodes(10, 0.2, config.seed)[1]:
        others[i].states[:] += 100.0
        others[i].actions[:] -= 100.0
    other = clone(others, ("a", "b"), config)
    assert one.record.training_losses == other.record.training_losses
    assert one.normaliser.sha256 == other.normaliser.sha256
    assert one.record.validation_losses != other.record.validation_losses


def validation_losses(monkeypatch, losses: list[float]) -> None:
    """Replaces what validation measures by given figures."""
    given = iter(losses)
    monkeypatch.setattr(bc_training.Training, "_validate", lambda self: next(given))


def test_when_validation_gets_worse_expect_the_best_weights_kept(monkeypatch):
    settings = dict(**TINY, validation_fraction=0.2, validate_every=10)
    validation_losses(monkeypatch, [3.0, 1.0, 2.0, 4.0])
    cloned = clone(lines(10), ("a", "b"), BCConfig(**settings, updates=40, patience=2))
    assert (cloned.record.best_update, cloned.record.updates) == (20, [10, 20, 30, 40])
    validation_losses(monkeypatch, [3.0, 1.0])
    stopped_there = snapshot_after(20, BCConfig(**settings, updates=40))
    for ours, theirs in zip(cloned.network.parameters(), stopped_there, strict=True):
        assert torch.equal(ours, theirs)


def snapshot_after(updates: int, config: BCConfig) -> list[torch.Tensor]:
    """The weights that a training has after so many updates."""
    segments = [lines(10)[i] for i in split_episodes(10, config.validation_fraction, config.seed)[0]]
    normaliser = fit_normaliser(segments, ("a", "b"), config.min_action_range)
    torch.manual_seed(config.seed)
    network = ChunkNetwork(3, 2, config)
    demonstrations = Demonstrations(segments, normaliser, config.horizon)
    training = bc_training.Training(
        network, demonstrations, None, config, bc_training.TrainingRecord([], [])
    )
    for _ in range(updates):
        training._update()
    return list(network.parameters())


def test_when_validation_stays_worse_for_long_expect_training_stopped(monkeypatch):
    validation_losses(monkeypatch, [2.0, 1.0, 1.5, 1.0, 0.5])
    config = BCConfig(**TINY, validation_fraction=0.2, validate_every=10, updates=1000, patience=2)
    seen: list[int] = []
    cloned = clone(lines(10), ("a", "b"), config, on_update=lambda update, loss, worst: seen.append(update))
    assert (cloned.record.best_update, cloned.record.updates[-1]) == (20, 40)
    assert seen[-1] == 40


def test_when_nothing_is_held_out_expect_the_last_weights_kept():
    cloned = clone(lines(), ("a", "b"), BCConfig(**TINY, updates=30, validate_every=10))
    assert cloned.record.validation_episodes == []
    assert cloned.record.best_update == 30


# -- divergence -----------------------------------------------------------------------------

WILD = dict(learning_rate=0.99, weight_decay=1e30)  # NaN within a few updates


@pytest.mark.parametrize("held_out", [0.0, 0.2])
def test_when_training_diverges_at_once_expect_what_to_lower(held_out):
    config = BCConfig(**TINY, **WILD, updates=40, validate_every=20, validation_fraction=held_out)
    with pytest.raises(DataError, match="training diverged by update 20: .*lower learning_rate"):
        clone(lines(10), ("a", "b"), config)


def test_when_the_last_update_spoils_the_weights_expect_refusal():
    config = BCConfig(**TINY, learning_rate=0.99, weight_decay=1e39, updates=1, validation_fraction=0.0)
    with pytest.raises(DataError, match="diverged by update 1: loss or weights hold NaN or Inf"):
        clone(lines(), ("a", "b"), config)


def test_when_training_diverges_later_expect_it_ended_and_the_best_weights_kept(monkeypatch):
    validation_losses(monkeypatch, [2.0, 1.0, float("nan")])
    config = BCConfig(**TINY, validation_fraction=0.2, validate_every=10, updates=1000)
    record = clone(lines(10), ("a", "b"), config).record
    assert (record.best_update, record.diverged_by, record.updates) == (20, 30, [10, 20])
    assert np.isfinite([*record.training_losses, *record.validation_losses]).all()


# -- padding and inputs ---------------------------------------------------------------------


def test_when_a_chunk_passes_the_end_expect_its_rest_marked_as_padded():
    segments = lines(2, 5)
    normaliser = fit_normaliser(segments, ("a", "b"), 0.1)
    batch = Demonstrations(segments, normaliser, 4).batch(torch.tensor([0, 4, 7]))
    assert batch.padded.sum(dim=1).tolist() == [0, 3, 1]
    last = torch.from_numpy(normaliser.normalise_action(segments[0].actions[4]))
    assert torch.equal(batch.actions[1], last.expand(4, 2))


def test_when_blocks_of_the_state_are_chosen_expect_only_them_seen():
    segments = lines()
    inputs = BCInputs(state_slices=((2, 3), (0, 1)))
    normaliser = fit_normaliser(segments, ("a", "b"), 0.1)
    state = Demonstrations(segments, normaliser, 4, inputs).batch(torch.tensor([0])).state[0]
    whole = normaliser.normalise_state(segments[0].states[0])
    np.testing.assert_array_equal(state, whole[[2, 0]])


def seen_by(cameras: int, height: int = 8):
    rng = np.random.default_rng(0)
    pictures = tuple(rng.integers(0, 256, (21, height, 10, 3), np.uint8) for _ in range(cameras))
    return make_segment(rng, 20, images=pictures, episode_id=7)


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        (seen_by(1), "episode 7: holds pictures of 1 cameras, but camera_names lists 2 \\('left', 'right'\\)"),
        (seen_by(2, height=9), "episode 7, camera 'left': pictures of 9 x 10 .* are 8 x 10"),
    ],
)
def test_when_bags_hold_other_pictures_expect_episode_and_camera_named(segment, message):
    with pytest.raises(DataError, match=message):
        check_images([seen_by(2), segment], [CameraSize("left", 8, 10), CameraSize("right", 8, 10)])


@pytest.mark.parametrize("kind", ["act", "flow"])
def test_when_cameras_are_seen_expect_training_to_use_them(kind):
    config = BCConfig(kind=kind, **TINY, updates=2, use_images=True, random_shift=2)
    inputs = BCInputs((CameraSize("left", 8, 10), CameraSize("right", 8, 10)))
    cloned = clone([seen_by(2)], ("a", "b"), config, inputs)
    stems = [name for name in cloned.network.state_dict() if name.endswith("layers.0.weight")]
    assert len(stems) == 2


def test_when_images_are_wanted_without_cameras_expect_refusal():
    with pytest.raises(ConfigError, match="camera_names"):
        clone(lines(), ("a", "b"), BCConfig(kind="act", **TINY, use_images=True))


def test_when_settings_are_documented_expect_the_table_of_the_code():
    page = (Path(__file__).resolve().parents[2] / "docs" / "policies" / "built-in.md").read_text()
    written = page.split("resfit_ros.core.schema.markdown_table -->\n")[1].split("<!-- end of settings -->")[0]
    assert written == markdown_table(BCConfig)
