"""Every setting of the program, once, as frozen dataclasses. Their flags are made from these fields."""

import dataclasses
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..system.errors import ChatbotError, shown
from ..system.files import read_json

MAX_BYTES = 1 << 20  # of a file of settings
# settings of version 0.1 that are gone, with the values that asked for nothing: files of that version still open
RETIRED: dict[str, dict[str, Any]] = {
    "corpus": {"max_vocabulary": 0, "unknown_replies": "drop"},
    "training": {"teacher_forcing_ratio": 1.0, "reply_limit": 0, "ngram_order": 4, "histograms": False},
    "decoding": {"mmi_length": 0.0},
}


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Any = None,
    method: str | None = None,
) -> Any:
    """A field with all that its check and its flag need.

    Args:
        low, high: inclusive bounds. choices: the values allowed.
        method: the one decoding method that the setting belongs to; None where it is of all.
    """
    metadata = {"help": help, "low": low, "high": high, "choices": choices, "method": method}
    return dataclasses.field(default=default, metadata=metadata)


def _check(section: Any) -> None:
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
        if choices is not None and value not in choices:
            raise ChatbotError(f"{field.name} must be one of {', '.join(choices)}, not {shown(value)}")
        for number in value if isinstance(value, tuple) else (value,):
            # written so that NaN fails too
            if low is not None and not (low <= number <= high):
                raise ChatbotError(f"{field.name} must be between {low} and {high}, not {shown(number)}")


