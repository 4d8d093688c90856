"""The deployable file: the traced encoder and decoder inside a scripted `GreedySearchDecoder`; the only torch.jit.

A bundle is one TorchScript archive that holds the network, the search and the vocabulary, and needs torch alone to run.
TorchScript is code: a bundle from a stranger can do what a program from a stranger can.
"""

import json
import unicodedata
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoint import Checkpoint
from .dataset import pad_prompts
from .errors import ChatbotError
from .files import atomic_file
from .model import Seq2Seq
from .search import GreedySearchDecoder, SearchResult
from .spelling import Spelling, table_sha256
from .tokenizer import TOKENIZERS, Tokenizer
from .vocabulary import EOS_ID, PAD_ID, Vocabulary

BUNDLE_FORMAT = 1
SCORE_TOLERANCE = 1e-4


class BundleModule(nn.Module):
    """What is scripted into a bundle: the search, and beside it what text needs.

    `reply`, `reply_batch`, `forward` and the attributes are what a client uses, in C++ too: `vocabulary` in order of
    the ids, `word_ids` the same turned round, `metadata` as JSON. Text goes through `spelling`.
    """

    vocabulary: list[str]
    word_ids: dict[str, int]
    metadata: str
    unk_id: int
    pad_id: int
    num_special: int
    max_length: int

    def __init__(
        self, search: GreedySearchDecoder, spelling: Spelling, vocabulary: Vocabulary, metadata: str, max_length: int
    ) -> None:
        super().__init__()
        self.search = search
        self.spelling = spelling
        self.vocabulary = vocabulary.tokens
        self.word_ids = vocabulary.ids
        self.metadata = metadata
        self.unk_id = -1 if vocabulary.unk_id is None else vocabulary.unk_id
        self.pad_id = PAD_ID
        self.num_special = vocabulary.num_special
        self.max_length = max_length

    def forward(self, src: Tensor, src_lengths: Tensor, max_length: int) -> SearchResult:
        """As `GreedySearchDecoder.forward`."""
        return self.search(src, src_lengths, max_length)

    @torch.jit.export
    def reply(self, text: str) -> str:
        """The reply to a text; "" where there is no word to answer to."""
        return self.reply_batch([text])[0]

    @torch.jit.export
    def reply_batch(self, texts: list[str]) -> list[str]:
        """The replies to many texts at once, in their order."""
        replies = self._replies([self.spelling.last_words(text) for text in texts])
        return [self.spelling.text(words) for words in replies]

    @torch.jit.export
    def reply_words(self, words: list[str]) -> list[str]:
        """The words of the reply to a prompt's words (lower case, as the tokenizer cuts them)."""
        return self._replies([words])[0]

    def _replies(self, prompts: list[list[str]]) -> list[list[str]]:
        """The words of the replies to prompts as words, from one search; none where no word is known."""
        replies: list[list[str]] = []
        rows: list[list[int]] = []
        places: list[int] = []  # of each row among the prompts
        for place, words in enumerate(prompts):
            nothing: list[str] = []
            replies.append(nothing)
            ids: list[int] = []
            for word in words:
                id = self.word_ids.get(word, self.unk_id)
                if id >= 0:
                    ids.append(id)
            if len(ids) > 0:
                rows.append(ids)
                places.append(place)
        if len(rows) > 0:
            lengths = [len(row) for row in rows]
            padded = [row + [self.pad_id] * (max(lengths) - len(row)) for row in rows]
            src = torch.tensor(padded, dtype=torch.int64, device=self.search.never_replied.device)
            found = self.search(src, torch.tensor(lengths, dtype=torch.int64), self.max_length + 1)
            # lists of ids, typed for the compiler
            tokens: list[list[int]] = found.tokens.tolist()
            for place, reply in zip(places, tokens):  # noqa: B905 (TorchScript's zip knows no strict)
                for token in reply:
                    if token >= self.num_special:
                        replies[place].append(self.vocabulary[token])
        return replies


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read: `search` is called as `GreedySearchDecoder` is; the rest comes from its metadata."""

    search: torch.jit.ScriptModule
    vocabulary: Vocabulary
    tokenizer: Tokenizer
    max_length: int
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Proof:
    """What the reloaded bundle was compared with: eager search over these prompts, each alone and all together."""

    prompts: int
    shortest: int
    longest: int
    tokens: int
    largest_score_difference: float


def export(checkpoint: Checkpoint, path: Path) -> Proof:
    """Write the bundle of a checkpoint to `path`, after the reloaded file has given the replies of the eager model.

    Raises:
        ChatbotError: a reply differs (then nothing is written), or the file cannot be written.
    """
    model = checkpoint.build_model()
    search = GreedySearchDecoder(model.encoder, model.decoder, checkpoint.never_replied).eval()
    with torch.inference_mode(False), torch.no_grad(), _quiet():
        scripted = _script(model, checkpoint)
        with atomic_file(path) as file:
            torch.jit.save(scripted, file)
            file.flush()
            return _prove(search, Path(file.name), checkpoint)


def _script(model: Seq2Seq, checkpoint: Checkpoint) -> torch.jit.ScriptModule:
    """Trace the parts at one small example; the traces hold for every batch, length and device."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    src, src_lengths = pad_prompts([checkpoint.prompts[-1]])
    encoder = torch.jit.trace(model.encoder, (src, src_lengths), check_trace=False)
    memory, mask, hidden = model.encoder(src, src_lengths)
    decoder = torch.jit.trace(model.decoder, (src[:, :1], hidden, memory, mask), check_trace=False)
    spelling = Spelling(checkpoint.tokenizer.name)
    metadata = {
        "format": BUNDLE_FORMAT,
        "tokenizer": checkpoint.tokenizer.name,
        "unicode": unicodedata.unidata_version,
        "table_sha256": table_sha256(spelling),
        "max_length": checkpoint.config.corpus.max_length,
        "step": checkpoint.step,
        "perplexity": checkpoint.perplexity,
        "config": checkpoint.config.to_dict(),
        "torch": torch.__version__,
    }
    search = GreedySearchDecoder(encoder, decoder, checkpoint.never_replied)
    max_length = checkpoint.config.corpus.max_length
    module = BundleModule(search, spelling, checkpoint.vocabulary, json.dumps(metadata), max_length)
    return torch.jit.script(module.eval())


