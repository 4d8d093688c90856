"""The page to read to learn what this program does: pairs in, a trained run directory out.

One step takes a batch of pairs, reads each prompt and its true reply through encoder and decoder in one call (teacher
forcing), and moves the weights against the gradient of the mean negative log-likelihood per reply token, over all
processes. With `ngram_smoothing` the targets are softer; what is reported is the likelihood all the same. The gradient
is clipped before AdamW takes it (Loshchilov and Hutter 2019), or the tutorial's two Adams.

A step number is all the random state there is: what a step draws (dropout, dropped words and prompts) is seeded by
(seed, step, rank), the order of an epoch by (seed, epoch). So a training that was stopped goes on to the same weights,
bit for bit, unless its minutes shorten it (`schedule`).
"""

import contextlib
import copy
import dataclasses
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..chat.bot import Chatbot
from ..config.settings import Config, differences
from ..corpus.prepared import in_order, settled
from ..evaluation.likelihood import EVALUATION_BATCH, TokenSums, held_out_sums, perplexity
from ..network.model import Seq2Seq
from ..runs.checkpoint import Checkpoint
from ..runs.directory import RunDirectory
from ..system.devices import is_out_of_memory
from ..system.errors import ChatbotError
from ..system.lock import held
from ..system.process import keep_freed, peak_memory
from .data import TrainingData, new_model
from .distributed import Group
from .graph import FixedStep, recording, takes_fixed_shapes
from .journal import Journal, samples, spaced
from .optimization import AVERAGE_EVERY, Optimizer, average, batch_loss
from .signals import stop_on_signal
from .state import Progress, read_state, refuse_past
from .steps import StepData, step_seed

LOG_EVERY = 25  # steps between two lines of metrics, at first
LINES = 4096  # after so many lines they come half as often, and so on
LOOKS = 256  # the same for what is heavier: sample replies and attention, which come with validations


