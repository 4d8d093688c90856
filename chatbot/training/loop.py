"""The page to read to learn what this program does: pairs in, a trained run directory out.

One step: a batch of pairs, teacher forcing through encoder and decoder in one call each, the mean negative
log-likelihood per token over all processes (or, with `ngram_smoothing`, the cross-entropy of softer targets; what is
reported is the likelihood), clipped gradient, AdamW (Loshchilov and Hutter 2019). Every draw of a step
comes from a generator seeded by (seed, step, rank), and the order of an epoch from
(seed, epoch): a step number is all the random state there is, and resuming is exact by construction.
"""

import contextlib
import copy
import dataclasses
import gc
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..chat.bot import Chatbot
from ..chat.pictures import attention_picture
from ..config.settings import Config, TrainingConfig
from ..corpus.prepared import PairDataset, in_order, load_vocabulary
from ..corpus.vocabulary import EOS_ID, Vocabulary
from ..evaluation.held_out import EVALUATION_BATCH, held_out_sums
from ..evaluation.metrics import TokenSums, perplexity
from ..network.model import Seq2Seq
from ..runs.checkpoint import Checkpoint
from ..runs.directory import RunDirectory
from ..system.errors import ChatbotError
from ..system.process import keep_freed, peak_memory
from .batches import StepData, StepReader, step_seed
from .distributed import Group
from .journal import Journal, spaced
from .ngrams import ORDER as NGRAM_ORDER
from .ngrams import NgramModel, NgramTable
from .optimization import AVERAGE_EVERY, Optimizer, average, batch_loss, learning_rate
from .signals import leave_signals_alone, stop_on_signal

LOG_EVERY = 25  # steps between two lines of metrics, at first
LINES = 4096  # after so many lines they come half as often, and so on
LOOKS = 256  # the same for what is heavier: sample replies and attention, which come with validations
FREQUENCY_PAIRS = 100_000  # of which word frequencies are taken
SHOWN_PROMPTS = 5
KEPT_PROMPTS = 64
READERS = 2  # processes that read ahead for each GPU


@dataclass
class Progress:
    """Where a training stands: with the weights and the optimiser, all that resuming needs."""

    step: int = 0
    best_perplexity: float = math.inf
    worse_validations: int = 0  # in a row, since the best one
    seconds: float = 0.0  # of training steps, over all sittings
    seconds_logged: float = 0.0  # those before the last line of metrics
    loss_sum: float = 0.0  # since the last line of metrics, with the two below
    token_count: float = 0.0
    pair_count: float = 0.0


@dataclass
class Outcome:
    """How a training ended: `reason` is `steps`, `patience`, `minutes` or `interrupted`."""

    reason: str
    step: int
    perplexity: float | None
    seconds: float
    samples: list[tuple[str, str]] = field(default_factory=list)


def train(config: Config, prepared: Path, run: RunDirectory, group: Group, *, resume: bool = False) -> Outcome:
    """Train until the steps, the patience or the minutes are used up, or a signal asks to stop; save; report.

    Args:
        config: all settings; with `resume` those of the run go on, and only how long it goes on may differ.
        prepared: folder that `prepare` wrote.
        run: where everything is written; it is made if need be.
        group: the processes that train together, and this one's device.
        resume: go on from the newest checkpoint, exactly as if nothing had been in between.

    Raises:
        ChatbotError: nothing to train on, nothing to resume, a vocabulary that does not match, another training in the
            same run, no room or no right to write, or divergence.
    """
    if group.device.type == "cpu":
        keep_freed()
    try:
        with contextlib.closing(Trainer(config, prepared, run, group, resume)) as trainer:
            return trainer.train()
    except RuntimeError as error:
        if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise ChatbotError(
            f"out of memory on {group.device}: raise --accumulate (now {config.training.accumulate}), or lower "
            f"--batch-size (now {config.training.batch_size}), --hidden-size or --max-length"
        ) from error


