"""The learning rate as a function of the step, so that resuming needs no state."""

from __future__ import annotations

import math

from training.schema import TrainingSection


def learning_rate(step: int, settings: TrainingSection) -> float:
    """Linear warm-up, then by training.schedule: half a cosine or a line down to zero at max_steps, or no change.

    Args:
        step: 0, 1, ... of max_steps.
    """
    warmup = min(settings.warmup_steps, settings.max_steps - 1)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, settings.max_steps - warmup)
    if settings.schedule == "constant":
        return settings.learning_rate
    if settings.schedule == "linear":
        return settings.learning_rate * (1 - progress)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
