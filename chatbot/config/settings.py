"""Every setting of the program, once, as frozen dataclasses. Their flags are made from these fields."""

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..system.errors import ChatbotError, shown
from ..system.files import read_json
from ..system.schema import checked

MAX_BYTES = 1 << 20  # of a file of settings
FORMATS = (
    *("cornell", "convokit", "delimited", "jsonl", "json", "transcript", "labels", "log", "dailydialog", "chitchat"),
    *("whatsapp", "telegram", "messenger", "discord", "slack", "signal", "irc", "stamped", "subtitles", "yaml"),
    *("parallel", "parlai", "parquet", "headed", "days", "chatgpt", "skype", "matrix"),
)
TOKENIZER_NAMES = ("english", "tutorial", "unicode", "unicode-cased")
# settings of version 0.1 that are gone, with the values that asked for nothing: files of that version still open.
# (What histograms asked for changed nothing in a run, so it is not missed.)
RETIRED: dict[str, dict[str, Any]] = {
    "corpus": {"max_vocabulary": 0, "unknown_replies": "drop"},
    "training": {"teacher_forcing_ratio": 1.0, "reply_limit": 0, "ngram_order": 4, "histograms": False},
    "decoding": {"mmi_length": 0.0},
}
# what a resumed run may change: how long it goes on (which stretches the rate's schedule), and what is shown and kept
RESUMABLE = {"steps", "epochs", "max_minutes", "patience", "validate_every", "keep"}

MOST_FALLBACKS = 32


def _setting(default: Any, help: str, **more: Any) -> Any:
    """A field with the help text of its flag; `flag` if that has another name; `method` if only one decoding has it;
    `zero` is a word that the flag takes for 0."""
    empty = {"low": None, "high": None, "choices": None, "method": None, "flag": None, "zero": None}
    return dataclasses.field(default=default, metadata={"help": help, **empty, **more})


def _number(default: Any, help: str, low: float, high: float, method: str | None = None) -> Any:
    """A number, or several, within bounds (both included)."""
    return _setting(default, help, low=low, high=high, method=method)