@dataclass(frozen=True)
class CorpusConfig:
    """From raw files to numbered pairs. Lengths are in words (punctuation marks are words), without `<eos>`."""

    corpus: str = setting("auto", "auto, cornell, chitchat, sample, or a path to a file, a folder or an archive")
    format: str = setting(
        "auto",
        "how to read the corpus; auto recognises it by its content",
        choices=("auto", "cornell", "convokit", "delimited", "jsonl", "log", "dailydialog", "chitchat"),
    )
    tokenizer: str = setting("english", "how text becomes words", choices=("english", "tutorial"))
    min_length: int = setting(1, "shortest prompt and reply kept, in words", low=0, high=1000)
    max_length: int = setting(12, "longest prompt and reply kept, in words", low=1, high=1000)
    min_count: int = setting(3, "a word seen less often in training pairs is unknown", low=1, high=1_000_000)
    vocabulary: str = setting("", "take the words of this vocabulary.txt, and learn none from the training pairs")
    context: int = setting(0, "how many turns before the prompt are put in front of it", low=0, high=20)
    unknown_prompts: str = setting("keep", "pairs whose prompt has an unknown word", choices=("keep", "drop"))
    duplicates: str = setting("keep", "pairs that stand in the corpus more than once", choices=("keep", "drop"))
    split: tuple[float, float, float] = setting(
        (0.9, 0.05, 0.05), "shares of the films (or conversations) for train, valid and test", low=0, high=1
    )
    max_bad_fraction: float = setting(0.01, "give up if more of the lines than this are damaged", low=0, high=1)
    tutorial_quirks: bool = setting(
        False, "count as the tutorial did: ISO-8859-1, its csv quoting, the empty string as a word"
    )

    def __post_init__(self) -> None:
        _check(self)
        if abs(sum(self.split) - 1) > 1e-6 or self.split[0] == 0:
            raise ChatbotError(f"split must add up to 1 and leave something for training, not {self.split}")
        if self.min_length > self.max_length:
            raise ChatbotError(f"min_length {self.min_length} is above max_length {self.max_length}")


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and kinds of the network's parts; the defaults are the tutorial's sizes."""

    direction: str = setting(
        "forward", "replies from prompts, or prompts from replies (a run for --rerank)", choices=("forward", "backward")
    )
    hidden_size: int = setting(500, "units of each GRU layer", low=1, high=8192)
    embedding_size: int = setting(0, "size of a word's vector; 0 is hidden_size", low=0, high=8192)
    encoder_layers: int = setting(2, "layers of the bidirectional encoder", low=1, high=16)
    decoder_layers: int = setting(2, "layers of the decoder", low=1, high=16)
    attention: str = setting("dot", "Luong's score", choices=("dot", "general", "concat"))
    bridge: str = setting(
        "linear",
        "encoder's last states to the decoder's first: linear over both directions of each layer, or the tutorial's",
        choices=("linear", "tutorial"),
    )
    attention_mask: bool = setting(True, "attention leaves padding out in training too, as the tutorial's does not")
    dropout: float = setting(0.2, "share of the values that training leaves out", low=0, high=0.95)
    recurrent_dropout: float = setting(
        0.0, "share of the recurrent connections that training leaves out of a batch", low=0, high=0.95
    )
    dropout_places: str = setting(
        "all",
        "also on the encoder's embeddings and before the output layer, or as the tutorial has it",
        choices=("all", "tutorial"),
    )
    tie_embeddings: bool = setting(True, "the output layer shares the embedding's weights")
    scale_embeddings: bool = setting(False, "words are read times the square root of their size (Vaswani et al. 2017)")
    copy_mechanism: bool = setting(False, "the prompt's words can be copied into the reply (Gu et al. 2016, CopyNet)")
    tutorial_tokens: bool = setting(
        False, "special tokens as the tutorial has them: <eos> read behind every prompt, and none barred from replies"
    )

    def __post_init__(self) -> None:
        _check(self)
        if self.bridge == "tutorial" and self.decoder_layers > 2 * self.encoder_layers:
            raise ChatbotError("the tutorial's bridge needs decoder_layers of at most twice encoder_layers")


@dataclass(frozen=True)
class TrainingConfig:
    """How the weights are found. A step is one update on one batch."""

    steps: int = setting(2000, "updates in all", low=1, high=1_000_000_000)
    epochs: float = setting(0.0, "passes over the pairs, instead of `steps`; 0 is off", low=0, high=1e6)
    batch_size: int = setting(64, "pairs in a batch, over all processes together", low=1, high=1 << 20)
    accumulate: int = setting(1, "parts in which a batch is worked on, in turn: less memory", low=1, high=1 << 16)
    draws: str = setting(
        "epoch",
        "every pair once an epoch, or each batch drawn anew as the tutorial does",
        choices=("epoch", "replacement"),
    )
    bucket_batches: int = setting(
        64, "batches sorted by length together, to pad less (--draws epoch); 1 mixes all lengths", low=1, high=1 << 20
    )
    loss: str = setting(
        "tokens", "mean over tokens, or the tutorial's sum over time steps of means", choices=("tokens", "steps")
    )
    optimizer: str = setting("adamw", "one AdamW, or the tutorial's two Adams", choices=("adamw", "two-adams"))
    learning_rate: float = setting(2e-3, "the optimiser's highest rate", low=0, high=10)
    decoder_rate_ratio: float = setting(1.0, "the decoder's rate over the encoder's", low=0, high=1000)
    schedule: str = setting("cosine", "the rate after warm-up, down to zero or not", choices=("cosine", "constant"))
    warmup_steps: int = setting(100, "the rate rises linearly for so many steps", low=0, high=1_000_000_000)
    weight_decay: float = setting(0.01, "AdamW's decoupled weight decay, of all but biases", low=0, high=10)
    clip_norm: float = setting(1.0, "the gradient's norm is cut to this", low=1e-6, high=1e9)
    prompt_dropout: float = setting(
        0.1, "share of the prompts that training shows empty: --anti-lm needs that", low=0, high=0.9
    )
    prompts_as_replies: float = setting(
        0.0, "share of the pairs of which training shows the prompt, as a reply to nothing", low=0, high=0.9
    )
    ngram_smoothing: float = setting(
        0.0,
        "share of what is learnt that is not the words said but those that n-grams of the training texts expect; it "
        "is that at first, and fades to nothing by the last step",
        low=0,
        high=0.99,
    )
    word_dropout: float = setting(0.0, "share of the prompts' words that training replaces by <unk>", low=0, high=0.9)
    dropout_warmup_epochs: float = setting(
        0.0, "all dropout but that of prompts grows from nothing for so many passes over the pairs", low=0, high=1e6
    )
    word_frequencies: bool = setting(True, "the output layer's biases begin at how often each word is said")
    weight_averaging: float = setting(
        0.995,
        "decay per step of the exponential average of the weights that is judged, kept and used; 0 is off",
        low=0,
        high=0.99999,
    )
    precision: str = setting(
        "auto",
        "of the matrix products; auto is bf16 where the processor has the instructions for it",
        choices=("auto", "fp32", "bf16"),
    )
    validate_every: int = setting(200, "steps between validations; each keeps `last`", low=1, high=1_000_000_000)
    patience: int = setting(
        4, "stop after so many validations without a better one; 0 never stops", low=0, high=1_000_000
    )
    keep: str = setting("best", "the checkpoint that chat, evaluate and export open", choices=("best", "last"))
    max_minutes: float = setting(18.0, "stop (and save) after so many minutes; 0 is no limit", low=0, high=1e7)
    seed: int = setting(1, "of weights, order and dropout", low=0, high=(1 << 63) - 1)
    deterministic: bool = setting(False, "on a GPU the same bits each time, as on a CPU anyway; slower")

    def __post_init__(self) -> None:
        _check(self)
        if self.ngram_smoothing and self.loss == "steps":
            raise ChatbotError("--ngram-smoothing above 0 needs --loss tokens")

    def dropout_share(self, epochs: float) -> float:
        """How much of its dropout an update has after so many passes over the pairs: from 0 to 1, linear.

        Dropout that grows is an idea of Morerio et al. 2017.
        """
        return min(1.0, epochs / self.dropout_warmup_epochs) if self.dropout_warmup_epochs else 1.0


@dataclass(frozen=True)
class DecodingConfig:
    """How a trained model finds its replies. The defaults are plain greedy search; a run has its own in `Config`."""

    method: str = setting("greedy", "how a reply is searched for", choices=("greedy", "beam", "sample"))
    beam_width: int = setting(5, "hypotheses kept at a step, and replies found", low=1, high=1000, method="beam")
    length_penalty: float = setting(
        0.0, "alpha of Wu et al. 2016, higher for longer replies", low=0, high=10, method="beam"
    )
    samples: int = setting(
        1, "replies drawn to a prompt, of which the best is given", low=1, high=1000, method="sample"
    )
    temperature: float = setting(1.0, "below 1 likely words get likelier", low=0.001, high=1000, method="sample")
    top_k: int = setting(0, "only from so many of the likeliest words; 0 is all", low=0, high=1 << 24, method="sample")
    top_p: float = setting(1.0, "only from the likeliest words that have this share", low=1e-6, high=1, method="sample")
    seed: int = setting(1, "the same seed and prompt give the same reply", low=0, high=(1 << 63) - 1, method="sample")
    min_length: int = setting(0, "so many words come before a reply may end", low=0, high=1000)
    no_repeat_ngram: int = setting(0, "no so many words come twice in a reply; 0 is off", low=0, high=1000)
    repetition_penalty: float = setting(
        1.0, "a word's logit is divided by this once it is said (Keskar et al. 2019); 1 is off", low=0.01, high=100
    )
    anti_lm: float = setting(
        0.0,
        "lambda of MMI-antiLM (Li et al. 2016): replies that are likely without a prompt count less; 0 is off",
        low=0,
        high=10,
    )
    anti_lm_tokens: int = setting(5, "gamma of MMI-antiLM: it acts on so many first words", low=0, high=1000)
    anti_lm_bound: float = setting(
        0.0,
        "MMI-antiLM counts a word as likelier with the prompt by at most so many nats; 0 is no bound",
        low=0,
        high=100,
    )
    mmi_weight: float = setting(
        0.5, "lambda of MMI-bidi (Li et al. 2016): weight of log p(prompt | reply) in reranking", low=0, high=100
    )

    def __post_init__(self) -> None:
        _check(self)

    @property
    def candidates(self) -> int:
        """How many replies are found to a prompt, before the best is chosen."""
        return {"greedy": 1, "beam": self.beam_width, "sample": self.samples}[self.method]


@dataclass(frozen=True)
class Config:
    """All of a run's settings; `config.json` holds them, and alone repeats the run."""

    corpus: CorpusConfig = dataclasses.field(default_factory=CorpusConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    decoding: DecodingConfig = dataclasses.field(default_factory=DecodingConfig)  # unless who chats asks for another

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain sections of plain values, as `config.json` holds them."""
        return dataclasses.asdict(self)

    def unlike_defaults(self) -> dict[str, dict[str, Any]]:
        """What differs from the fields' own defaults: the same when settings are added that leave runs as they were."""
        return {
            section.name: {
                field.name: getattr(values, field.name)
                for field in dataclasses.fields(values)
                if getattr(values, field.name) != field.default
            }
            for section in dataclasses.fields(self)
            for values in [getattr(self, section.name)]
        }

    @classmethod
    def from_dict(cls, data: Any, *, over: "Config | None" = None) -> "Config":
        """Read sections; what `data` does not name comes from `over` (the defaults if that is None).

        Raises:
            ChatbotError: an unknown section or setting, a wrong type, a value out of bounds.
        """
        base = over or cls()
        if not isinstance(data, dict):
            raise ChatbotError(f"settings must be an object of sections, not {type(data).__name__}")
        sections = {section.name: getattr(base, section.name) for section in dataclasses.fields(cls)}
        for name, values in data.items():
            if name not in sections:
                raise ChatbotError(f"unknown section {shown(name)}; there are {', '.join(sections)}")
            sections[name] = replaced(sections[name], values)
        return cls(**sections)

    @classmethod
    def load(cls, path: Path, *, over: "Config | None" = None) -> "Config":
        """Read a JSON file that `to_dict` describes; errors name the file."""
        try:
            return cls.from_dict(read_json(path, MAX_BYTES), over=over)
        except (OSError, ValueError) as error:
            raise ChatbotError(f"cannot read the settings {path}: {error}") from error
        except ChatbotError as error:
            raise ChatbotError(f"{path}: {error}") from error


def retired_settings(path: Path) -> list[str]:
    """The settings of a file of version 0.1 that asked for what this version does not do any more."""
    data = read_json(path, MAX_BYTES)
    return [
        name
        for section, neutral in RETIRED.items()
        for name, value in neutral.items()
        if data.get(section, {}).get(name, value) != value
    ]


_Section = TypeVar("_Section")


def replaced(section: _Section, values: Any) -> _Section:
    """`section` with `values`, each checked against its field's type.

    Raises:
        ChatbotError: no such setting, a wrong type, or a value out of bounds.
    """
    hints = typing.get_type_hints(type(section))
    where = section_name(type(section))
    if not isinstance(values, dict):
        raise ChatbotError(f"section {where!r} must be an object, not {type(values).__name__}")
    values = {name: value for name, value in values.items() if name not in RETIRED.get(where, ())}
    for name in values:
        if name not in hints:
            setting_named = name if isinstance(name, str) else shown(name)
            raise ChatbotError(f"unknown setting {where}.{setting_named}; there are {', '.join(hints)}")
    return dataclasses.replace(
        section,  # type: ignore[type-var]
        **{name: _typed(f"{where}.{name}", value, hints[name]) for name, value in values.items()},
    )


def _typed(name: str, value: Any, kind: Any) -> Any:
    if typing.get_origin(kind) is tuple:
        items = typing.get_args(kind)
        if isinstance(value, list | tuple) and len(value) == len(items):
            return tuple(_typed(name, item, of) for item, of in zip(value, items, strict=True))
    elif kind is float and type(value) in (int, float):
        try:
            return float(value)
        except OverflowError as error:
            raise ChatbotError(f"{name} is too large") from error
    elif type(value) is kind:
        return value
    wanted = kind.__name__ if not isinstance(kind, types.GenericAlias) else str(kind)
    raise ChatbotError(f"{name} must be {wanted}, not {shown(value)}")


def section_name(section: type) -> str:
    """The name of a section's dataclass in `Config`: `model` of `ModelConfig`."""
    return section.__name__.removesuffix("Config").lower()
