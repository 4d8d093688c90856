"""What `last.pt` holds besides a model: all that a training needs to go on as if nothing had been in between."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any

from ..config.settings import RESUMABLE, Config, differences
from ..runs.checkpoint import Checkpoint
from ..runs.weights import check_network, check_state
from ..system.errors import ChatbotError
from ..system.schema import Bounds, Count, Positive, checked
from .data import TrainingData
from .optimization import Optimizer, OptimizerState

# where a run's data lie may be mended; what they are is compared
PLACES = {"corpus", "old_corpus", "vocabulary", "embeddings"}


@dataclasses.dataclass
class Progress:
    """Where a training stands: with the weights and the optimiser, all that resuming needs."""

    step: Count = 0
    best_perplexity: Annotated[float, Bounds(0, math.inf)] = math.inf
    worse_validations: Count = 0  # in a row, since the best one
    planned: Count | None = None  # the last step, as far as was known; version 0.1 did not say
    seconds: Positive = 0.0  # of training steps, over all sittings
    seconds_logged: Positive = 0.0  # those before the last line of metrics
    loss_sum: Positive = 0.0  # since the last line of metrics, with the two below
    token_count: Positive = 0.0
    pair_count: Positive = 0.0


@dataclasses.dataclass
class State:
    """A checkpoint's `training`.

    optimizer: the moments, for `Optimizer.take`. weights: the network's own, where the checkpoint's are their average.
    """

    optimizer: list[OptimizerState]
    progress: Progress
    weights: Any = None


def read_state(checkpoint: Checkpoint, where: Path, config: Config, data: TrainingData, optimizer: Optimizer) -> State:
    """The state of a checkpoint, after a look at every part of it; nothing is changed here.

    Args:
        where: the run's folder.
        config: the settings that the training goes on with.
        data: what it goes on with; its words and its prompts are to be the checkpoint's.
        optimizer: of the network that is going to be trained.

    Raises:
        ChatbotError: there is none, it is damaged, or of other settings or another corpus.
    """
    if checkpoint.training is None:
        raise ChatbotError(f"{where} has no state to resume from, only weights")
    changed = differences(checkpoint.config, config, "corpus", "model", "training")
    if other := [told for name, told in changed.items() if name not in RESUMABLE | PLACES]:
        raise ChatbotError(f"cannot resume {where}: its config.json was changed, or is damaged: {'; '.join(other)}")
    if checkpoint.vocabulary.tokens != data.vocabulary.tokens or checkpoint.prompts != data.prompts:
        raise ChatbotError(
            f"the corpus has changed since {where} was begun: its vocabulary or its held-out prompts differ. "
            "Bring the old corpus back, or begin another run (RUN=name or --run name)"
        )
    try:
        state = checked(State, checkpoint.training, "its state")
        step, averages = state.progress.step, bool(config.training.weight_averaging)
        if step != checkpoint.step:
            raise ChatbotError(f"its state is of step {step} and its weights of step {checkpoint.step}")
        if (state.weights is not None) != averages:
            raise ChatbotError(f"its state has {'no ' * averages}weights besides those of the checkpoint")
        if averages:
            check_state(state.weights, "state")
            check_network(state.weights, config.model, len(checkpoint.vocabulary), "its weights")
        state.optimizer = optimizer.looked_at(state.optimizer, step)
        planned = state.progress.planned
        if planned is not None and planned <= step:  # the rate rises again, and for a while no validation is better
            state.progress.worse_validations = 0
    except ChatbotError as error:
        raise ChatbotError(f"cannot resume {where}: {error}") from error
    return state


def refuse_past(checkpoint: Checkpoint, where: Path, config: Config, steps: int) -> None:
    """Raise a ChatbotError if other steps were asked for than the checkpoint's, and they are taken already."""
    before, now = checkpoint.config.training, config.training
    if (before.steps, before.epochs) != (now.steps, now.epochs) and steps <= checkpoint.step:
        raise ChatbotError(
            f"{where} has taken {checkpoint.step} steps already, so it cannot go on to step {steps}: "
            "give --steps more than that"
        )