class Trainer:
    """One training from its start, or from a checkpoint, to its end."""

    def __init__(self, config: Config, prepared: Path, run: RunDirectory, group: Group, resume: bool) -> None:
        self.config, self.run, self.group, self.device = config, run, group, group.device
        self.settings: TrainingConfig = config.training
        if self.settings.deterministic:  # cuBLAS reads this when it first multiplies
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        self.vocabulary = load_vocabulary(prepared)
        backward = config.model.direction == "backward"
        self.pairs = PairDataset(prepared, "train", backward=backward)
        self.held_out = PairDataset(prepared, "valid", backward=backward)
        if not len(self.pairs):
            raise ChatbotError("the corpus gave no training pair; see its summary: make prepare CORPUS=...")
        if self.settings.epochs:
            steps = max(1, round(self.settings.epochs * -(-len(self.pairs) // self.settings.batch_size)))
            self.settings = dataclasses.replace(self.settings, steps=steps)
        if self.settings.loss == "steps" and (group.size > 1 or self.settings.accumulate > 1):
            raise ChatbotError(
                "the tutorial's loss (--loss steps) is of whole batches: one process, and --accumulate 1"
            )
        vocabulary = self.vocabulary
        ngrams = ngram_model(self.pairs, self.settings, vocabulary)
        self.ngrams: NgramTable | None = ngrams.table().to(self.device) if ngrams else None
        self.reader = StepReader(
            self.pairs,
            self.settings,
            vocabulary.unk_id,
            vocabulary.num_special,
            group.rank,
            group.size,
            ngrams,
        )

        torch.manual_seed(self.settings.seed)
        self.model = Seq2Seq(config.model, len(self.vocabulary))
        if self.settings.word_frequencies:
            with torch.no_grad():
                self.model.decoder.out.bias.copy_(torch.from_numpy(log_frequencies(self.pairs, len(vocabulary))))
        self.model.to(self.device)
        self.parameters = list(self.model.parameters())
        self.optimizer = Optimizer(self.model, self.settings)
        # what is judged and kept: an average of the weights over the last steps, or the weights themselves
        self.judged = copy.deepcopy(self.model) if self.settings.weight_averaging else self.model
        self.progress = Progress()
        # scalars of the steps since the last look, on the device: reading at every step would make it wait every time
        self.costs: list[Tensor] = []
        self.gradient_norms: list[Tensor] = []
        self.prompts = kept_prompts(self.held_out if len(self.held_out) else self.pairs)
        self.journal: Journal | None = None
        with contextlib.ExitStack() as stack:
            if group.is_writer:
                stack.enter_context(run.alone())
            if resume:
                self._restore(run.load_last())
            if group.is_writer:
                run.begin(config, self.vocabulary)
                run.tidy()
                self.journal = Journal(run, self.progress.step)
                stack.callback(self.journal.close)
            self.open = stack.pop_all()

    def _restore(self, checkpoint: Checkpoint) -> None:
        if checkpoint.training is None:
            raise ChatbotError(f"{self.run.path} has no state to resume from, only weights")
        if checkpoint.vocabulary.tokens != self.vocabulary.tokens:
            raise ChatbotError(
                f"the corpus has changed since {self.run.path} was begun: its vocabulary differs. "
                "Bring the old corpus back, or begin another run (RUN=name)"
            )
        try:
            self.judged.load_state_dict(checkpoint.model)
            if self.judged is not self.model:
                self.model.load_state_dict(checkpoint.training["weights"])
            self.optimizer.load_state_dict(checkpoint.training["optimizer"])
            self.progress = Progress(**checkpoint.training["progress"])
            if not self.group.is_writer:  # the sums are those of all processes: they count once
                self.progress.loss_sum = self.progress.token_count = self.progress.pair_count = 0.0
        except ChatbotError as error:
            raise ChatbotError(f"cannot resume {self.run.path}: {error}") from error
        except Exception as error:  # plain data of any shape
            raise ChatbotError(f"cannot resume {self.run.path}: its state is damaged ({error})") from error
        before, now = checkpoint.config.training, self.config.training
        if (before.steps, before.epochs) != (now.steps, now.epochs) and self.settings.steps <= self.progress.step:
            raise ChatbotError(
                f"{self.run.path} has taken {self.progress.step} steps already, so it cannot go on to step "
                f"{self.settings.steps}: give --steps more than that"
            )

    def train(self) -> Outcome:
        """All steps that are left."""
        progress, settings = self.progress, self.settings
        started = time.perf_counter()
        reason = "steps"
        with stop_on_signal() as stop, self._bar() as bar:
            for data in self._steps():
                began = time.perf_counter()
                self._step(data)
                progress.seconds += time.perf_counter() - began
                if not stop.requested:  # who reads what the bar shows may have ended by the same Ctrl-C
                    bar.update()
                over = bool(settings.max_minutes) and time.perf_counter() - started > 60 * settings.max_minutes
                stopping, over = self._any(stop.requested, over)
                validates = progress.step % settings.validate_every == 0 or progress.step == settings.steps
                if spaced(progress.step, LOG_EVERY, LINES):
                    self._log(bar)
                if validates:
                    self._validate(bar)
                if progress.step == settings.steps:
                    pass  # done, whatever else there is
                elif stopping:
                    reason = "interrupted"
                elif validates and 0 < settings.patience <= progress.worse_validations:
                    reason = "patience"
                elif over:
                    reason = "minutes"
                if validates or reason != "steps":
                    self._save_last()
                if reason != "steps":
                    break
        return self._finish(reason)

    def _steps(self) -> Iterable[StepData]:
        """What the steps that are left read; for a GPU it is read ahead by other processes, into pinned memory."""
        ahead = self.device.type == "cuda"
        return DataLoader(
            self.reader,
            batch_size=None,  # the reader makes whole batches
            sampler=range(self.progress.step, self.settings.steps),
            num_workers=READERS if ahead else 0,
            pin_memory=ahead,
            worker_init_fn=leave_signals_alone,
        )

    def _step(self, data: StepData) -> None:
        """One update, without waiting for the device."""
        progress, settings = self.progress, self.settings
        torch.manual_seed(step_seed(settings.seed, progress.step, self.group.rank, "dropout"))

        self.model.train()
        self.model.scale_dropout(settings.dropout_share(progress.step / len(self.reader.sampler)))
        self.optimizer.zero_grad()
        with self._determined():
            for part in data.parts:
                loss, cost = batch_loss(self.model, part.to(self.device), settings, data.tokens, self.ngrams)
                loss.backward()
                self.costs.append(cost)
            self.group.sum_gradients(self.parameters)
            self.gradient_norms.append(self.optimizer.step(progress.step))
        progress.step += 1
        if settings.weight_averaging and (progress.step % AVERAGE_EVERY == 0 or progress.step < AVERAGE_EVERY):
            average(self.judged, self.model, settings.weight_averaging, progress.step)
        progress.token_count += sum(len(part.batch.targets) for part in data.parts)
        progress.pair_count += data.pairs

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

        They are added on the host, in double precision, which is exact for so few floats: in one look or in several
        (a run that was stopped in between), the sum is the same.

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
        progress = self.progress
        began = time.perf_counter()
        norm = self._look()
        progress.seconds += time.perf_counter() - began  # what the steps' device had still to do
        loss, tokens, pairs = self.group.sum((progress.loss_sum, progress.token_count, progress.pair_count))
        progress.loss_sum = progress.token_count = progress.pair_count = 0.0
        speed = pairs / max(progress.seconds - progress.seconds_logged, 1e-9)
        progress.seconds_logged = progress.seconds
        if loss / tokens > 2 * math.log(len(self.vocabulary)):  # knowing nothing at all costs half of that
            raise self._diverged(progress.step, f"the loss is {loss / tokens:.3g}")
        bar.set_postfix_str(f"loss {loss / tokens:.3f}, {speed:.0f} pairs/s", refresh=False)
        if self.journal:
            self.journal.write(
                progress.step,
                "train",
                loss=loss / tokens,
                perplexity=perplexity(loss / tokens),
                learning_rate=learning_rate(self.settings, progress.step - 1),
                gradient_norm=norm,
                pairs_per_second=speed,
                seconds=progress.seconds,
            )

    def _validate(self, bar: tqdm) -> None:
        """Score the held-out pairs, keep `best.pt` if they were never predicted better, show sample replies."""
        progress = self.progress
        self._look()
        if not len(self.held_out):
            return
        with self._determined():
            batches = self.group.share(list(in_order(self.held_out, EVALUATION_BATCH)))
            sums = TokenSums(*self.group.sum(held_out_sums(self.judged, self.held_out, batches, self.device)))
        better = sums.perplexity < progress.best_perplexity
        progress.worse_validations = 0 if better else progress.worse_validations + 1
        progress.best_perplexity = min(progress.best_perplexity, sums.perplexity)
        if self.journal is None:
            return
        if better:
            self._checkpoint(sums).save(self.run.best)
        self.journal.write(
            progress.step,
            "valid",
            loss=sums.mean_loss,
            perplexity=sums.perplexity,
            token_accuracy=sums.token_accuracy,
            seconds=progress.seconds,
            peak_memory_mb=peak_memory(self.device) / 1e6,
        )
        if spaced(progress.step, self.settings.validate_every, LOOKS) or progress.step == self.settings.steps:
            self._show()
        mark = "best so far" if better else f"no better for {progress.worse_validations}"
        bar.write(f"step {progress.step}: held-out perplexity {sums.perplexity:.2f} ({mark})", file=sys.stderr)

    def _show(self) -> None:
        """Sample replies, and attention, for TensorBoard."""
        assert self.journal is not None
        bot, step = self._bot(), self.progress.step
        self.journal.write_samples(step, self._samples(bot))
        for number, prompt in enumerate(self._shown_prompts()[-2:]):
            words, reply, weights = bot.attend(prompt)
            self.journal.write_attention(step, attention_picture(weights, words, reply), number)
        gc.collect()  # a drawn figure refers to itself: without this tens of megabytes of them would wait

    def _bot(self) -> Chatbot:
        """The bot of the weights that are judged, as they are."""
        return Chatbot.from_model(self.judged.eval(), self.config, self.vocabulary)

    def _shown_prompts(self) -> list[list[int]]:
        """A few held-out prompts, from short to long, without unknown words if there are such."""
        readable = [prompt for prompt in self.prompts if self.vocabulary.unk_id not in prompt] or self.prompts
        return readable[:: max(1, len(readable) // SHOWN_PROMPTS)][:SHOWN_PROMPTS]

    def _samples(self, bot: Chatbot) -> list[tuple[str, str]]:
        """Those prompts and the bot's replies."""
        prompts = self._shown_prompts()
        return [(bot.text(prompt), reply) for prompt, reply in zip(prompts, bot.reply_ids(prompts), strict=True)]

    def _checkpoint(self, sums: TokenSums | None = None, training: dict[str, Any] | None = None) -> Checkpoint:
        score = sums.perplexity if sums else None
        weights = _on_cpu(self.judged)
        return Checkpoint(self.config, self.vocabulary, weights, self.progress.step, score, self.prompts, training)

    def _save_last(self) -> None:
        self._look()
        # the counters since the last line of metrics belong to all processes together
        progress = Progress(**vars(self.progress))
        progress.loss_sum, progress.token_count, progress.pair_count = self.group.sum(
            (progress.loss_sum, progress.token_count, progress.pair_count)
        )
        if self.journal:
            training = {"optimizer": self.optimizer.state_dict(), "progress": vars(progress)}
            if self.judged is not self.model:
                training["weights"] = _on_cpu(self.model)
            self.run.save_last(self._checkpoint(training=training))

    def _finish(self, reason: str) -> Outcome:
        samples = self._samples(self._bot()) if self.journal else []
        best = self.progress.best_perplexity
        return Outcome(
            reason, self.progress.step, best if math.isfinite(best) else None, self.progress.seconds, samples
        )

    def close(self) -> None:
        """Close what is open; the run can be resumed, by whoever wants to."""
        self.open.close()

    def _any(self, *flags: bool) -> list[bool]:
        """Which of the flags are raised in any process."""
        return [count > 0 for count in self.group.sum(flags)]

    def _bar(self) -> tqdm:
        return tqdm(
            total=self.settings.steps,
            initial=self.progress.step,
            unit="step",
            desc="training",
            dynamic_ncols=True,
            disable=not self.group.is_writer,
            file=sys.stderr,
        )


def _on_cpu(model: Seq2Seq) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in model.state_dict().items()}


def log_frequencies(dataset: PairDataset, vocabulary_size: int) -> np.ndarray:
    """The logarithm of each token's share of the replies' tokens, EOS counted, of a sample of the pairs: (V,) floats.

    A token that is never said counts as said half a time.
    """
    counts = np.full(vocabulary_size, 0.5)
    for index in range(0, len(dataset), -(-len(dataset) // FREQUENCY_PAIRS)):
        _, reply = dataset[index]
        np.add.at(counts, reply, 1)
        counts[EOS_ID] += 1
    return np.log(counts / counts.sum())


def ngram_model(pairs: PairDataset, settings: TrainingConfig, vocabulary: Vocabulary) -> NgramModel | None:
    """What `ngram_smoothing` needs; None where there is none."""
    if not settings.ngram_smoothing:
        return None
    return NgramModel(pairs, len(vocabulary), vocabulary.num_special, NGRAM_ORDER)


def kept_prompts(dataset: PairDataset) -> list[list[int]]:
    """Up to 64 prompts in which every length in `dataset` has a part (of more than 64 lengths a part of them).

    Shortest first; the same ones every time.
    """
    lengths, _ = dataset.lengths(np.arange(len(dataset)))
    order = np.argsort(lengths, kind="stable")
    by_length = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
    by_length = by_length[:: -(-len(by_length) // KEPT_PROMPTS)]
    each = max(1, KEPT_PROMPTS // len(by_length))
    # spread over the dataset, for neighbours in a corpus are alike
    chosen = [group[:: max(1, len(group) // each)][:each] for group in by_length]
    return [dataset[index][0].tolist() for group in chosen for index in group]
