"""Named settings: the presets of a whole run, and the decodings that `evaluate --decodings` knows by name."""

import dataclasses
import json
from typing import Any

from ..system.errors import ChatbotError, shown
from .settings import Config, CorpusConfig, DecodingConfig, ModelConfig, TrainingConfig, replaced


def changed_decoding(base: DecodingConfig, values: dict[str, Any]) -> DecodingConfig:
    """`base` with `values`.

    Raises:
        ChatbotError: a value is out of bounds, or belongs to another method, where it would change nothing.
    """
    made = replaced(base, values)
    for field in dataclasses.fields(made):
        if field.name in values and (owner := field.metadata["method"]) not in (None, made.method):
            raise ChatbotError(
                f"{field.name.replace('_', '-')} belongs to the method {owner}, and the method here is {made.method}"
            )
    if values.get("min_confidence") and not made.fallback:
        raise ChatbotError("min-confidence says when to fall back, and there is no fallback to say")
    if values.get("fallback") and not made.min_confidence:
        raise ChatbotError("a fallback is said only with a min-confidence above 0")
    return made


# by name, for `evaluate --decodings`; `default` is the run's own
DECODINGS: dict[str, DecodingConfig] = {
    "greedy": DecodingConfig(method="greedy"),
    "beam": DecodingConfig(method="beam", length_penalty=1.0),
    "sample": DecodingConfig(method="sample"),
}
# chosen by readers: docs/decoding.md. Its anti-LM needs a model that was trained with `prompt_dropout`
CHOSEN = DecodingConfig(
    method="beam",
    beam_width=10,
    beam_threshold=1.0,
    length_penalty=1.0,
    min_length=1,
    no_repeat_ngram=2,
    no_repeat_context_ngram=4,
    tidy_marks=True,
    anti_lm=0.3,
    anti_lm_tokens=20,
    anti_lm_bound=1.5,
)
# what the sample corpus answers where it has nothing better to say
UNSURE = (
    "I don't know. What do you think?",
    "I don't know much about that, I'm afraid.",
    "I'm not sure I understand. What do you mean?",
    "That's new to me. Tell me more.",
    "How do you feel about it?",
    "I can't do that, I'm afraid. I only talk.",
)


def decoding_named(text: str, own: DecodingConfig) -> DecodingConfig:
    """A decoding by its name, or with changes, each of them JSON: `beam`, `sample:temperature=0.8,top_p=0.9`.

    Args:
        own: what `default` stands for.

    Raises:
        ChatbotError: there is no such decoding or setting, a value is out of bounds, or a setting is of another method.
    """
    name, _, changes = text.partition(":")
    if name != "default" and name not in DECODINGS:
        raise ChatbotError(f"there is no decoding {name!r}; there are default, {', '.join(DECODINGS)}")
    values: dict[str, Any] = {}
    while changes:
        field, _, rest = changes.partition("=")
        rest = rest.lstrip()
        try:
            values[field], end = json.JSONDecoder().raw_decode(rest)  # a text in it may have commas of its own
            if rest[end : end + 1] not in ("", ","):
                raise ValueError(rest[end])
        except (ValueError, RecursionError) as error:
            raise ChatbotError(f"{shown(changes)} is no setting; write for example beam:beam_width=5") from error
        changes = rest[end + 1 :]
    return changed_decoding(own if name == "default" else DECODINGS[name], values)


PRESETS: dict[str, Config] = {
    # how people talk: film, chats and small talk together, with the turns before; an hour on two cores
    "everyday": Config(
        corpus=CorpusConfig(tokenizer="auto", mend_words=True, max_length=14, min_count=8, context=2, voices=True),
        model=ModelConfig(
            hidden_size=352,
            encoder_layers=1,
            dropout=0.15,
            recurrent_dropout=0.1,
            scale_embeddings=True,
            copy_mechanism=True,
        ),
        training=TrainingConfig(
            steps=14000,
            weight_decay=0.1,
            bucket_batches=1,
            word_dropout=0.05,
            mark_dropout=0.3,
            dropout_warmup_epochs=1.0,
            weight_averaging=0.998,
            validate_every=500,
            max_minutes=60.0,
        ),
        decoding=dataclasses.replace(CHOSEN, fallback=UNSURE),  # off, until somebody asks for a confidence
    ),
    # one corpus of dialogue, of some thousand pairs or more
    "default": Config(
        corpus=CorpusConfig(tokenizer="auto", mend_words=True),
        model=ModelConfig(
            encoder_layers=1, dropout=0.4, recurrent_dropout=0.3, scale_embeddings=True, copy_mechanism=True
        ),
        training=TrainingConfig(
            steps=3000,
            weight_decay=0.5,
            prompts_as_replies=0.25,
            ngram_smoothing=0.6,
            bucket_batches=1,
            dropout_warmup_epochs=2.0,
            max_minutes=60.0,
        ),
        decoding=CHOSEN,
    ),
    # the tutorial's corpus, preparation and sizes
    "tutorial": Config(
        corpus=CorpusConfig(
            corpus="cornell",
            tokenizer="tutorial",
            min_length=0,
            max_length=9,  # "fewer than 10 words"
            unknown_prompts="drop",
            split=(1.0, 0.0, 0.0),
            max_bad_fraction=1.0,
            tutorial_quirks=True,
        ),
        model=ModelConfig(
            bridge="tutorial",
            attention_mask=False,
            dropout=0.1,
            dropout_places="tutorial",
            tie_embeddings=False,
            tutorial_tokens=True,
        ),
        training=TrainingConfig(
            steps=4000,
            draws="replacement",
            loss="steps",
            optimizer="two-adams",
            learning_rate=1e-4,
            decoder_rate_ratio=5.0,
            schedule="constant",
            warmup_steps=0,
            weight_decay=0.0,
            clip_norm=50.0,
            prompt_dropout=0.0,
            word_frequencies=False,
            weight_averaging=0.0,
            precision="fp32",
            patience=0,
            keep="last",
            max_minutes=0,
        ),
    ),
    # a small corpus is learnt by heart: held-out perplexity has no say in when to stop
    "sample": Config(
        corpus=CorpusConfig(corpus="sample", tokenizer="auto", mend_words=True, min_count=1),
        model=ModelConfig(hidden_size=256, dropout=0.1),
        training=TrainingConfig(
            steps=3000,
            learning_rate=3e-3,
            warmup_steps=50,
            word_dropout=0.05,  # every word is known here, and <unk> must be met somewhere
            mark_dropout=0.3,
            weight_averaging=0.98,
            patience=0,
            keep="last",
        ),
        decoding=CHOSEN,
    ),
}
# of a training on from a bot, whatever trained that; what is counted in steps follows from the corpus
TRAINED_ON = Config(
    corpus=CorpusConfig(min_count=2, split=(0.8, 0.1, 0.1)),
    training=TrainingConfig(
        learning_rate=1e-3,
        batch_size=32,
        bucket_batches=1,
        rehearse=0.3,
        weight_decay=0.05,
        weight_averaging=0.98,
        max_minutes=60.0,
    ),
)
