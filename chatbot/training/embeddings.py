"""Word vectors of a file, with which the embedding begins: what words mean in far more text than a corpus has."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch
from torch import Tensor

from ..corpus.vocabulary import Vocabulary
from ..network.kernels.embedding import Embedding
from ..system.errors import ChatbotError, failing_as, shown

SHARE = 0.9  # of a row's direction that is the file's; the rest is as it was drawn
COMMON = 2  # directions that nearly all vectors have a part in, which says nothing of a word
MAX_LINE, MAX_LINES = 1 << 20, 1 << 24  # bytes of a line; lines of a file

MAX_NUMBERS = 1 << 14  # of a vector
SEED = 7  # of the rotation


def begin_with(embedding: Embedding, vocabulary: Vocabulary, path: Path) -> int:
    """Turn the rows of the words that the file has towards its vectors. No row gets longer or shorter than drawn ones.

    The file has a line for each word: the word and its numbers, with spaces between them, as GloVe (Pennington et al.
    2014), word2vec and fastText write text files. It may be gzipped, and may begin with word2vec's line of two numbers.

    Vectors are centred and lose their `COMMON` leading directions (Mu and Viswanath 2018, *All-but-the-Top*). A random
    rotation spreads their numbers over the E of a row. The same file, vocabulary and seed give the same rows.

    Args:
        embedding: newly drawn, on the CPU.

    Returns:
        how many words the file has.

    Raises:
        ChatbotError: there is no such file, a line of it is damaged, or it has no word of the vocabulary.
    """
    found = _read(vocabulary, path)
    vectors = torch.from_numpy(np.stack(list(found.values())))
    vectors -= vectors.mean(0)
    leading = torch.linalg.svd(vectors, full_matrices=False)[2][:COMMON]  # (COMMON, numbers)
    vectors -= vectors @ leading.t() @ leading
    vectors /= vectors.norm(dim=1, keepdim=True).clamp_min(1e-12)
    ids = torch.tensor(list(found))
    with torch.no_grad():
        rows = embedding.weight[ids]
        turned = vectors @ _rotation(vectors.size(1), rows.size(1))
        turned *= embedding.std * rows.size(1) ** 0.5
        embedding.weight[ids] = SHARE * turned + (1 - SHARE**2) ** 0.5 * rows
    return len(found)


def _rotation(numbers: int, size: int) -> Tensor:
    """(numbers, size): keeps lengths and angles if size >= numbers, and about keeps them if not."""
    drawn = torch.randn(max(numbers, size), min(numbers, size), generator=torch.Generator().manual_seed(SEED))
    turned = torch.linalg.qr(drawn)[0]
    return turned.t() if size >= numbers else turned * (numbers / size) ** 0.5


def _read(vocabulary: Vocabulary, path: Path) -> dict[int, np.ndarray]:
    """The vectors of the vocabulary's words by their ids, in the order of the ids; of a word's two forms the first."""
    wanted = {written: vocabulary.ids[word] for word, written in vocabulary.written.items()} | vocabulary.ids
    wanted = {word: id for word, id in wanted.items() if id >= vocabulary.num_special}
    found: dict[int, np.ndarray] = {}
    numbers = 0
    for line, text in enumerate(_lines(path), 1):
        word, _, rest = text.partition(" ")
        fields = rest.split()
        if line == 1 and len(fields) == 1 and word.isdecimal():
            continue  # word2vec's: how many words, how many numbers
        numbers = numbers or len(fields)
        id = wanted.get(word)
        if id is None or id in found or len(fields) > numbers:  # in some of GloVe's files a few words have spaces
            continue
        try:
            with np.errstate(over="ignore"):  # it is infinite then
                vector = np.array(fields, np.float32)
        except ValueError as error:
            raise ChatbotError(f"{path}:{line}: {shown(word)} is not followed by numbers only") from error
        if not 0 < len(vector) == numbers <= MAX_NUMBERS:
            raise ChatbotError(
                f"{path}:{line}: {shown(word)} has {len(vector):,} numbers, where {numbers or 1:,} are expected"
            )
        if not np.isfinite(vector).all():
            raise ChatbotError(f"{path}:{line}: the vector of {shown(word)} has a number that is not finite")
        found[id] = vector
    if not found:
        raise ChatbotError(
            f"{path} has no word of the vocabulary: --embeddings takes text with a word and its vector on each line"
        )
    return dict(sorted(found.items()))


def _lines(path: Path) -> Iterator[str]:
    line = 0
    try:
        with failing_as(f"cannot read {path}"), _opened(path) as file:
            while raw := file.readline(MAX_LINE):
                line += 1
                if len(raw) == MAX_LINE or line > MAX_LINES:
                    raise ChatbotError(
                        f"{path}:{line}: too long for a text file of word vectors, which has at most {MAX_LINES:,} "
                        f"lines of less than {MAX_LINE:,} bytes"
                    )
                yield raw.decode("utf-8", "replace").replace("\t", " ").strip()
    except (EOFError, zlib.error) as error:
        raise ChatbotError(f"{path} is a damaged gzip file, behind line {line:,}") from error


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if is_packed else path.open("rb")
