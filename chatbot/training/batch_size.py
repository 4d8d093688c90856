"""`--batch-size auto`: as large a batch as a GPU's memory and a recipe have room for, and the recipe that goes with it.

A GPU takes hardly longer for a batch of 1,024 pairs than for one of 64, but a recipe says how many batches there are,
and at what rate the weights move. Of k times as many pairs a step there are a k-th of the steps, so that as many pairs
are read, and the rate grows by the root of k (Malladi et al. 2022, *On the SDEs and scaling rules for adaptive gradient
algorithms*). What is counted in steps shrinks with them; weight decay grows by the root of k as well, for with the rate
it acts k times less often; and the average of the weights forgets k times as much a step.
"""

import dataclasses
import math

import torch

from ..config.settings import Config, TrainingConfig

BASE = 64  # pairs in the batches that the recipes were found with
MOST = 1024
FEWEST_STEPS = 500  # of a schedule that warms up and falls, and still is one
SHARE = 0.5  # of the device's memory
LOGIT_BYTES, UNIT_BYTES = 20, 240  # that a step keeps for each logit, and for each unit of each word that is read


def picked(config: Config, vocabulary_size: int, device: torch.device, processes: int = 1) -> int:
    """The size of a batch over all processes: `BASE` on a CPU, up to `MOST` on a GPU, a power of two times `BASE`."""
    if device.type != "cuda":
        return BASE
    memory = torch.cuda.get_device_properties(device).total_memory
    settings, longest = config.training, config.corpus.max_length + 1
    words = longest * (config.corpus.context + 2)
    pair = longest * vocabulary_size * LOGIT_BYTES + words * config.model.hidden_size * UNIT_BYTES
    fit = SHARE * memory * processes / pair
    enough = math.inf if settings.epochs else BASE * settings.steps / FEWEST_STEPS
    size = BASE
    while 2 * size <= min(fit, enough, MOST):
        size *= 2
    return size


def scaled(settings: TrainingConfig, batch_size: int) -> TrainingConfig:
    """A recipe for batches of `BASE` pairs as one for batches of this size."""
    times = batch_size / BASE

    def fewer(count: int) -> int:
        return max(1, round(count / times)) if count else 0

    return dataclasses.replace(
        settings,
        batch_size=batch_size,
        steps=fewer(settings.steps),
        warmup_steps=fewer(settings.warmup_steps),
        validate_every=fewer(settings.validate_every),
        learning_rate=settings.learning_rate * math.sqrt(times),
        weight_decay=settings.weight_decay * math.sqrt(times),
        weight_averaging=settings.weight_averaging**times if settings.weight_averaging else 0.0,
    )
