"""What the page of `export --web` knows of a bot besides its network, as one JSON object: `bot.json`.

The tables of text are asked of the Python code that the bot was trained with, so that there is one truth: what each
character is read as, the regular expressions that find words, which words are joined to the one before. The page's
`engine/facts.js` describes each entry.
"""

import dataclasses
from typing import Any

from ..config.presets import DECODINGS
from ..config.settings import CorpusConfig, DecodingConfig
from ..corpus import characters
from ..corpus.mending import Spellings
from ..corpus.tokenizer import (  # its regular expressions, not its calls
    _DOTS,
    _ENGLISH_WORD,
    _MARKUP,
    _REPEATED_MARK,
    MARKS,
    MAX_CHARACTERS,
    MAX_WORDS,
    Tokenizer,
    english_text,
)
from ..corpus.unicode_tokenizer import UnicodeTokenizer
from ..corpus.vocabulary import Vocabulary
from ..decoding.fallback import FallbackIds
from ..runs.checkpoint import Checkpoint
from ..system.errors import ChatbotError
from .torchscript_tokenizer import TorchScriptTokenizer

FACTS_FORMAT = 3
# what `engine/search.js` and `engine/bot.js` know; mmi_weight is for a second network, which no export has
SPECIAL = {"pad", "sos", "eos", "unk", "sep", "voice"}
SETTINGS = {
    *("method", "beam_width", "beam_threshold", "length_penalty", "samples", "temperature", "top_k", "top_p", "seed"),
    *("min_length", "no_repeat_ngram", "no_repeat_context_ngram", "tidy_marks", "repetition_penalty"),
    *("anti_lm", "anti_lm_tokens", "anti_lm_bound", "mmi_weight", "min_confidence", "fallback"),
}
# the corpus's settings that the page does as they say, and those that end with preparation
CORPUS_SETTINGS = {
    *("tokenizer", "max_length", "context", "mend_words", "voices"),
    *("corpus", "old_corpus", "format", "columns", "me", "gap", "private", "min_length", "min_count", "vocabulary"),
    *("unknown_prompts", "duplicates", "split", "max_bad_fraction", "tutorial_quirks"),
}
READABLE = ("english", "tutorial", "unicode", "unicode-cased")  # the tokenizers that `engine/text.js` can be


def facts_of(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """All of it, for a bot of that name.

    Raises:
        ChatbotError: the page cannot do what the bot does; it never answers differently in silence.
    """
    vocabulary, config = checkpoint.vocabulary, checkpoint.config
    strange = [*(vocabulary.special_ids.keys() - SPECIAL)]
    strange += [*_unknown(config.decoding, SETTINGS), *_unknown(config.corpus, CORPUS_SETTINGS)]
    if strange:
        raise ChatbotError(f"the web page does not know what this bot answers by: {', '.join(sorted(strange))}")
    return {
        "format": FACTS_FORMAT,
        "name": name,
        "vocabulary": vocabulary.tokens,
        "written": vocabulary.written,
        "special": vocabulary.special_ids,
        "numSpecial": vocabulary.num_special,
        "neverReplied": checkpoint.never_replied,
        "marks": vocabulary.marks,
        "maxLength": config.corpus.max_length,
        "context": config.corpus.context,
        "hiddenSize": config.model.hidden_size,
        "decoderLayers": config.model.decoder_layers,
        "decoding": _decoding(config.decoding, checkpoint.fallback_ids),
        "decodings": {name: _decoding(plain, checkpoint.fallback_ids) for name, plain in DECODINGS.items()},
        "text": text_facts(checkpoint.tokenizer, vocabulary),
        "mending": mending_facts(checkpoint.tokenizer, vocabulary) if config.corpus.mend_words else None,
    }


def mending_facts(tokenizer: Tokenizer, vocabulary: Vocabulary) -> dict[str, Any]:
    """By what unknown words are mended."""
    found = Spellings.of(vocabulary, tokenizer)
    return {name: getattr(found, name) for name in ("first", "end", "alphabet", "short", "plain")}


def _unknown(settings: DecodingConfig | CorpusConfig, known: set[str]) -> list[str]:
    """Settings that are not their defaults, and that the page has never heard of."""
    fields = dataclasses.fields(settings)
    return [f.name for f in fields if f.name not in known and getattr(settings, f.name) != f.default]


def _decoding(settings: DecodingConfig, ids_of: FallbackIds) -> dict[str, Any]:
    return {
        **dataclasses.asdict(settings),
        "seed": str(settings.seed),  # it may have more bits than JavaScript's numbers
        "fallback": ids_of(settings.fallback),
    }


def text_facts(tokenizer: Tokenizer, vocabulary: Vocabulary) -> dict[str, Any]:
    """How text becomes words, and a vocabulary's words text.

    Raises:
        ChatbotError: the tokenizer is one that the page cannot be.
    """
    if tokenizer.name not in READABLE:
        raise ChatbotError(
            f"the web page cannot read text as the tokenizer {tokenizer.name!r} does, only as {' or '.join(READABLE)}"
        )
    english = tokenizer.name == "english"
    if isinstance(tokenizer, UnicodeTokenizer):
        ascii, folds, unicode = list[str](), dict[int, str](), unicode_facts(tokenizer.cased)
    else:
        table = TorchScriptTokenizer(tokenizer.name)
        ascii, folds, unicode = table.ascii, table.folds, None
    joined = [word for word in vocabulary.tokens if word not in MARKS and english_text(["a", word], {}) == "A" + word]
    return {
        "tokenizer": tokenizer.name,
        "ascii": ascii,
        "folds": {chr(code): read for code, read in sorted(folds.items())},
        "markup": _MARKUP.pattern if english or unicode else None,
        "runs": [[_DOTS.pattern, "..."], [_REPEATED_MARK.pattern, "$1"]] if english else [],
        "word": _ENGLISH_WORD.pattern if english else None,
        "english": english,
        "contractions": joined if english else [],
        "unicode": unicode,
        "maxCharacters": MAX_CHARACTERS,
        "maxWords": MAX_WORDS,
    }


def unicode_facts(cased: bool) -> dict[str, Any]:
    """The table of all characters (`characters.Table`), with texts in place of code points."""
    table = characters.table(cased)
    return {
        "cased": cased,
        "starts": table.starts,
        "kinds": table.kinds,
        "folds": {chr(code): "".join(map(chr, read)) for code, read in table.folds.items()},
        "pairs": {chr(both >> 21) + chr(both & 0x1FFFFF): chr(code) for both, code in table.pairs.items()},
        "titles": {chr(small): chr(capital) for small, capital in table.titles.items()},
    }
