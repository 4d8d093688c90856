"""A path to what a bot is made of: which kind of file stands there, and how that kind is opened."""

from pathlib import Path
from typing import NamedTuple

import torch

from ..config.settings import Config, DecodingConfig
from ..corpus.tokenizer import TOKENIZERS, Tokenizer
from ..corpus.vocabulary import Vocabulary
from ..decoding.generate import Decoding
from ..network.model import Seq2Seq
from ..runs.checkpoint import Checkpoint, is_bundle, never_replied
from ..runs.directory import BUNDLE, RunDirectory
from ..system.errors import ChatbotError


class Opened(NamedTuple):
    """What a `Chatbot` is made of, in the order of its fields."""

    decode: Decoding
    vocabulary: Vocabulary
    tokenizer: Tokenizer
    max_length: int
    context: int
    decoding: DecodingConfig


def open_path(path: Path, device: torch.device) -> Opened:
    """A run directory, a checkpoint, an export's folder, a bundle or an ONNX file (that one is on the CPU anyway).

    Raises:
        ChatbotError: nothing is there, or it is damaged or of another version.
    """
    if (path / BUNDLE).is_file():
        path = path / BUNDLE
    if path.suffix == ".onnx":
        return _open_onnx(path)
    if path.is_dir() or not is_bundle(path):
        checkpoint = open_checkpoint(path)
        return of_model(checkpoint.build_model().to(device), checkpoint.config, checkpoint.vocabulary)
    return _open_bundle(path, device)


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint that a run directory's settings choose, or the one in a file."""
    return RunDirectory(path).load_chosen() if path.is_dir() else Checkpoint.load(path)


def of_model(model: Seq2Seq, config: Config, vocabulary: Vocabulary) -> Opened:
    """A network as it stands (in eval mode), on its device."""
    device, corpus = next(model.parameters()).device, config.corpus
    decode = Decoding(model.encoder, model.decoder, never_replied(config, vocabulary), device)
    tokenizer = TOKENIZERS[corpus.tokenizer]
    return Opened(decode, vocabulary, tokenizer, corpus.max_length, corpus.context, config.decoding)


def _open_bundle(path: Path, device: torch.device) -> Opened:
    """Every search of this program over the traced parts of a bundle."""
    from ..deployment.torchscript import load_bundle  # here, and below: few need what opens such files

    bundle = load_bundle(path)
    bundle.module.to(device).unpack()
    search, config = bundle.module.search, bundle.config
    decode = Decoding(search.encoder, search.decoder, search.never_replied.tolist(), device)
    return Opened(
        decode, bundle.vocabulary, bundle.tokenizer, bundle.max_length, config.corpus.context, config.decoding
    )


def _open_onnx(path: Path) -> Opened:
    """Every search of this program over the encoder and decoder that lie beside `chatbot.onnx`."""
    from ..deployment.onnx import load_onnx, onnx_paths

    greedy = load_onnx(path, "greedy")  # the file that was named is to be whole, too
    _, *parts = onnx_paths(path.parent, path.name.endswith(".int8.onnx"))
    encoder, decoder = load_onnx(parts[0], "encoder"), load_onnx(parts[1], "decoder")
    if not greedy.checkpoint == encoder.checkpoint == decoder.checkpoint:  # each is whole, but of another model
        raise ChatbotError(f"{path} and the encoder and decoder beside it are of different exports: export again")
    decode = Decoding(encoder, decoder, encoder.never_replied, torch.device("cpu"))
    corpus, own = encoder.config.corpus, encoder.config.decoding
    return Opened(decode, encoder.vocabulary, encoder.tokenizer, encoder.max_length, corpus.context, own)
