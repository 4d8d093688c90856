"""The step of a training on a GPU: in fixed shapes, recorded once for each shape as a CUDA graph, and played again.

A GPU is told what to do one kernel at a time, and Python takes longer to tell than a GPU to do it. A recorded step is
told in one call. What it reads of a batch is copied into place before; what it says (the cost, the gradient's norm) it
writes to a place of its own. Rates and shares of dropout are numbers on the device: one recording does for all steps.

    gradients   the loss of a batch, and its gradients, added to what is there        once for each part of a batch
    move        the gradients are clipped, the weights move, the gradients are zero   once a step

One process that works on whole batches records both as one. Otherwise several parts, or several processes, add their
gradients up in between. Without a GPU the same functions are called as they are (`--fixed-shapes on`): so they are
tested. Where a GPU does not record them, they are called as they are too, and that is said once.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..config.settings import Config
from ..corpus.vocabulary import PAD_ID
from ..network.fixed_order import FixedOrder, follows_the_tutorial
from ..network.kernels.cross_entropy import cross_entropy
from ..network.model import Seq2Seq
from ..system.devices import is_out_of_memory
from ..system.errors import ChatbotError, first_line
from .distributed import Group
from .fixed_batch import Fields, FixedBatch, Shape
from .ngrams import NgramTable
from .optimization import Optimizer
from .steps import StepData

Work = Callable[[], None]
WARM_UP = 3  # calls before one is recorded: libraries find their ways and their memory in them


class FixedStep:
    """Takes the steps of a training in fixed shapes.

    Args:
        model: the network. Its parameters' gradients stay where this puts them.
        optimizer: of its weights.
        config: settings that `takes_fixed_shapes` accepts.
        ngrams: what soft targets are made of, on the device.
        group: the processes that train together.
        record: how work is recorded; None calls it anew each time.
    """

    def __init__(
        self,
        model: Seq2Seq,
        optimizer: Optimizer,
        config: Config,
        ngrams: NgramTable | None,
        group: Group,
        record: Callable[[Work], Work] | None,
    ) -> None:
        self.settings, self.optimizer, self.ngrams = config.training, optimizer, ngrams
        self.group, self.record = group, record
        self.order = FixedOrder(model, config.model)
        self.parameters = list(model.parameters())
        self.is_whole = group.size == 1 and config.training.accumulate == 1
        self.gradients = [torch.zeros_like(parameter) for parameter in self.parameters]
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        optimizer.keep_rates_on_device()
        self.numbers = torch.zeros(2, device=group.device)  # share of dropout, tokens of the batch
        self.cost = torch.zeros((), device=group.device)  # of the parts so far
        self.said = torch.zeros(2, device=group.device)  # the step's cost and its gradient's norm
        self._inputs: dict[Shape, Tensor] = {}
        self._recorded: dict[Shape | None, Work] = {}

    def __call__(self, data: StepData, step: int, share: float) -> tuple[list[Tensor], Tensor]:
        """One update, after `step` others, with a share of the dropout.

        Nothing here waits for the device, but for the recording of a shape that was not met before.

        Returns:
            the cost of this process's replies in one list, in nats, and the gradient's norm: scalars on the device.
        """
        self.optimizer.set_rate(step)
        self.numbers.copy_(_pinned(torch.tensor((share, float(data.tokens))), self.numbers), non_blocking=True)
        for part in data.parts:
            shape = part.shape
            if shape not in self._inputs:
                self._inputs[shape] = torch.empty_like(part.values, device=self.numbers.device)
            self._inputs[shape].copy_(part.values, non_blocking=True)
            self._play(shape)
        if not self.is_whole:
            self.group.sum_gradients(self.parameters)
            self._play(None)
        cost, norm = self.said.clone().unbind()
        return [cost], norm

    def _play(self, shape: Shape | None) -> None:
        """Do the work on a batch of this shape (None: move the weights), recorded if that can be."""
        if shape not in self._recorded:
            self._recorded[shape] = self._made(shape)
        self._recorded[shape]()

    def _made(self, shape: Shape | None) -> Work:
        def work() -> None:
            if shape is not None:
                self._add_gradients(self._read(shape))
            if shape is None or self.is_whole:
                self._move()

        if self.record is None:
            return work
        try:
            with self._undone():
                return self.record(work)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            if self.group.is_writer:
                tqdm.write(
                    f"this GPU does not record a step as a CUDA graph ({first_line(error)}): each step is asked for "
                    "kernel by kernel, which is slower",
                    file=sys.stderr,
                )
            self.record = None
            return work

    def _read(self, shape: Shape) -> Fields:
        return FixedBatch(shape, self._inputs[shape]).fields()

    def _add_gradients(self, batch: Fields) -> None:
        share, tokens = self.numbers.unbind()
        loss, cost = fixed_loss(self.order, batch, self.settings.precision, share, self.ngrams)
        torch._foreach_add_(self.gradients, torch.autograd.grad(loss / tokens, self.parameters))
        self.cost += cost

    def _move(self) -> None:
        norm = self.optimizer.update()
        torch.stack((self.cost, norm), out=self.said)
        torch._foreach_zero_([*self.gradients, self.cost])

    @contextlib.contextmanager
    def _undone(self) -> Iterator[None]:
        """Put back whatever is changed in here: weights, moments, gradients, and what is drawn next."""
        moments = self.optimizer.tensors()
        kept = [*(parameter.detach() for parameter in self.parameters), *self.gradients, self.cost, *moments]
        values = [tensor.clone() for tensor in kept]
        device = self.numbers.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            try:
                yield
            finally:
                for new in self.optimizer.tensors()[len(moments) :]:
                    new.zero_()  # moments that the first call made begin at zero, and so do counts of updates
                torch._foreach_copy_(kept, values)


def fixed_loss(
    order: FixedOrder, batch: Fields, precision: str, share: Tensor, ngrams: NgramTable | None
) -> tuple[Tensor, Tensor]:
    """As `batch_loss`, in fixed shapes: two scalars, the loss summed over tokens, and the cost without gradient."""
    with torch.autocast(batch.src.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = order(batch.src, batch.tgt, batch.real, share)
    soft = ngrams.dense_fixed(batch.soft, batch.targets) if ngrams and batch.soft else None
    return cross_entropy(logits, batch.targets, soft, batch.targets != PAD_ID)


class CudaGraphs:
    """Records work as CUDA graphs that share their memory, for they are played one after the other."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> Work:
        """Call the work a few times, and then record it without doing it."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # other threads pin what is read ahead, which a recording of all threads would not allow
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            work()
        return graph.replay


def takes_fixed_shapes(config: Config, device: torch.device) -> bool:
    """Whether a training with these settings takes its steps in fixed shapes.

    Raises:
        ChatbotError: it should, and has a way of the tutorial's, for which there are none.
    """
    settings = config.training
    tutorial = follows_the_tutorial(config.model) or settings.loss == "steps" or settings.optimizer == "two-adams"
    if settings.fixed_shapes == "on" and tutorial:
        raise ChatbotError(
            "--fixed-shapes on has no way of the tutorial's: leave it out, or leave out --preset tutorial"
        )
    return not tutorial and (
        settings.fixed_shapes == "on" or (settings.fixed_shapes == "auto" and device.type == "cuda")
    )


def recording(device: torch.device) -> Callable[[Work], Work] | None:
    """How work is recorded on a device, if it can be."""
    return CudaGraphs() if device.type == "cuda" else None


def _pinned(values: Tensor, like: Tensor) -> Any:
    return values.pin_memory() if like.device.type == "cuda" else values
