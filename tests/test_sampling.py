"""Sampling: numbers like chance that depend on prompt and seed alone; words as often as they should come."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_search import LIMITS, MARKS, NEVER, SEP, PlainSearch, Table, network, repeats, reply, scripted, some_prompts

from chatbot.corpus.vocabulary import EOS_ID, PAD_ID
from chatbot.decoding.sampling import SamplingDecoder, draw, inverse, keys, mixed, uniform
from chatbot.decoding.search import GreedySearchDecoder, Limits, Sampling
from chatbot.network.batch import pad_prompts
from chatbot.network.model import Seq2Seq

V = 19
PRIME = 2**31 - 1


@pytest.fixture(scope="module")
def model() -> Seq2Seq:
    return network(V)


@pytest.fixture(scope="module")
def search(model: Seq2Seq) -> SamplingDecoder:
    return SamplingDecoder(model.encoder, model.decoder, NEVER, MARKS, SEP).eval()


def chi_square(observed: torch.Tensor, expected: torch.Tensor) -> float:
    """Standard deviations that the statistic lies above its mean, where counts come by chance (Wilson, Hilferty)."""
    statistic = float(((observed - expected) ** 2 / expected).sum())
    freedom = observed.numel() - 1
    return ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))


# ---- the numbers


def plain_mixed(x: int) -> int:
    constant = 1
    for _ in range(4):
        constant = constant * 16807 % PRIME
        x = pow(x + constant, 5, PRIME)
    return x


def plain_key(prompt: list[int], seed: int) -> int:
    key = plain_mixed(sum(plain_mixed(plain_mixed(place + 1) + id) for place, id in enumerate(prompt)) % PRIME)
    for _ in range(3):
        seed, part = divmod(seed, PRIME)
        key = plain_mixed(key + part)
    return key


@given(
    prompts=st.lists(st.lists(st.integers(1, 2**40), min_size=1, max_size=6), min_size=1, max_size=4),
    seed=st.integers(0, 2**63 - 1),
)
def test_no_product_overflows(prompts: list[list[int]], seed: int) -> None:
    src, lengths = pad_prompts(prompts)
    assert keys(src, lengths, seed).tolist() == [plain_key([id % PRIME for id in prompt], seed) for prompt in prompts]


def test_the_numbers_are_those_that_other_programs_are_written_to() -> None:
    assert mixed(torch.tensor([0, 1, PRIME - 1])).tolist() == [plain_mixed(x) for x in (0, 1, PRIME - 1)]
    assert keys(*pad_prompts([[5, 6, 7], [4]]), 1).tolist() == [1982267386, 1412952914]
    assert uniform(torch.tensor([0, 1]))[:, 0].tolist() == [0.5216924590159638, 0.2049204170261139]


def streams(prompts: list[list[int]], seed: int, samples: int, steps: int) -> torch.Tensor:
    """The numbers of a call, (prompts, samples, steps), as `SamplingDecoder` takes them."""
    key = keys(*pad_prompts(prompts), seed)
    stream = mixed(key.unsqueeze(1) + torch.arange(samples))
    return uniform((stream.unsqueeze(2) + torch.arange(steps)).flatten()).view(len(prompts), samples, steps)


@pytest.mark.parametrize(
    ("prompts", "seeds", "samples", "steps"),
    [
        ([[4]], 1, 1, 12_000),
        ([[4]], 1, 20_000, 1),
        ([[4]], 1_000, 1, 1),
        ([[id] for id in range(4, 12_004)], 1, 1, 1),
        ([[a, b, c] for a in range(4, 29) for b in range(4, 29) for c in range(4, 36)], 1, 1, 1),
        ([[4], [5], [4, 4], [4, 5], [5, 4]], 20, 20, 10),
    ],
    ids=["steps", "samples", "seeds", "prompts", "words", "all"],
)
def test_they_are_spread_evenly_and_neighbours_know_nothing_of_each_other(
    prompts: list[list[int]], seeds: int, samples: int, steps: int
) -> None:
    u = torch.cat([streams(prompts, seed, samples, steps).flatten() for seed in range(seeds)])
    assert u.numel() == u.unique().numel() or u.numel() - u.unique().numel() <= 2  # of 2**31 two may meet
    assert u.min() > 0
    assert u.max() < 1
    count = u.numel()
    side = 12 if count > 10_000 else 6
    single = torch.bincount((u * side**2).long(), minlength=side**2)
    assert abs(chi_square(single, torch.full((side**2,), count / side**2))) < 4
    cells = (u[:-1] * side).long() * side + (u[1:] * side).long()
    pairs = torch.bincount(cells, minlength=side**2)
    assert abs(chi_square(pairs, torch.full((side**2,), (count - 1) / side**2))) < 4


# ---- the words


def kept(logits: torch.Tensor, temperature: float, top_k: int, top_p: float) -> list[float]:
    """The distribution that is drawn from, worked out word by word."""
    shares = (logits.double() / temperature).softmax(0).tolist()
    order = sorted(range(len(shares)), key=lambda word: -shares[word])
    if top_k:
        order = order[:top_k]
    whole = math.fsum(shares[word] for word in order)
    nucleus: list[int] = []
    while math.fsum(shares[word] for word in nucleus) < top_p * whole and len(nucleus) < len(order):
        nucleus.append(order[len(nucleus)])
    whole = math.fsum(shares[word] for word in nucleus)
    return [shares[word] / whole if word in nucleus else 0.0 for word in range(len(shares))]


FILTERS = [(1.0, 0, 1.0), (0.7, 0, 1.0), (1.8, 0, 1.0), (1.0, 5, 1.0), (1.0, 0, 0.8), (0.6, 7, 0.9), (2.0, 99, 0.5)]


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), FILTERS)
def test_each_word_has_its_share_of_the_numbers(temperature: float, top_k: int, top_p: float) -> None:
    torch.manual_seed(5)
    logits = torch.randn(40) * 2
    logits[[0, 1, 3]] = float("-inf")
    count = 5_000
    u = (torch.arange(count, dtype=torch.float64) + 0.5).unsqueeze(1) / count
    drawn = draw(logits.expand(count, 40), u, Sampling(temperature, top_k, top_p))
    shares = torch.bincount(drawn[:, 0], minlength=40) / count
    torch.testing.assert_close(
        shares, torch.tensor(kept(logits, temperature, top_k, top_p)), atol=1.01 / count, rtol=0, check_dtype=False
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    kinds=st.sampled_from([1, 3, 10**6]),
    top_p=st.sampled_from([0.01, 0.3, 0.9, 0.999, 1.0]),
    temperature=st.sampled_from([0.01, 1.0, 5.0]),
)
def test_of_equals_the_lower_id_comes_first_whatever_else_is_in_the_batch(
    seed: int, kinds: int, top_p: float, temperature: float
) -> None:
    chance = torch.Generator().manual_seed(seed)
    ranked = torch.randint(kinds, (8, 30), generator=chance).float() / kinds * 6
    ranked[:, 3:5] = float("-inf")
    u = torch.rand(8, 1, generator=chance, dtype=torch.float64)
    together = draw(ranked, u, Sampling(temperature, 0, top_p))
    for row in range(8):
        assert (
            together[row].tolist()
            == draw(ranked[row : row + 1], u[row : row + 1], Sampling(temperature, 0, top_p))[0].tolist()
        )
        shares = kept(ranked[row], temperature, 0, top_p)
        # in the order of the sort; all words in that of their ids
        order = sorted(range(30), key=lambda word: -shares[word]) if top_p < 1 else list(range(30))
        below = 0.0
        for word in order:
            if below + shares[word] > float(u[row]) - 1e-6:
                break
            below += shares[word]
        first = together[row].item()
        assert shares[first] > 0
        # a number on the edge between two words may fall to either by rounding
        edge = min(abs(below + shares[word] - float(u[row])), abs(below - float(u[row]))) < 1e-5
        assert first == word or edge


def test_a_word_of_no_weight_is_never_drawn() -> None:
    cumulative = torch.tensor([[0.0, 0.0, 1.0, 1.0, 3.0, 3.0]])
    for value, word in ((0.0, 2), (0.5, 2), (1.0, 4), (2.9, 4)):
        assert inverse(cumulative, torch.tensor([[value]])).item() == word


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), FILTERS)
def test_first_words_come_as_often_as_the_model_says(
    search: SamplingDecoder, model: Seq2Seq, temperature: float, top_k: int, top_p: float
) -> None:
    count = 3000
    with torch.inference_mode():
        found = search(*pad_prompts([[5, 6]]), Limits(1), count, 11, Sampling(temperature, top_k, top_p))
    plain = PlainSearch(model.encoder, model.decoder, [5, 6])
    ranks = torch.full((V,), float("-inf"))
    for word, rank in plain.ranks((), Limits(1)).items():
        ranks[word] = rank
    shares = torch.tensor(kept(ranks, temperature, top_k, top_p))
    observed = torch.bincount(found.tokens.flatten(), minlength=V)
    assert torch.all(observed[shares == 0] == 0)
    often = shares * count >= 5
    if int(often.sum()) > 1:
        assert abs(chi_square(observed[often], shares[often] / shares[often].sum() * observed[often].sum())) < 4


# ---- the replies


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), FILTERS)
@pytest.mark.parametrize("limits", [LIMITS["plain"], LIMITS["everything"]], ids=["plain", "everything"])
def test_a_prompt_has_the_same_replies_alone_and_in_any_batch(
    search: SamplingDecoder, temperature: float, top_k: int, top_p: float, limits: Limits
) -> None:
    prompts = some_prompts(7, V)
    with torch.inference_mode():
        together = search(*pad_prompts(prompts), limits, 3, 7, Sampling(temperature, top_k, top_p))
        turned = search(*pad_prompts(prompts[::-1]), limits, 2, 7, Sampling(temperature, top_k, top_p))
        for row, prompt in enumerate(prompts):
            alone = search(*pad_prompts([prompt]), limits, 3, 7, Sampling(temperature, top_k, top_p))
            replies = [reply(tokens) for tokens in alone.tokens[0]]
            assert replies == [reply(tokens) for tokens in together.tokens[row]]
            assert replies[:2] == [reply(tokens) for tokens in turned.tokens[len(prompts) - 1 - row]]


def test_seeds_and_samples_and_prompts_draw_differently(search: SamplingDecoder) -> None:
    parts = Table(torch.zeros(30, 30)).parts()  # what a prompt says makes no difference to this network
    blind = SamplingDecoder(*parts, NEVER)
    limits = Limits(20, min_length=20)
    first = blind(*pad_prompts([[4, 5], [5, 4], [4], [4, 4]]), limits, 3, 1, Sampling())
    other = blind(*pad_prompts([[4, 5], [5, 4], [4], [4, 4]]), limits, 3, 2, Sampling())
    same = blind(*pad_prompts([[4, 5], [4, 5]]), limits, 3, 1, Sampling())
    replies = {reply(row) for found in (first, other) for row in found.tokens.flatten(0, 1)}
    assert len(replies) == 24
    assert torch.equal(same.tokens[0], same.tokens[1])
    assert torch.equal(same.tokens[0], first.tokens[0])


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(1e-5, 0, 1.0), (1.0, 1, 1.0), (1.0, 0, 1e-6)])
def test_near_no_choice_it_is_greedy_search(
    search: SamplingDecoder, model: Seq2Seq, limits: Limits, temperature: float, top_k: int, top_p: float
) -> None:
    batch = pad_prompts(some_prompts(9, V))
    greedy = GreedySearchDecoder(model.encoder, model.decoder, NEVER, MARKS, SEP).eval()
    with torch.inference_mode():
        expected = greedy.search(*batch, limits)
        found = search(*batch, limits, 1, 3, Sampling(temperature, top_k, top_p))
    assert torch.equal(expected.tokens, found.tokens[:, 0])
    assert torch.equal(expected.scores, found.scores[:, 0])
    assert torch.equal(expected.attention, found.attention[:, 0])


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_limits_are_kept_and_figures_are_the_models(search: SamplingDecoder, model: Seq2Seq, limits: Limits) -> None:
    prompts = some_prompts(4, V)
    with torch.inference_mode():
        found = search(*pad_prompts(prompts), limits, 5, 9, Sampling(1.5))
    for row, prompt in enumerate(prompts):
        plain = PlainSearch(model.encoder, model.decoder, prompt)
        for n in range(5):
            said = reply(found.tokens[row, n])
            length, n_gram = len(said), limits.no_repeat_ngram
            words = said[:-1] if said[-1] == EOS_ID else said
            assert not set(words) & {*NEVER, EOS_ID}
            assert not any(repeats(words[:i], n_gram) for i in range(1, len(words) + 1))
            assert said[-1] == EOS_ID or length == limits.max_length
            assert len(words) >= limits.min_length
            torch.testing.assert_close(found.scores[row, n, :length], torch.tensor(plain.score(said)))
            assert float(found.totals[row, n]) == pytest.approx(plain.rank(said, limits), abs=1e-4)
            assert torch.all(found.attention[row, n, :, len(prompt) :] == 0)
            torch.testing.assert_close(found.attention[row, n].sum(-1), (found.tokens[row, n] != PAD_ID).float())


def test_scripted_it_draws_the_same(search: SamplingDecoder, model: Seq2Seq) -> None:
    compiled = scripted(SamplingDecoder, model)
    batch = pad_prompts(some_prompts(9, V))
    with torch.inference_mode():
        for limits in LIMITS.values():
            for temperature, top_k, top_p in FILTERS:
                expected = search(*batch, limits, 2, 5, Sampling(temperature, top_k, top_p))
                got = compiled(*batch, limits, 2, 5, Sampling(temperature, top_k, top_p))
                assert all(torch.equal(mine, its) for mine, its in zip(expected, got, strict=True))


def test_it_stops_when_every_row_has_ended() -> None:
    table = torch.zeros(8, 8)
    table[4, EOS_ID] = 40.0
    encoder, decoder = Table(table).parts()
    search = SamplingDecoder(encoder, decoder, NEVER)
    found = search(*pad_prompts([[4], [5, 6]]), Limits(1000), 3, 4, Sampling())
    assert decoder.calls == found.tokens.size(2) < 1000
    assert torch.all((found.tokens == EOS_ID).sum(-1) == 1)
