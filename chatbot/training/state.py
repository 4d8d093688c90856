"""Where a training stands: all that `last.pt` holds beside the weights that are used, and how it is taken back."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..corpus.vocabulary import Vocabulary
from ..network.model import Seq2Seq
from ..runs.checkpoint import Checkpoint
from ..runs.directory import RunDirectory
from ..system.errors import ChatbotError
from .optimization import Optimizer


@dataclass
class Progress:
    """With the weights and the optimiser, all that resuming needs."""

    step: int = 0
    best_perplexity: float = math.inf
    worse_validations: int = 0  # in a row, since the best one
    seconds: float = 0.0  # of training steps, over all sittings
    seconds_logged: float = 0.0  # those before the last line of metrics
    loss_sum: float = 0.0  # since the last line of metrics, with the two below
    token_count: float = 0.0
    pair_count: float = 0.0


def state_of(model: Seq2Seq, judged: Seq2Seq, optimizer: Optimizer, progress: Progress) -> dict[str, Any]:
    """As plain data. The weights themselves are there only where another network, their average, is judged."""
    state = {"optimizer": optimizer.state_dict(), "progress": vars(progress)}
    return state | ({"weights": on_cpu(model)} if judged is not model else {})


def restore(
    checkpoint: Checkpoint,
    run: RunDirectory,
    vocabulary: Vocabulary,
    model: Seq2Seq,
    judged: Seq2Seq,
    optimizer: Optimizer,
) -> Progress:
    """Put a checkpoint's state into networks and optimiser; returns its progress.

    Raises:
        ChatbotError: there is none, it is damaged, of another recipe, or the vocabulary has changed.
    """
    if checkpoint.training is None:
        raise ChatbotError(f"{run.path} has no state to resume from, only weights")
    if checkpoint.vocabulary.tokens != vocabulary.tokens:
        raise ChatbotError(
            f"the corpus has changed since {run.path} was begun: its vocabulary differs. "
            "Bring the old corpus back, or begin another run (RUN=name or --run name)"
        )
    try:
        judged.load_state_dict(checkpoint.model)
        if judged is not model:
            model.load_state_dict(checkpoint.training["weights"])
        optimizer.load_state_dict(checkpoint.training["optimizer"])
        return Progress(**checkpoint.training["progress"])
    except ChatbotError as error:
        raise ChatbotError(f"cannot resume {run.path}: {error}") from error
    except Exception as error:  # plain data of any shape
        raise ChatbotError(f"cannot resume {run.path}: its state is damaged ({error})") from error


def on_cpu(model: Seq2Seq) -> dict[str, Tensor]:
    """The weights, where they can be written."""
    return {name: tensor.cpu() for name, tensor in model.state_dict().items()}