class Trainer:
    """One training from its start, or from a checkpoint, to its end."""

    def train(self) -> "Outcome":
        """All steps that are left."""
        progress, settings = self.progress, self.settings
        started, schedule = time.perf_counter(), self.optimizer.schedule
        reason = "steps"
        with stop_on_signal() as stop, self._bar() as bar:
            schedule.resume(progress.step, self.group.sum((progress.seconds,))[0] / self.group.size)
            self._plan(bar)
            if self.parent and not progress.step:  # what the bot makes of the new corpus before it has learnt from it
                self._validate(bar)
            for data in self.data.steps(progress.step, settings.steps, self.device, fixed=bool(self.fixed)):
                began = time.perf_counter()
                self._step(data)
                progress.seconds += time.perf_counter() - began
                if not stop.is_set():  # whoever reads what the bar shows may have ended by the same Ctrl-C
                    bar.update()
                # all processes must take the same way out: one that stops stops all; the clock is the mean of theirs
                stopping, seconds = self.group.sum((stop.is_set(), time.perf_counter() - started))
                seconds /= self.group.size
                if spaced(progress.step, LOG_EVERY, LINES):
                    self._log(bar)
                    schedule.look(progress.step, seconds)
                    self._plan(bar)
                is_over = 0 < schedule.limit < seconds
                is_last = progress.step >= schedule.steps
                validates = is_last or progress.step % settings.validate_every == 0
                if validates:
                    self._validate(bar)
                if is_last:  # done, whatever else there is
                    reason = "steps" if progress.step == settings.steps else "minutes"
                elif stopping:
                    reason = "interrupted"
                elif validates and 0 < settings.patience <= progress.worse_validations:
                    reason = "patience"
                elif is_over:
                    reason = "minutes"
                if validates or reason != "steps":
                    self._save_last()
                if reason != "steps":
                    break
        best = progress.best_perplexity
        said = samples(self._bot(), self.data.shown) if self.journal else []
        return Outcome(reason, progress.step, best if math.isfinite(best) else None, progress.seconds, said)

    def _plan(self, bar: tqdm) -> None:
        """Let all that goes by the number of steps know how many there are now."""
        # (the processes that read ahead for a GPU keep the number that was asked for)
        bar.total = self.data.reader.steps = self.progress.planned = self.optimizer.schedule.steps

    def _step(self, data: StepData) -> None:
        """One update. Nothing here waits for the device: scalars stay on it until `_look`."""
        progress, settings = self.progress, self.settings
        torch.manual_seed(step_seed(settings.seed, progress.step, self.group.rank, "dropout"))
        self.model.train()
        share = settings.dropout_share(progress.step / len(self.data.reader.sampler))
        with self._determined():
            if self.fixed:  # on a GPU: the same, recorded once and played again
                costs, norm = self.fixed(data, progress.step, share)
            else:
                costs, norm = self._update(data, share)
        self.costs.extend(costs)
        self.gradient_norms.append(norm)
        progress.step += 1
        # the average is what is judged and kept; the first steps move it every time, for its first weights are random
        if settings.weight_averaging and (progress.step % AVERAGE_EVERY == 0 or progress.step < AVERAGE_EVERY):
            average(self.judged, self.model, settings.weight_averaging, progress.step)
        progress.token_count += data.said
        progress.pair_count += data.pairs

    def _update(self, data: StepData, share: float) -> tuple[list[Tensor], Tensor]:
        """Move the weights, with a share of the dropout; returns what each part cost, and the gradient's norm."""
        self.model.scale_dropout(share)
        self.optimizer.zero_grad()
        costs = []
        for part in data.parts:
            loss, cost = batch_loss(self.model, part.to(self.device), self.settings, data.tokens, self.data.ngrams)
            loss.backward()
            costs.append(cost)
        self.group.sum_gradients(self.parameters)
        return costs, self.optimizer.step(self.progress.step)

    # how a training is set up: here, so that the page begins with what it does
    def __init__(
        self,
        config: Config,
        prepared: Path,
        run: RunDirectory,
        group: Group,
        resume: bool = False,
        start: Checkpoint | None = None,
    ) -> None:
        self.config, self.run, self.group, self.device = config, run, group, group.device
        if config.training.base and not (start or resume):
            raise ChatbotError(f"these settings train on from {config.training.base}: its weights are needed (--from)")
        if config.training.deterministic:  # cuBLAS reads this when it first multiplies
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        self.data = TrainingData(config, prepared, group)
        self.settings = self.data.settings
        self.model = new_model(config, self.data)
        if config.training.embeddings and not (start or resume):
            self.data.begin_with_vectors(self.model.encoder.embedding, group)
        self.model.to(self.device)
        self.parent = None
        if start:
            self.model.load_state_dict(start.model)
            self.parent = start.parent
        self.parameters = list(self.model.parameters())
        self.optimizer = Optimizer(self.model, self.settings)
        self.fixed = None
        if takes_fixed_shapes(config, self.device):
            self.fixed = FixedStep(self.model, self.optimizer, config, self.data.ngrams, group, recording(self.device))
        # what is judged and kept: an average of the weights over the last steps, or the weights themselves
        self.judged = copy.deepcopy(self.model) if self.settings.weight_averaging else self.model
        self.progress = Progress()
        self.costs: list[Tensor] = []  # of the steps since the last look, scalars on the device
        self.gradient_norms: list[Tensor] = []
        self.journal: Journal | None = None  # of the first process only
        with contextlib.ExitStack() as stack:
            if group.is_writer:
                stack.enter_context(held(run.lock, str(run.path)))  # one training at a time
            if resume:
                self._restore()
            if group.is_writer:
                run.begin(config, self.data.vocabulary)
                run.tidy()
                self.journal = Journal(run, self.progress.step)
                stack.callback(self.journal.close)
            if start and not resume:
                self._save_last()  # from here on the run needs the bot no more that it begins from
            self.close = stack.pop_all().close  # what is open; the run can be resumed then, by whoever wants to

    def _restore(self) -> None:
        """Take back the newest state that is whole, of those that `_save_last` wrote."""
        checkpoint, state = self.run.newest(
            lambda found: read_state(found, self.run.path, self.config, self.data, self.optimizer)
        )
        refuse_past(checkpoint, self.run.path, self.config, self.settings.steps)
        for changed in differences(checkpoint.config, self.config, "training").values():
            if self.group.is_writer:
                tqdm.write(f"{self.run.config}: {changed}", file=sys.stderr)
        self.data.vocabulary = checkpoint.vocabulary  # the same tokens, written as they were when the run began
        self.parent, self.progress = checkpoint.parent, state.progress
        self.judged.load_state_dict(checkpoint.model)
        if state.weights is not None:
            self.model.load_state_dict(state.weights)
        self.optimizer.take(state.optimizer)
        if not self.group.is_writer:  # the sums are those of all processes: they count once
            self.progress.loss_sum = self.progress.token_count = self.progress.pair_count = 0.0

    @contextlib.contextmanager
    def _determined(self) -> Iterator[None]:
        """With `deterministic` only kernels that give the same bits each time; torch raises where it has none."""
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(before or self.settings.deterministic)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)

    def _look(self) -> float:
        """Wait for the device, add up what the steps since the last look cost; returns the newest gradient's norm.

        They are added on the host in double precision, which is exact for so few floats: in one look or in several (a
        run that was stopped in between) the sum is the same.

        Raises:
            ChatbotError: a gradient was not finite since then.
        """
        if not self.gradient_norms:
            return math.nan
        count = len(self.gradient_norms)
        values = torch.stack(self.gradient_norms + self.costs).tolist()  # one transfer
        self.gradient_norms, self.costs = [], []
        for step, norm in enumerate(values[:count], self.progress.step - count + 1):
            if not math.isfinite(norm):
                raise self._diverged(step, "the gradient is not finite")
        self.progress.loss_sum += math.fsum(values[count:])
        return values[count - 1]

    def _diverged(self, step: int, sign: str) -> ChatbotError:
        settings = self.settings
        kept = f"; the last good checkpoint in {self.run.path} is kept" if self.run.is_trained else ""
        return ChatbotError(
            f"training diverged at step {step} ({sign}): lower --learning-rate (now "
            f"{settings.learning_rate:g}) or --clip-norm (now {settings.clip_norm:g}){kept}"
        )

    def _log(self, bar: tqdm) -> None:
        """A line of metrics about the steps since the last one."""
        progress = self.progress
        began = time.perf_counter()
        norm = self._look()
        progress.seconds += time.perf_counter() - began  # what the steps' device had still to do
        loss, tokens, pairs = self.group.sum((progress.loss_sum, progress.token_count, progress.pair_count))
        progress.loss_sum = progress.token_count = progress.pair_count = 0.0
        speed = pairs / max(progress.seconds - progress.seconds_logged, 1e-9)
        progress.seconds_logged = progress.seconds
        if loss / tokens > 2 * math.log(len(self.data.vocabulary)):  # knowing nothing at all costs half of that
            raise self._diverged(progress.step, f"the loss is {loss / tokens:.3g}")
        bar.set_postfix_str(f"loss {loss / tokens:.3f}, {speed:.0f} pairs/s", refresh=False)
        if self.journal:
            self.journal.write(
                progress.step,
                "train",
                loss=loss / tokens,
                perplexity=perplexity(loss / tokens),
                learning_rate=self.optimizer.schedule.learning_rate(progress.step - 1),
                gradient_norm=norm,
                pairs_per_second=speed,
                seconds=progress.seconds,
            )

    def _validate(self, bar: tqdm) -> None:
        """Score the held-out pairs, keep `best.pt` if they were never predicted better, show sample replies."""
        progress, held_out = self.progress, self.data.held_out
        self._look()
        if not len(held_out):
            return
        with self._determined():
            sums = {part.name: self._held_out(part.indices) for part in held_out.parts if len(part.indices)}
        figures = TokenSums.total(sums.values()).figures()
        better = figures["perplexity"] < progress.best_perplexity
        progress.worse_validations = 0 if better else progress.worse_validations + 1
        progress.best_perplexity = min(progress.best_perplexity, figures["perplexity"])
        if self.journal is None:
            return
        self.run.see_that_it_is_there()
        if better:
            self._checkpoint(figures["perplexity"]).save(self.run.best)
        self.journal.write(
            progress.step,
            "valid",
            **figures,
            seconds=progress.seconds,
            peak_memory_mb=peak_memory(self.device) / 1e6,
        )
        each = {name: of_corpus.figures() for name, of_corpus in sums.items()} if len(sums) > 1 else {}
        for name, values in each.items():
            self.journal.write(progress.step, f"valid/{name}", **values)
        if spaced(progress.step, self.settings.validate_every, LOOKS) or progress.step >= self.optimizer.schedule.steps:
            self.journal.show(progress.step, self._bot(), self.data.shown)
        mark = "best so far" if better else f"no better for {progress.worse_validations}"
        said = "".join(f", {name} {values['perplexity']:.2f}" for name, values in each.items())
        bar.write(
            f"step {progress.step}: held-out perplexity {figures['perplexity']:.2f} ({mark}){said}", file=sys.stderr
        )

    def _held_out(self, indices: range) -> TokenSums:
        """What these held-out pairs cost, over all processes."""
        batches = list(in_order(self.data.held_out, EVALUATION_BATCH, indices))[self.group.rank :: self.group.size]
        return TokenSums(*self.group.sum(held_out_sums(self.judged, self.data.held_out, batches, self.device)))

    def _bot(self) -> Chatbot:
        """The bot of the weights that are judged, as they are: it says what it has learnt, however unlikely."""
        return Chatbot.from_model(self.judged.eval(), self.config, self.data.vocabulary, self.config.decoding.found)

    def _checkpoint(self, score: float | None, training: dict[str, Any] | None = None) -> Checkpoint:
        weights, prompts = _on_cpu(self.judged), self.data.prompts
        step, parent = self.progress.step, self.parent
        return Checkpoint(self.config, self.data.vocabulary, weights, step, score, prompts, training, parent)

    def _save_last(self) -> None:
        self._look()
        # the counters since the last line of metrics belong to all processes together
        progress = Progress(**vars(self.progress))
        progress.loss_sum, progress.token_count, progress.pair_count = self.group.sum(
            (progress.loss_sum, progress.token_count, progress.pair_count)
        )
        if self.journal:
            self.run.see_that_it_is_there()
            state = {"optimizer": self.optimizer.state_dict(), "progress": vars(progress)}
            if self.judged is not self.model:  # the checkpoint's own weights are the average
                state["weights"] = _on_cpu(self.model)
            self.run.save_last(self._checkpoint(None, state))

    def _bar(self) -> tqdm:
        steps = {"total": self.settings.steps, "initial": self.progress.step, "unit": "step"}
        is_silent = not self.group.is_writer
        return tqdm(**steps, desc="training", dynamic_ncols=True, disable=is_silent, file=sys.stderr)


