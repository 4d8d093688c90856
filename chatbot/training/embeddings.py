"""Word vectors of a file, with which the embedding begins: what words mean in far more text than a corpus has."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..corpus.inputs import InputFile
from ..corpus.vocabulary import Vocabulary
from ..network.kernels.embedding import Embedding
from ..system.errors import ChatbotError, shown

SHARE = 0.9  # of a row's direction that is the file's; the rest is as it was drawn
COMMON = 2  # directions that nearly all vectors have a part in, which says nothing of a word
FEWEST = 5  # numbers of a vector, and words of the vocabulary: fewer leave nothing but noise
MAX_NUMBERS = 1 << 14  # of a vector
MAX_LINE, MAX_LINES = 1 << 20, 1 << 24  # bytes of a line; lines of a file
SEED = 7  # of the rotation


def begin_with(embedding: Embedding, vocabulary: Vocabulary, path: Path) -> int:
    """Turn the rows of the words that the file has towards its vectors. All rows stay about as long as they are drawn.

    The file has a line for each word: the word and its numbers, with spaces between them, as GloVe (Pennington et al.
    2014), word2vec and fastText write text files. It may be gzipped, and may begin with word2vec's line of two numbers.

    Vectors are centred and lose their `COMMON` leading directions (Mu and Viswanath 2018, *All-but-the-Top*). A random
    rotation, always the same, spreads their numbers over the E of a row. If nothing is left of a vector, its row stays.

    Args:
        embedding: newly drawn, on the CPU.

    Returns:
        how many words of the vocabulary the file has.

    Raises:
        ChatbotError: there is no such file, a line of it is damaged, or it has next to no word of the vocabulary.
    """
    found = _read(vocabulary, path)
    vectors = torch.from_numpy(np.stack(list(found.values()))).double()
    vectors -= vectors.mean(0)
    whole = vectors.norm(dim=1)
    leading = torch.linalg.eigh(vectors.t() @ vectors)[1][:, -COMMON:]  # (numbers, COMMON), the largest
    vectors -= vectors @ leading @ leading.t()
    left = vectors.norm(dim=1)
    kept = left > 1e-6 * whole
    vectors = (vectors[kept] / left[kept].unsqueeze(1)).float()
    ids = torch.tensor(list(found))[kept]
    with torch.no_grad():
        rows = embedding.weight[ids]
        turned = vectors @ _rotation(vectors.size(1), rows.size(1)) * embedding.std * rows.size(1) ** 0.5
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
    for line, text in _lines(path):
        word, _, rest = text.partition(" ")
        id = wanted.get(word)
        if id is None or id in found:
            continue
        fields = rest.split()
        if line == 1 and len(fields) == 1 and word.isdecimal():
            continue  # word2vec's: how many words, how many numbers
        if not numbers and not FEWEST <= len(fields) <= MAX_NUMBERS:
            raise ChatbotError(
                f"{path}:{line}: {shown(word)} is followed by {len(fields):,} numbers; a word vector has from {FEWEST} "
                f"to {MAX_NUMBERS:,}"
            )
        numbers = numbers or len(fields)
        if len(fields) > numbers:  # in some of GloVe's files a few words have spaces
            continue
        try:
            with np.errstate(over="ignore"):  # it is infinite then
                vector = np.array(fields, np.float32)
        except ValueError as error:
            raise ChatbotError(f"{path}:{line}: {shown(word)} is not followed by numbers only") from error
        if len(vector) < numbers:
            raise ChatbotError(
                f"{path}:{line}: {shown(word)} has {len(vector):,} numbers, where {numbers:,} are expected"
            )
        if not np.isfinite(vector).all():
            raise ChatbotError(f"{path}:{line}: the vector of {shown(word)} has a number that is not finite")
        found[id] = vector
    if len(found) < FEWEST:
        raise ChatbotError(
            f"{path} has {len(found)} words of the vocabulary: --embeddings takes text with a word and its vector on "
            "each line"
        )
    return dict(sorted(found.items()))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines with their numbers, from 1."""
    if path.exists() and not path.is_file():
        raise ChatbotError(f"{path} is no file: --embeddings takes a text file of word vectors")
    line = 0
    with InputFile(str(path), path).open() as file:
        while raw := file.readline(MAX_LINE):
            line += 1
            if len(raw) == MAX_LINE or line > MAX_LINES:
                raise ChatbotError(
                    f"{path}:{line}: too long for a text file of word vectors, which has at most {MAX_LINES:,} lines "
                    f"of less than {MAX_LINE:,} bytes"
                )
            yield line, raw.decode("utf-8-sig" if line == 1 else "utf-8", "replace").replace("\t", " ").strip()
