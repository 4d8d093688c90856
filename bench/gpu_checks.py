"""What must be true of a training on a GPU before its speed is worth a word."""

import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from training import Counted, OurTraining
from tutorial_training import Pair, drawn

from chatbot.config.presets import PRESETS
from chatbot.network.fixed_order import FixedOrder
from chatbot.network.model import Seq2Seq
from chatbot.training.distributed import Group
from chatbot.training.fixed_batch import Fields, FixedBatch, Widths
from chatbot.training.graph import FixedStep, Work, fixed_loss, recording
from chatbot.training.ngrams import NgramTable
from chatbot.training.optimization import batch_loss
from chatbot.training.steps import Part, StepData

LONGEST = 10  # words of a text by the tutorial's preparation, EOS counted
STILL = {"dropout": 0.0, "recurrent_dropout": 0.0}
STEADY = {"ngram_smoothing": 0.0, "warmup_steps": 0, "schedule": "constant"}


class Recorded(OurTraining):
    """The program's step in fixed shapes of so many rows, recorded or not."""

    def __init__(self, *arguments: Any, rows: int, record: Callable[[Work], Work] | None) -> None:
        super().__init__(*arguments)
        self.rows = rows
        self.fixed = FixedStep(self.model, self.optimizer, self.config, self.table, Group(self.device), record)

    def read(self, pairs: list[Pair]) -> Any:
        """What an update takes: a batch in its fixed shape."""
        part = super().read(pairs)
        words = len(part.batch.targets)
        return StepData([Widths(self.rows, (LONGEST,), (LONGEST,)).batch(part)], len(pairs), words, words)

    def update(self, data: Any) -> torch.Tensor:
        """One update; returns the cost of a word, on the device."""
        torch.manual_seed(self.steps)
        costs, _ = self.fixed(data, self.steps, 1.0)
        self.steps += 1
        return costs[0] / data.tokens


@dataclasses.dataclass
class Material:
    """What is measured with: pairs, where, how precisely, and whether in miniature; batches are of `size` pairs."""

    counted: Counted
    device: torch.device
    precision: str
    small: bool
    size: int

    def recorded(
        self,
        record: Callable[[Work], Work] | None,
        size: int = 0,
        model: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
    ) -> Recorded:
        """The default recipe's step with some changes."""
        torch.manual_seed(0)
        model = {**(model or {}), **({"hidden_size": 32} if self.small else {})}
        arguments = (self.counted, self.device, self.precision, model, training)
        return Recorded(*arguments, rows=size or self.size, record=record)

    def batches(self, way: Any, count: int, size: int = 0) -> list[Any]:
        """Batches as `way` reads them; for a GPU in pinned memory, for in a training other processes read ahead."""
        rng = random.Random(0)
        read = [way.read(drawn(self.counted.pairs, size or self.size, rng)) for _ in range(count)]
        if self.device.type != "cuda":
            return read
        from torch.utils.data import DataLoader

        return list(DataLoader(read, batch_size=None, pin_memory=True))  # type: ignore[arg-type]


def checks(material: Material) -> Iterator[tuple[str, bool]]:
    """Look at each; yields what was seen, and whether it is as it must be."""
    for check in (same_gradients, same_recorded, seeds, learns):
        yield check(material)


def same_gradients(material: Material) -> tuple[str, bool]:
    """Both orders of work give the same gradients, in double precision."""
    config, device = PRESETS["default"], material.device
    network = dataclasses.replace(config.model, **STILL, **({"hidden_size": 32} if material.small else {}))
    settings = dataclasses.replace(config.training, precision="fp32")
    torch.manual_seed(0)
    model = Seq2Seq(network, material.counted.vocabulary_size).double().to(device).train()
    table = NgramTable(*map(_doubled, material.counted.ngrams.table())).to(device)
    reader = OurTraining(material.counted, torch.device("cpu"), "fp32", {"hidden_size": 8})
    part = reader.read(drawn(material.counted.pairs, 16, random.Random(0)))
    if part.soft is None:
        raise ValueError("the default recipe has soft targets")

    soft = part.soft._replace(**{name: getattr(part.soft, name).double() for name in ("shares", "weights", "rest")})
    loss, _ = batch_loss(model, Part(part.batch, soft).to(device), settings, 1, table)
    batch = Widths(18, (LONGEST,), (LONGEST,)).batch(part)
    fields = in_double(FixedBatch(batch.shape, batch.values.to(device)).fields())
    share = torch.ones((), device=device, dtype=torch.float64)
    fixed, _ = fixed_loss(FixedOrder(model, network), fields, "fp32", share, table)

    pairs = zip(*(torch.autograd.grad(value, list(model.parameters())) for value in (loss, fixed)), strict=True)
    apart = max(((a - b).abs().max() / a.abs().max().clamp_min(1e-9)).item() for a, b in pairs)
    return f"gradients of both orders differ by {apart:.1g} of the largest (soft targets are of 1e-7)", apart < 1e-5


def in_double(fields: Fields) -> Fields:
    """Soft targets in double precision."""
    if fields.soft is None:
        return fields
    floats = {name: getattr(fields.soft, name).double() for name in ("shares", "own", "rest")}
    return fields._replace(soft=fields.soft._replace(**floats))


def same_recorded(material: Material) -> tuple[str, bool]:
    """A recorded step does what it does unrecorded, but for another order of sums."""
    found, steps = [], 3 if material.small else 30
    for record in (None, recording(material.device)):
        ours = material.recorded(record)
        losses = [ours.update(batch) for batch in material.batches(ours, steps)]
        found.append((float(losses[-1]), [value.detach().clone() for value in ours.model.parameters()]))
    (one, plain), (other, graph) = found
    apart = max((a - b).abs().max().item() for a, b in zip(plain, graph, strict=True))
    said = f"after {steps} steps the loss is {one:.4f} unrecorded, {other:.4f} as a graph; weights differ by"
    return f"{said} {apart:.1g}", abs(one - other) < 0.02 * one


def seeds(material: Material) -> tuple[str, bool]:
    """The seed of a step decides what is drawn in a recorded one."""
    ours = material.recorded(recording(material.device))
    (batch,) = material.batches(ours, 1)
    before, found = [value.detach().clone() for value in ours.model.parameters()], []
    for seed in (5, 5, 6):
        with torch.no_grad():
            for value, kept in zip(ours.model.parameters(), before, strict=True):
                value.copy_(kept)
        ours.steps = seed
        found.append(float(ours.update(batch)))
    same, other = abs(found[0] - found[1]), abs(found[0] - found[2])
    return f"seeds 5, 5 and 6 give losses of {', '.join(f'{loss:.6f}' for loss in found)}", same < other


def learns(material: Material) -> tuple[str, bool]:
    """One batch is learnt by heart, step by recorded step."""
    ours = material.recorded(recording(material.device), model=STILL, training=STEADY)
    (batch,) = material.batches(ours, 1)
    losses = [ours.update(batch) for _ in range(150)]
    first, last = float(losses[0]), float(losses[-1])
    return f"one batch learnt 150 times has a loss of {last:.3f}, of {first:.3f} at first", last < 0.5 * first


def _doubled(values: torch.Tensor) -> torch.Tensor:
    return values.double() if values.is_floating_point() else values
