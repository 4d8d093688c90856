"""A checkpoint of the PyTorch chatbot tutorial -> a run directory that answers with the same tokens.

What the tutorial saves (torch.save of a dict, in a file it calls `4000_checkpoint.tar`, which is no tar):

    iteration           updates taken
    en, de              state dicts of encoder and decoder, each with the shared embedding
    voc_dict            name, trimmed, word2index, word2count, index2word, num_words; ids 0, 1, 2 are PAD, SOS, EOS
    embedding           the embedding once more
    en_opt, de_opt, loss    the two optimisers and the last loss; not used here

Sizes, layers and the kind of attention are read off the weights. What is not in the file comes from the preset
`tutorial`: its normaliser, its bridge, EOS behind each prompt, no token barred from replies, one embedding. Attention
is the same function of the same weights: general is query . (W memory + b), concat v . tanh(W [query; memory] + b).

Shapes: V words, H hidden size, L layers.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config.presets import PRESETS
from ..config.settings import Config
from ..corpus.vocabulary import EOS, PAD, SEP, SOS, UNK, Vocabulary
from ..network.model import Seq2Seq
from ..system.errors import ChatbotError, failing_as
from ..system.files import atomic_folder
from .archive import plain_data
from .checkpoint import Checkpoint
from .directory import RunDirectory
from .weights import check_state

SPECIAL = {"PAD": PAD, "SOS": SOS, "EOS": EOS}  # in the order of their ids, with our names
MAX_LENGTH = 10  # the tutorial's
PROMPTS = 64


def import_checkpoint(path: Path, run: RunDirectory, *, max_length: int = MAX_LENGTH, corpus: str) -> Checkpoint:
    """Write the run directory of a checkpoint of the tutorial, whole or not at all.

    Args:
        path: the tutorial's file.
        run: where it goes; a folder that is empty or not there yet.
        max_length: the tutorial's MAX_LENGTH, which its file does not tell: tokens of the longest reply, EOS counted.
        corpus: what it was trained on, by name or path, for `evaluate` and for training again.

    Returns:
        what was written: `best.pt`, which holds weights and nothing to resume from.

    Raises:
        ChatbotError: the file is missing, damaged or something else, or the folder has something in it.
    """
    try:
        with failing_as("it cannot be read"):
            data = plain_data(path)
        checkpoint = convert(data, max_length=max_length, corpus=corpus, vocabulary=str(run.vocabulary))
    except ChatbotError as error:
        raise ChatbotError(f"cannot import {path}: {error}") from error
    if run.path.exists() and not (run.path.is_dir() and not any(run.path.iterdir())):
        raise ChatbotError(f"{run.path} is there already and is no run: name another, or delete it")
    with atomic_folder(run.path) as folder:
        made = RunDirectory(folder)
        made.begin(checkpoint.config, checkpoint.vocabulary)
        checkpoint.save(made.best)
    return checkpoint


def convert(data: Any, *, max_length: int = MAX_LENGTH, corpus: str, vocabulary: str = "") -> Checkpoint:
    """What the tutorial saved, as a checkpoint of ours.

    Args:
        data: the loaded file; nothing of it is believed.
        max_length, corpus: as `import_checkpoint` has them.
        vocabulary: the file from which a training that repeats the settings takes its words.

    Raises:
        ChatbotError: a part is missing or is not what the tutorial's is.
    """
    _require(isinstance(data, dict), f"it holds a {type(data).__name__}, not the tutorial's dictionary")
    missing = [key for key in ("iteration", "en", "de", "voc_dict") if key not in data]
    _require(not missing, f"it lacks {', '.join(missing)}, so it is no checkpoint of the tutorial")
    iteration = data["iteration"]
    _require(type(iteration) is int and 0 <= iteration <= 10**9, "its iteration is no number of updates")
    lengths = f"--max-length counts a reply's tokens with EOS, 2 to 1001, not {max_length}"
    _require(2 <= max_length <= 1001, lengths)
    words = _vocabulary(data["voc_dict"])
    theirs = {"encoder": _weights(data["en"], "en"), "decoder": _weights(data["de"], "de")}
    preset = PRESETS["tutorial"]
    config = Config(
        corpus=dataclasses.replace(preset.corpus, corpus=corpus, max_length=max_length - 1, vocabulary=vocabulary),
        model=dataclasses.replace(preset.model, **_sizes(theirs["encoder"], theirs["decoder"])),
        training=dataclasses.replace(preset.training, steps=max(1, iteration), keep="best"),
        decoding=preset.decoding,
    )
    with torch.device("meta"):  # names and shapes only
        wanted = {name: tensor.shape for name, tensor in Seq2Seq(config.model, len(words)).state_dict().items()}
    model = {}
    for name, shape in wanted.items():
        part, _, own = name.partition(".")
        own = own.replace("attention.projection.", "attn.attn.").replace("attention.v", "attn.v")
        _require(own in theirs[part], f"its {part} has no {own}")
        tensor = model[name] = theirs[part].pop(own)
        shapes = f"{tuple(tensor.shape)} and should be {tuple(shape)}"
        _require(tensor.shape == shape, f"its {part}'s {own} is of shape {shapes}")
        finite = bool(tensor.isfinite().all())
        _require(finite, f"its {part}'s {own} has values that are not finite: it diverged, or is damaged")
    for part, left in theirs.items():
        _require(not left, f"its {part} has {''.join([*left][:1])[:60]!r}, which the tutorial's has not")
    shared = torch.equal(model["encoder.embedding.weight"], model["decoder.embedding.weight"])
    _require(shared, "its encoder and decoder have different embeddings, where the tutorial's share one")
    model["decoder.embedding.weight"] = model["encoder.embedding.weight"]
    return Checkpoint(config, words, model, iteration, None, _prompts(words, max_length - 1))


def unreadable(checkpoint: Checkpoint) -> list[str]:
    """Words that no prompt can hold, for the tokenizer does not make them: another normaliser made this vocabulary."""
    tokenize = checkpoint.tokenizer.tokenize
    words = checkpoint.vocabulary.tokens[checkpoint.vocabulary.num_special :]
    return [word for word in words if word and tokenize(word) != [word]]


def _weights(state: Any, name: str) -> dict[str, Tensor]:
    """The float32 tensors of a state dict; none is copied."""
    check_state(state, name)
    for key, value in state.items():
        kind = getattr(value, "dtype", type(value).__name__)
        if kind != torch.float32:
            raise ChatbotError(f"its {name} has {key[:60]!r} as {kind}, and not as torch.float32")
    return {key: value.detach() for key, value in state.items()}


def _sizes(encoder: dict[str, Tensor], decoder: dict[str, Tensor]) -> dict[str, Any]:
    """The settings of the model that the weights are of, by their names and the embedding's shape."""
    embedding = encoder.get("embedding.weight", torch.empty(0))
    _require(embedding.dim() == 2, "its encoder has no embedding.weight of two dimensions")
    _require("gru.weight_hh_l0_reverse" in encoder, "its encoder is no bidirectional GRU, as the tutorial's is")
    return {
        "hidden_size": embedding.size(1),
        "encoder_layers": sum(name.startswith("gru.bias_hh_l") for name in encoder) // 2,
        "decoder_layers": sum(name.startswith("gru.bias_hh_l") for name in decoder),
        "attention": "concat" if "attn.v" in decoder else "general" if "attn.attn.weight" in decoder else "dot",
    }


