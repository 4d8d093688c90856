"""Many prompts answered side by side, word by word: what a server streams to several people at once."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..config.settings import DecodingConfig
from ..corpus.vocabulary import EOS_ID, SOS_ID
from ..network.batch import pad_prompts
from .generate import Decoding
from .plan import plan_of


class Word(NamedTuple):
    """A token that was found: of which prompt, its id (EOS too), and its attention (S,) float32 over that prompt."""

    row: int
    id: int
    attention: np.ndarray


def streams_in_batches(decode: Decoding, settings: DecodingConfig) -> bool:
    """Whether a word of such a reply is known before the reply is whole."""
    return settings.method != "beam" and settings.candidates == 1 and decode.backward is None


def words_together(
    decode: Decoding,
    prompts: Sequence[Sequence[int]],
    settings: DecodingConfig,
    max_length: int,
    seeds: Sequence[int],
) -> Iterator[list[Word]]:
    """The replies to B prompts: at each step the next token of every reply that has not ended, in the prompts' order.

    Each reply is the one that `decode.stream` finds for its prompt and seed alone.

    Args:
        prompts: ids, at least one each. settings: of which `streams_in_batches` is true; its seed is not read.
        max_length: longest reply in tokens, EOS counted. seeds: one for each prompt, which only sampling reads.
    """
    search = decode.sampling if settings.method == "sample" else decode.greedy
    plan = plan_of(settings, max_length)
    lengths = [len(prompt) for prompt in prompts]
    rows = list(range(len(prompts)))
    # inference mode is entered for each step: held over a `yield` it would be on in whatever the caller does
    with torch.inference_mode():
        src, src_lengths = pad_prompts(prompts)
        src = src.to(decode.device)
        state = search.read(src, src_lengths, plan.limits)
        streams = torch.zeros_like(src[:, 0])
        if settings.method == "sample":
            each = zip(src.split(1), src_lengths.split(1), seeds, strict=True)
            streams = torch.cat([decode.sampling.streams(one, length, 1, seed) for one, length, seed in each])
        token = torch.full((len(rows), 1), SOS_ID, dtype=torch.int64, device=decode.device)
        said = token[:, :0]
    more = state.memories.size(1) - max(lengths)  # an imported network of the tutorial reads EOS behind each prompt
    for step in range(max_length):
        with torch.inference_mode():
            _, ranked, weights, state = search.step(token, said, state, plan.limits)
            token = search.choose(ranked, streams, step, plan.sampling)
            said = torch.cat((said, token), dim=1)
            ids, looked = token.squeeze(1).tolist(), weights.float().cpu().numpy()
        yield [Word(row, id, look[: lengths[row] + more]) for row, id, look in zip(rows, ids, looked, strict=True)]
        on = [place for place, id in enumerate(ids) if id != EOS_ID]
        if not on:
            return
        if len(on) < len(rows):
            rows = [rows[place] for place in on]
            with torch.inference_mode():
                left = torch.tensor(on, device=decode.device)
                token, said, streams = token[left], said[left], streams[left]
                state = search.pick(state, left)