def _on_cpu(model: Seq2Seq) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in model.state_dict().items()}


@dataclass
class Outcome:
    """How a training ended: `reason` is `steps`, `patience`, `minutes` or `interrupted`."""

    reason: str
    step: int
    perplexity: float | None
    seconds: float
    samples: list[tuple[str, str]]


def train(
    config: Config,
    prepared: Path,
    run: RunDirectory,
    group: Group,
    *,
    resume: bool = False,
    start: Checkpoint | None = None,
) -> Outcome:
    """Train until the steps, the patience or the minutes are used up, or a signal asks to stop; save; report.

    Args:
        config: all settings; with `resume` those of the run go on, and only how long it goes on may differ.
        prepared: folder that `prepare` wrote.
        run: where everything is written; it is made if need be.
        group: the processes that train together, and this one's device.
        resume: go on from the newest checkpoint, exactly as if nothing had been in between;
            but the minutes begin anew, so one that they shortened takes more steps, at a higher rate.
        start: begin with these weights instead of random ones (`finetuning.begin`), and remember their parent.

    Raises:
        ChatbotError: nothing to train on, nothing to resume, a vocabulary that does not match, another training in the
            same run, no room or no right to write, or divergence.
    """
    if group.device.type == "cpu":
        keep_freed()
    try:
        config = dataclasses.replace(config, corpus=settled(config.corpus, prepared))
        with contextlib.closing(Trainer(config, prepared, run, group, resume, start)) as trainer:
            return trainer.train()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ChatbotError(
            f"out of memory on {group.device}: raise --accumulate (now {config.training.accumulate}), or lower "
            f"--batch-size (now {config.training.batch_size}), --hidden-size or --max-length"
        ) from error