def _vocabulary(voc: Any) -> Vocabulary:
    """The words in the order of the tutorial's ids."""
    _require(isinstance(voc, dict), f"its voc_dict is a {type(voc).__name__}, not a dictionary")
    words, ids, count = (voc.get(key) for key in ("index2word", "word2index", "num_words"))
    there = isinstance(words, dict) and isinstance(ids, dict) and type(count) is int
    _require(there, "its voc_dict lacks index2word, word2index or num_words")
    kinds = {type(word) for word in (*words.values(), *ids)}, {type(id) for id in (*words, *ids.values())}
    _require(kinds == ({str}, {int}), "its vocabulary has words that are no text, or ids that are no numbers")
    numbered = count == len(words) and all(id in words for id in range(count))
    _require(numbered, f"its vocabulary has {len(words):,} words, but not that num_words, or not the ids from 0 on")
    tokens = [words[id] for id in range(count)]
    _require(tokens[:3] == list(SPECIAL), f"its first ids are not {', '.join(SPECIAL)}, as the tutorial's are")
    _require(len(tokens) > len(SPECIAL), "its vocabulary has no words")
    spoken = {word: id for id, word in words.items() if id >= len(SPECIAL)}
    same = {word: id for word, id in ids.items() if word not in SPECIAL} == spoken
    _require(same, "its word2index and index2word do not say the same")
    reserved = {UNK, SEP}.intersection(tokens)
    _require(not reserved, f"its vocabulary has the word {' '.join(reserved)}, which has a meaning of its own here")
    is_text = "".join(tokens).encode("utf-8", "replace").decode() == "".join(tokens)  # no halves of surrogate pairs
    _require(is_text, "its vocabulary has words that are no text")
    return Vocabulary([*SPECIAL.values(), *tokens[3:]])


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ChatbotError(otherwise)


def _prompts(vocabulary: Vocabulary, longest: int) -> list[list[int]]:
    """Prompts of 1 to `longest` random words, shortest first, to prove an export with: the file has none."""
    rng = np.random.default_rng(0)
    lengths = np.linspace(1, longest, PROMPTS).round().astype(int)
    return [rng.integers(vocabulary.num_special, len(vocabulary), size=length).tolist() for length in lengths]