def _prove(search: GreedySearchDecoder, path: Path, checkpoint: Checkpoint) -> Proof:
    bundle = load_bundle(path)
    longest = checkpoint.config.corpus.max_length + 1
    prompts = [prompt or [EOS_ID] for prompt in checkpoint.prompts]
    difference, count = 0.0, 0
    for group in [[prompt] for prompt in prompts] + [prompts]:
        src, src_lengths = pad_prompts(group)
        eager, exported = search(src, src_lengths, longest), bundle.search(src, src_lengths, longest)
        if not torch.equal(eager.tokens, exported.tokens):
            raise ChatbotError(f"not exported: the file answers {group[0]} otherwise than the model does")
        difference = max(difference, float((eager.scores - exported.scores).abs().max()))
        count += eager.tokens.numel()
    if difference > SCORE_TOLERANCE:
        raise ChatbotError(f"not exported: the file's scores are {difference:.2g} away from the model's")
    lengths = [len(prompt) for prompt in prompts]
    return Proof(len(prompts), min(lengths), max(lengths), count, difference)


def is_bundle(path: Path) -> bool:
    """Whether a file is a TorchScript archive (by its table of contents; nothing of it is run)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def load_bundle(path: Path) -> Bundle:
    """Open what `export` wrote. Its code runs when it is used, and may when it is opened.

    Raises:
        ChatbotError: it is missing, damaged, another program's, or of another format.
    """
    try:
        with _quiet():
            module = torch.jit.load(path, map_location="cpu").eval()
        metadata = json.loads(module.metadata)
        version = metadata["format"]
    except Exception as error:  # a damaged archive makes the reader fail in every way there is
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ChatbotError(f"cannot read the bundle {path}: {reason}") from error
    if version != BUNDLE_FORMAT:
        raise ChatbotError(f"{path} has bundle format {version!r}, this program reads {BUNDLE_FORMAT}: export again")
    tokenizer = TOKENIZERS.get(metadata.get("tokenizer"))
    if tokenizer is None:
        raise ChatbotError(f"{path} wants the tokenizer {metadata.get('tokenizer')!r}, which this program lacks")
    return Bundle(module, Vocabulary(module.vocabulary), tokenizer, module.max_length, metadata)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what upstream says of torch.jit's future and of tracing a packed GRU (which `_prove` checks), no more."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings(
                "ignore", r"`torch\.jit\.\w+` is (deprecated|not supported in Python 3\.14\+)", category
            )
        for module in (r"torch\.nn\.modules\.rnn", r"torch\.nn\.utils\.rnn"):
            warnings.filterwarnings("ignore", category=torch.jit.TracerWarning, module=module)
        yield
