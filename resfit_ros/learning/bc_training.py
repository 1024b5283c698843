"""The optimisation of one cloned policy: batches, schedule, validation, best weights."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from resfit_ros.core.errors import DataError
from resfit_ros.core.learning_config import MLP, BCConfig
from resfit_ros.learning.bc_data import Demonstrations

REPORT_EVERY = 50  # updates
VALIDATION_STEPS = 2048  # at most; of more, evenly spaced ones
NAN = float("nan")

# on_update(update, training loss, newest validation loss or NaN)
OnUpdate = Callable[[int, float, float], None]


@dataclass
class TrainingRecord:
    """How training went. Validation losses are NaN where no episodes were held out."""

    training_episodes: list[int]  # their ids
    validation_episodes: list[int]
    updates: list[int] = field(default_factory=list)
    training_losses: list[float] = field(default_factory=list)  # mean since the entry before
    validation_losses: list[float] = field(default_factory=list)
    best_update: int = 0  # whose weights are kept
    diverged_by: int = 0  # update at which NaN or Inf ended the training; 0: it did not
    seconds: float = 0.0


class Training:
    """Trains a network on some demonstrations; keeps the weights that do best on the others."""

    def __init__(
        self,
        network: nn.Module,
        training: Demonstrations,
        validation: Demonstrations | None,
        config: BCConfig,
        record: TrainingRecord,
    ) -> None:
        self.network = network.to(config.device)
        self._training, self._validation, self._config, self._record = training, validation, config, record
        self._generator = torch.Generator().manual_seed(config.seed)
        rate = config.learning_rate if config.kind == MLP else config.transformer_lr
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=rate, weight_decay=config.weight_decay, fused=True
        )
        self._schedule = _schedule(self._optimiser, config)
        self._best_loss, self._best_weights = math.inf, None
        self._worse = 0  # validations since the best one

    def train(self, on_update: OnUpdate) -> None:
        """All updates, or fewer when validation has not improved for long enough, or training diverges.

        Raises DataError when it diverges before there are weights to keep.
        """
        c, record, started = self._config, self._record, time.monotonic()
        recent: list[Tensor] = []
        for update in range(1, c.updates + 1):
            recent.append(loss := self._update())
            done = update == c.updates
            if update % c.validate_every == 0 or done:
                self._note(update, torch.stack(recent).mean().item())
                recent = []
                done = done or bool(record.diverged_by or (c.patience and self._worse >= c.patience))
            if update % REPORT_EVERY == 0 or done:
                on_update(update, loss.item(), (record.validation_losses or [NAN])[-1])
            if done:
                break
        if self._best_weights is not None:
            self.network.load_state_dict(self._best_weights)
        record.seconds = time.monotonic() - started

    def _update(self) -> Tensor:
        c = self._config
        batch = self._training.sample(c.batch_size, self._generator, c.random_shift)
        loss, reported = self.network.losses(batch, self._generator)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if c.kind != MLP:
            nn.utils.clip_grad_norm_(self.network.parameters(), c.max_grad_norm)
        self._optimiser.step()
        self._schedule.step()
        return reported

    def _note(self, update: int, training_loss: float) -> None:
        record, validation = self._record, self._validate()
        if not self._is_finite(training_loss, validation):
            self._end_diverged(update, training_loss)
            return
        record.updates.append(update)
        record.training_losses.append(training_loss)
        record.validation_losses.append(validation)
        if self._validation is None:
            record.best_update = update
        elif validation < self._best_loss:
            record.best_update, self._best_loss, self._worse = update, validation, 0
            self._best_weights = copy.deepcopy(self.network.state_dict())
        else:
            self._worse += 1

    def _is_finite(self, training_loss: float, validation: float) -> bool:
        """The weights too: the newest update may have spoilt them after its loss was computed."""
        losses = [training_loss] if self._validation is None else [training_loss, validation]
        return all(map(math.isfinite, losses)) and all(bool(p.isfinite().all()) for p in self.network.parameters())

    def _end_diverged(self, update: int, training_loss: float) -> None:
        self._record.diverged_by = update
        if self._best_weights is None:
            rate = "learning_rate" if self._config.kind == MLP else "transformer_lr"
            raise DataError(
                f"training diverged by update {update}: loss or weights hold NaN or Inf (training loss "
                f"{training_loss:g}), and there are no earlier weights to keep; lower {rate}"
            )

    @torch.no_grad()
    def _validate(self) -> float:
        """With the same noise each time, so that two validations differ by the network alone."""
        if self._validation is None:
            return NAN
        generator = torch.Generator().manual_seed(self._config.seed)
        total, steps = 0.0, 0
        for batch in self._validation.batches(self._config.batch_size, VALIDATION_STEPS):
            total += self.network.validation_loss(batch, generator).item() * len(batch.state)
            steps += len(batch.state)
        return total / steps


def _schedule(optimiser: torch.optim.Optimizer, c: BCConfig) -> torch.optim.lr_scheduler.LRScheduler:
    """Cosine decay to zero; a transformer's learning rate grows linearly first."""
    if c.kind == MLP:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, c.updates)
    growing = min(c.warmup_updates, c.updates // 2)

    def share(done: int) -> float:
        if done < growing:
            return (done + 1) / growing
        return 0.5 * (1.0 + math.cos(math.pi * (done - growing) / (c.updates - growing)))

    return torch.optim.lr_scheduler.LambdaLR(optimiser, share)