def _choice(default: str, help: str, *choices: str) -> Any:
    """One of a few words."""
    return _setting(default, help, choices=choices)


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

    corpus: str = _setting("auto", "auto, cornell, chitchat, sample, a path, or several: cornell+my.tsv+sample*5")
    old_corpus: str = _setting("", "with --from: what --rehearse shows again; empty is what the bot learnt, or sample")
    format: str = _choice("auto", "how to read the corpus; auto recognises the format by its content", "auto", *FORMATS)
    columns: str = _setting("", "which columns are what: prompt=3,reply=5, by number or name")
    me: str = _setting("", "learn only what this speaker replies")
    gap: float = _number(6.0, "a pause of so many hours begins a new conversation", 0.001, 100_000)
    private: bool | None = _setting(
        None, "leave out names, phone numbers, addresses and links; without a word, in chat exports only"
    )
    tokenizer: str = _choice(
        "english", "how text becomes words; auto goes by the corpus's language", "auto", *TOKENIZER_NAMES
    )
    min_length: int = _number(1, "shortest prompt and reply kept, in words", 0, 1000)
    max_length: int = _setting(12, "longest turn kept; auto fits the corpus", low=0, high=1000, zero="auto")
    min_count: int = _number(3, "a word seen less often in training pairs is unknown", 1, 1_000_000)
    vocabulary: str = _setting("", "take the words of this vocabulary.txt instead of those of the training pairs")
    context: int = _number(0, "how many earlier turns stand in front of the prompt", 0, 20)
    voices: bool = _setting(
        False, "in a mixture, prompts begin with a token of their corpus; the last one's answers (Kobus et al. 2017)"
    )
    mend_words: bool = _setting(False, "chat reads an unknown word as the known one that it is a slip of")
    unknown_prompts: str = _choice("keep", "pairs whose prompt has an unknown word", "keep", "drop")
    duplicates: str = _choice("keep", "pairs that stand in the corpus more than once", "keep", "drop")
    split: tuple[float, float, float] = _number((0.9, 0.05, 0.05), "shares of films for train, valid and test", 0, 1)
    max_bad_fraction: float = _number(0.01, "give up if more of the lines than this are damaged", 0, 1)
    tutorial_quirks: bool = _setting(False, "count as the tutorial did: ISO-8859-1, csv quoting, the empty word")

    def __post_init__(self) -> None:
        _check(self)
        if abs(sum(self.split) - 1) > 1e-6 or self.split[0] == 0:
            raise ChatbotError(f"split must add up to 1 and leave something for training, not {self.split}")
        if self.max_length and self.min_length > self.max_length:
            raise ChatbotError(f"min_length {self.min_length} is above max_length {self.max_length}")


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and kinds of the network's parts; the defaults are the tutorial's sizes."""

    direction: str = _choice("forward", "reply from prompt, or prompt from reply (for --rerank)", "forward", "backward")
    hidden_size: int = _number(500, "units of each GRU layer", 1, 8192)
    embedding_size: int = _number(0, "size of a word's vector; 0 is hidden_size", 0, 8192)
    encoder_layers: int = _number(2, "layers of the bidirectional encoder", 1, 16)
    decoder_layers: int = _number(2, "layers of the decoder", 1, 16)
    attention: str = _choice("dot", "Luong's score", "dot", "general", "concat")
    bridge: str = _choice("linear", "how the decoder's first state is made of the encoder's last", "linear", "tutorial")
    attention_mask: bool = _setting(True, "attention leaves padding out in training too, unlike the tutorial's")
    dropout: float = _number(0.2, "share of the values that training leaves out", 0, 0.95)
    recurrent_dropout: float = _number(0.0, "share of the recurrent connections that a batch leaves out", 0, 0.95)
    dropout_places: str = _choice(
        "all", "also before the output layer, or where the tutorial has it", "all", "tutorial"
    )
    tie_embeddings: bool = _setting(True, "the output layer shares the embedding's weights (Press and Wolf 2017)")
    scale_embeddings: bool = _setting(
        False, "embeddings are multiplied by the root of their size (Vaswani et al. 2017)"
    )
    copy_mechanism: bool = _setting(False, "the prompt's words can be copied into the reply (Gu et al. 2016, CopyNet)")
    tutorial_tokens: bool = _setting(False, "the tutorial's special tokens: <eos> read behind prompts, none barred")

    def __post_init__(self) -> None:
        _check(self)
        if self.bridge == "tutorial" and self.decoder_layers > 2 * self.encoder_layers:
            raise ChatbotError("the tutorial's bridge needs decoder_layers of at most twice encoder_layers")


@dataclass(frozen=True)
class TrainingConfig:
    """How the weights are found. A step is one update on one batch."""

    base: str = _setting("", "train on from this bot: a run, pretrained, or a checkpoint's file", flag="from")
    rehearse: float = _number(0.0, "share of an epoch that is of old_corpus; 0.3 with --from", 0, 0.95)
    embeddings: str = _setting("", "text file of word vectors, such as GloVe's, that the embedding begins with")
    steps: int = _number(2000, "updates in all", 1, 1_000_000_000)
    epochs: float = _number(0.0, "passes over the pairs, instead of steps; 0 is off", 0, 1e6)
    batch_size: int = _setting(64, "pairs in a batch; auto: more on a GPU", low=0, high=1 << 20, zero="auto")
    accumulate: int = _number(1, "parts in which a batch is worked on, one after the other: less memory", 1, 1 << 16)
    draws: str = _choice("epoch", "each pair once an epoch, or drawn anew as in the tutorial", "epoch", "replacement")
    bucket_batches: int = _number(64, "batches that are sorted by length together; 1 mixes all lengths", 1, 1 << 20)
    loss: str = _choice("tokens", "mean over tokens, or the tutorial's sum over steps of means", "tokens", "steps")
    optimizer: str = _choice("adamw", "one AdamW, or the tutorial's two Adams", "adamw", "two-adams")
    learning_rate: float = _number(2e-3, "the optimiser's highest rate", 0, 10)
    decoder_rate_ratio: float = _number(1.0, "the decoder's rate over the encoder's", 0, 1000)
    schedule: str = _choice("cosine", "the rate after warm-up: down to zero, or constant", "cosine", "constant")
    warmup_steps: int = _number(100, "the rate rises linearly for so many steps", 0, 1_000_000_000)
    weight_decay: float = _number(0.01, "AdamW's decoupled weight decay, of all weights but biases", 0, 10)
    clip_norm: float = _number(1.0, "the gradient's norm is cut to this", 1e-6, 1e9)
    prompt_dropout: float = _number(0.1, "share of the prompts that training shows empty, for --anti-lm", 0, 0.9)
    prompts_as_replies: float = _number(0.0, "share of the pairs whose prompt is learnt as a reply to nothing", 0, 0.9)
    ngram_smoothing: float = _number(0.0, "share of the target that n-grams of the texts give; it fades to 0", 0, 0.99)
    word_dropout: float = _number(0.0, "share of the prompts' words that training replaces by <unk>", 0, 0.9)
    mark_dropout: float = _number(0.0, "share of the prompts that training shows without their marks", 0, 0.9)
    dropout_warmup_epochs: float = _number(0.0, "dropout grows from nothing for so many epochs", 0, 1e6)
    word_frequencies: bool = _setting(True, "the output layer's biases begin at how often each word is said")
    weight_averaging: float = _number(0.995, "decay a step of the averaged weights that are kept; 0 is off", 0, 0.99999)
    precision: str = _choice("auto", "of products; auto is bf16 where the processor has it", "auto", "fp32", "bf16")
    fixed_shapes: str = _choice(
        "auto", "steps in fixed shapes, recorded as CUDA graphs; auto is on a GPU", "auto", "on", "off"
    )
    validate_every: int = _number(200, "steps between validations; each keeps `last`", 1, 1_000_000_000)
    patience: int = _number(4, "stop after so many validations without a better one; 0 never stops", 0, 1_000_000)
    keep: str = _choice("best", "the checkpoint that chat, evaluate and export open", "best", "last")
    max_minutes: float = _number(18.0, "stop (and save) after so many minutes; 0 is no limit", 0, 1e7)
    seed: int = _number(1, "of weights, order and dropout", 0, (1 << 63) - 1)
    deterministic: bool = _setting(False, "the same bits each time on a GPU too; slower")

    def __post_init__(self) -> None:
        _check(self)
        if self.ngram_smoothing and self.loss == "steps":
            raise ChatbotError("--ngram-smoothing above 0 needs --loss tokens")

    def dropout_share(self, epochs: float) -> float:
        """How much of its dropout an update has after so many epochs: from 0 to 1, linear (Morerio et al. 2017)."""
        return min(1.0, epochs / self.dropout_warmup_epochs) if self.dropout_warmup_epochs else 1.0


@dataclass(frozen=True)
class DecodingConfig:
    """How a trained model finds its replies. The defaults are plain greedy search; a run has its own in `Config`."""

    method: str = _choice("greedy", "how a reply is searched for", "greedy", "beam", "sample")
    beam_width: int = _number(5, "hypotheses kept at a step, and replies found", 1, 1000, "beam")
    beam_threshold: float = _number(0.0, "drops what is so many nats behind the best; 0 drops nothing", 0, 1000, "beam")
    length_penalty: float = _number(0.0, "alpha of Wu et al. 2016, higher for longer replies", 0, 10, "beam")
    min_confidence: float = _number(
        0.0,
        "falls back where the words of the best reply have a lower probability on average; 0 never does",
        0,
        1,
        "beam",
    )
    fallback: tuple[str, ...] = _setting((), "then says this; of several, the likeliest", method="beam")
    samples: int = _number(1, "replies drawn to a prompt; the best is given", 1, 1000, "sample")
    temperature: float = _number(1.0, "below 1 likely words get likelier", 0.001, 1000, "sample")
    top_k: int = _number(0, "only from so many of the likeliest words; 0 is all", 0, 1 << 24, "sample")
    top_p: float = _number(1.0, "only from the likeliest words that have this share together", 1e-6, 1, "sample")
    seed: int = _number(1, "the same seed and prompt give the same reply", 0, (1 << 63) - 1, "sample")
    min_length: int = _number(0, "words that a reply has before it may end", 0, 1000)
    no_repeat_ngram: int = _number(0, "no sequence of so many words comes twice in a reply; 0 is off", 0, 1000)
    no_repeat_context_ngram: int = _number(
        0, "no sequence of so many words of its last reply comes again, if it reads that; 0 is off", 0, 1000
    )
    tidy_marks: bool = _setting(False, "no reply begins with a punctuation mark, and none follows another")
    repetition_penalty: float = _number(
        1.0, "divides the logit of a word that was said (Keskar et al. 2019)", 0.01, 100
    )
    anti_lm: float = _number(
        0.0, "lambda of MMI-antiLM (Li et al. 2016): less of what fits any prompt; 0 is off", 0, 10
    )
    anti_lm_tokens: int = _number(5, "gamma of MMI-antiLM: it acts on so many first words", 0, 1000)
    anti_lm_bound: float = _number(0.0, "most nats that MMI-antiLM moves a word by; 0 is no bound", 0, 100)
    mmi_weight: float = _number(0.5, "lambda of MMI-bidi (Li et al. 2016): weight of log p(prompt | reply)", 0, 100)

    def __post_init__(self) -> None:
        _check(self)
        if len(self.fallback) > MOST_FALLBACKS:
            raise ChatbotError(f"fallback has {len(self.fallback):,} replies, and {MOST_FALLBACKS} are allowed")

    @property
    def found(self) -> "DecodingConfig":
        """The same without a fallback: what is found is said, however unlikely."""
        return dataclasses.replace(self, min_confidence=0.0)

    @property
    def candidates(self) -> int:
        """How many replies are found to a prompt, before the best is chosen."""
        return {"greedy": 1, "beam": self.beam_width, "sample": self.samples}[self.method]


@dataclass(frozen=True)
class Config:
    """All of a run's settings; `config.json` holds them, and alone repeats the run (one that began with word
    vectors wants their file, too)."""

    corpus: CorpusConfig = dataclasses.field(default_factory=CorpusConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    decoding: DecodingConfig = dataclasses.field(default_factory=DecodingConfig)  # unless a call asks for another

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


def retired_settings(path: Path, *sections: str) -> list[str]:
    """The settings of a file of version 0.1, in these sections, that ask for what this version does not do any more."""
    data = read_json(path, MAX_BYTES)
    asked = {
        name for of in sections for name, value in RETIRED[of].items() if data.get(of, {}).get(name, value) != value
    }
    if not data.get("training", {}).get("ngram_smoothing"):
        asked.discard("ngram_order")  # of no n-grams
    return sorted(asked - {"histograms"})


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
        **{name: checked(hints[name], value, f"{where}.{name}") for name, value in values.items()},
    )


def differences(saved: Config, now: Config, *sections: str) -> dict[str, str]:
    """The settings of some sections in which two configurations differ, by their names: what each has, for people."""
    before, after = (
        {name: value for section in sections for name, value in vars(getattr(config, section)).items()}
        for config in (saved, now)
    )
    return {
        name: f"{name} is {shown(after[name])}, and was {shown(value)}"
        for name, value in before.items()
        if value != after[name]
    }


def section_name(section: type) -> str:
    """The name of a section's dataclass in `Config`: `model` of `ModelConfig`."""
    return section.__name__.removesuffix("Config").lower()
