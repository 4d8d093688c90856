"""A path to a bot: which kind of file stands there, and how that kind is opened."""

from pathlib import Path

import torch

from ..config.settings import DecodingConfig
from ..decoding.generate import Decoding
from ..deployment.onnx import OnnxDecoder, OnnxEncoder, load_onnx, onnx_paths
from ..deployment.torchscript import load_bundle
from ..runs.checkpoint import Checkpoint, is_bundle
from ..runs.directory import BUNDLE, RunDirectory
from ..system.devices import pick_device
from ..system.errors import ChatbotError
from .bot import Chatbot


def load(
    path: str | Path, device: str = "cpu", decoding: DecodingConfig | None = None, backward: str | Path | None = None
) -> Chatbot:
    """The bot of a run directory, a checkpoint, an export's folder, a bundle or an ONNX file; see `Chatbot.load`."""
    path, where = Path(path), pick_device(device)
    if (path / BUNDLE).is_file():
        path = path / BUNDLE
    if path.suffix == ".onnx":
        bot = _from_onnx(path, decoding)
    elif path.is_dir() or not is_bundle(path):
        bot = Chatbot.from_checkpoint(_checkpoint(path), where, decoding)
    else:
        bot = _from_bundle(path, where, decoding)
    return bot if backward is None else reranked(bot, backward)


def reranked(bot: Chatbot, backward: str | Path) -> Chatbot:
    """A bot over the same network, whose replies the network of a run or a checkpoint, `backward`, reranks.

    Raises:
        ChatbotError: the bot's decoding finds one reply only, or the other network is damaged or does not go with it.
    """
    if bot.decoding.candidates == 1:
        raise ChatbotError(
            f"{backward} has one reply to rerank: search for more (--method beam, or --method sample --samples 20)"
        )
    return bot.reranked_by(_checkpoint(Path(backward)), str(backward))


def _from_bundle(path: Path, device: torch.device, decoding: DecodingConfig | None) -> Chatbot:
    """Every search of this program over the traced parts of a bundle."""
    bundle = load_bundle(path)
    bundle.module.to(device).unpack()
    search, config = bundle.module.search, bundle.config
    decode = Decoding(search.encoder, search.decoder, search.never_replied.tolist(), device)
    return Chatbot(
        decode,
        bundle.vocabulary,
        bundle.tokenizer,
        bundle.max_length,
        config.corpus.context,
        decoding or config.decoding,
    )


def _from_onnx(path: Path, decoding: DecodingConfig | None) -> Chatbot:
    """Every search of this program over the encoder and decoder that lie beside `chatbot.onnx`."""
    greedy = load_onnx(path, "greedy")  # the file that was named is to be whole, too
    _, *parts = onnx_paths(path.parent, path.name.endswith(".int8.onnx"))
    encoder, decoder = load_onnx(parts[0], "encoder"), load_onnx(parts[1], "decoder")
    if not greedy.checkpoint == encoder.checkpoint == decoder.checkpoint:  # each is whole, but of another model
        raise ChatbotError(f"{path} and the encoder and decoder beside it are of different exports: export again")
    decode = Decoding(OnnxEncoder(encoder), OnnxDecoder(decoder), encoder.never_replied, torch.device("cpu"))
    config = encoder.config
    return Chatbot(
        decode,
        encoder.vocabulary,
        encoder.tokenizer,
        encoder.max_length,
        config.corpus.context,
        decoding or config.decoding,
    )


def _checkpoint(path: Path) -> Checkpoint:
    return RunDirectory(path).load_chosen() if path.is_dir() else Checkpoint.load(path)
