"""The searches behind one call: the same replies however prompts are grouped, and reranking by its formula."""

import dataclasses
import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from plain_search import NEVER, Table, TwoTables, network

import chatbot.decoding.generate as decoding
from chatbot.config.settings import DecodingConfig
from chatbot.corpus.vocabulary import EOS_ID
from chatbot.decoding.beam import BeamSearchDecoder
from chatbot.decoding.generate import Decoding, Hypothesis, log_likelihood
from chatbot.decoding.plan import PlannedSearch, plan_of, rows_of
from chatbot.decoding.sampling import SamplingDecoder
from chatbot.decoding.search import GreedySearchDecoder, Limits, Sampling, SearchDecoder
from chatbot.network.batch import pad_prompts
from chatbot.network.model import Seq2Seq

V = 19
CPU = torch.device("cpu")
LIMITED = {
    "min_length": 2,
    "no_repeat_ngram": 2,
    "tidy_marks": True,
    "repetition_penalty": 1.2,
    "anti_lm": 0.4,
    "anti_lm_tokens": 20,
    "anti_lm_bound": 0.5,
}
WAYS = {
    "greedy": DecodingConfig(),
    "greedy limited": DecodingConfig(**LIMITED),
    "beam": DecodingConfig(method="beam", beam_width=4, length_penalty=0.7),
    "beam limited": DecodingConfig(method="beam", beam_width=3, **LIMITED),
    "sample": DecodingConfig(method="sample", samples=5, temperature=0.8, top_k=9, top_p=0.9, seed=5),
    "sample limited": DecodingConfig(method="sample", samples=3, seed=5, **LIMITED),
}


@pytest.fixture(scope="module")
def model() -> Seq2Seq:
    return network(V)


@pytest.fixture(scope="module")
def decode(model: Seq2Seq) -> Decoding:
    return Decoding(model.encoder, model.decoder, NEVER, CPU)


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    rng = random.Random(6)
    made = [[rng.randrange(4, V) for _ in range(rng.randint(1, 8))] for _ in range(17)]
    made[3] = made[11] = []
    return made


def flat(found: list[list[Hypothesis]]) -> list[list[list[int]]]:
    return [[hypothesis.ids for hypothesis in hypotheses] for hypotheses in found]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_groups_of_any_size_find_the_same(
    decode: Decoding, prompts: list[list[int]], way: DecodingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = decode(prompts, way, 7)
    for rows in (1, 13):
        monkeypatch.setitem(decoding.ROWS, "cpu", rows)
        apart = decode(prompts, way, 7)
        assert flat(apart) == flat(together)
        for these, those in zip(apart, together, strict=True):
            for one, other in zip(these, those, strict=True):
                assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)
                assert one.total == pytest.approx(other.total, abs=1e-4)
                np.testing.assert_allclose(one.attention, other.attention, atol=1e-5)


@pytest.mark.parametrize("name", ["greedy", "greedy limited", "sample", "sample limited"])
def test_a_search_that_seldom_looks_who_has_ended_finds_the_same(
    name: str, decode: Decoding, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, which is not waited for at every step."""
    every_step = decode(prompts, WAYS[name], 7)
    assert len({len(hypothesis.ids) for hypotheses in every_step for hypothesis in hypotheses}) > 2
    for between in (2, 4, 100):
        monkeypatch.setattr(SearchDecoder, "steps_between_looks", lambda self, src, between=between: between)
        found = decode(prompts, WAYS[name], 7)
        assert flat(found) == flat(every_step)
        for these, those in zip(found, every_step, strict=True):
            for one, other in zip(these, those, strict=True):
                assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)
                assert one.total == pytest.approx(other.total, abs=1e-4)
                np.testing.assert_allclose(one.attention, other.attention, atol=1e-5)
        wide = decode.search.greedy(*pad_prompts([[5, 6]]), 1000).tokens
        assert wide.size(1) == len(decode([[5, 6]], WAYS["greedy"], 1000)[0][0].ids) + 1


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_hypothesis_is_what_it_says(
    decode: Decoding, model: Seq2Seq, prompts: list[list[int]], way: DecodingConfig
) -> None:
    ended = cut = 0
    for max_length in (1, 3, 7):
        for prompt, hypotheses in zip(prompts, decode(prompts, way, max_length), strict=True):
            assert 1 <= len(hypotheses) <= way.candidates
            assert [h.total for h in hypotheses] == sorted((h.total for h in hypotheses), reverse=True)
            for ids, log_prob, total, attention in hypotheses:
                assert not set(ids) & {*NEVER, EOS_ID}
                if not prompt:
                    assert (ids, log_prob, total, attention.size) == ([], 0.0, 0.0, 0)
                    continue
                assert attention.shape in ((len(ids), len(prompt)), (len(ids) + 1, len(prompt)))
                np.testing.assert_allclose(attention.sum(1), 1, atol=1e-5)
                if len(attention) > len(ids):  # with EOS
                    ended += 1
                    assert log_prob == pytest.approx(float(log_likelihood(model, [prompt], [ids])), abs=1e-4)
                else:
                    cut += 1
                    assert len(ids) == max_length
    assert ended
    assert cut


def test_each_method_is_its_own_search(decode: Decoding, model: Seq2Seq, prompts: list[list[int]]) -> None:
    parts = (model.encoder, model.decoder, NEVER)
    prompts = [prompt for prompt in prompts if prompt]
    batch, limits = pad_prompts(prompts), Limits(7, *LIMITED.values())  # type: ignore[arg-type]
    with torch.inference_mode():
        greedy = GreedySearchDecoder(*parts).eval().search(*batch, limits).tokens.unsqueeze(1)
        beam = BeamSearchDecoder(*parts).eval()(*batch, limits, 3, 3, 0.0).tokens
        samples = SamplingDecoder(*parts).eval()(*batch, limits, 3, 5, Sampling()).tokens
    for name, tokens in (("greedy limited", greedy), ("beam limited", beam), ("sample limited", samples)):
        got = flat(decode(prompts, WAYS[name], 7))
        expected = [[[id for id in row if id > 2] for row in rows] for rows in tokens.tolist()]
        if name == "sample limited":  # sorted
            got, expected = [sorted(rows) for rows in got], [sorted(rows) for rows in expected]
        assert got == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_gpu_finds_the_same(decode: Decoding, prompts: list[list[int]], way: DecodingConfig) -> None:
    there = network(V).cuda()
    on_gpu = Decoding(there.encoder, there.decoder, NEVER, torch.device("cuda"))
    assert flat(on_gpu(prompts, way, 7)) == flat(decode(prompts, way, 7))


def test_a_small_vocabulary_may_have_fewer_replies() -> None:
    decode = Decoding(*Table(torch.zeros(5, 5)).parts(), NEVER, CPU)
    found = decode([[4]], DecodingConfig(method="beam", beam_width=9), 2)[0]
    assert [(hypothesis.ids, len(hypothesis.attention)) for hypothesis in found] == [([], 1), ([4], 2), ([4, 4], 2)]


@pytest.mark.parametrize("weight", [0.0, 5.0, 0.3])
def test_reranking_is_by_both_directions(model: Seq2Seq, prompts: list[list[int]], weight: float) -> None:
    backward = network(V, seed=8)

    def score(prompts: Sequence[Sequence[int]], replies: Sequence[Sequence[int]]) -> torch.Tensor:
        return log_likelihood(backward, replies, prompts)

    way = dataclasses.replace(WAYS["beam"], mmi_weight=weight)
    plain = Decoding(model.encoder, model.decoder, NEVER, CPU)(prompts, way, 7)
    found = Decoding(model.encoder, model.decoder, NEVER, CPU).reranked_by(score)(prompts, way, 7)
    moved = 0
    for prompt, before, after in zip(prompts, plain, found, strict=True):
        assert sorted(h.ids for h in before) == sorted(h.ids for h in after)
        if not prompt:
            assert after[0].ids == []
            continue
        totals = {}
        for ids, log_prob, _, _ in before:
            inverse = float(log_likelihood(backward, [ids], [prompt]))
            totals[tuple(ids)] = log_prob + weight * inverse
        assert [h.total for h in after] == pytest.approx([totals[tuple(h.ids)] for h in after], abs=1e-4)
        assert [h.total for h in after] == sorted((h.total for h in after), reverse=True)
        moved += before[0].ids != after[0].ids
    assert moved or not weight


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_reply_word_by_word_is_the_reply(decode: Decoding, prompts: list[list[int]], way: DecodingConfig) -> None:
    for settings in (way, dataclasses.replace(way, samples=1)):
        found = decode(prompts, settings, 7)
        for prompt, hypotheses in zip(prompts, found, strict=True):
            assert list(decode.stream(prompt, settings, 7)) == hypotheses[0].ids


@pytest.mark.parametrize("method", ["greedy", "sample"])
def test_words_come_while_the_search_goes_on(model: Seq2Seq, method: str) -> None:
    steps = []
    hook = model.decoder.register_forward_hook(lambda *_: steps.append(torch.is_inference_mode_enabled()))
    decode = Decoding(model.encoder, model.decoder, NEVER, CPU)
    stream = decode.stream([5, 6], DecodingConfig(method=method, min_length=5, no_repeat_ngram=1), 9)
    for count, _ in enumerate(stream, 1):
        assert steps == [True] * count
        assert not torch.is_inference_mode_enabled()  # where the words are used
    hook.remove()
    assert count >= 5


def test_the_language_model_makes_what_is_said_to_everything_less_likely() -> None:
    # 4 is said to every prompt; 5 belongs to this one
    prompted, blank = torch.full((6, 6), -9.0), torch.full((6, 6), -9.0)
    prompted[:, 4], prompted[:, 5], blank[:, 4] = 1.0, 0.3, 1.0
    prompted[4:, EOS_ID] = blank[4:, EOS_ID] = 5.0
    decode = Decoding(*TwoTables(prompted, blank).parts(), NEVER, CPU)
    for method in ("greedy", "beam"):
        way = DecodingConfig(method=method, beam_width=2, anti_lm_tokens=1)
        assert decode([[4, 5]], way, 5)[0][0].ids == [4]
        way = dataclasses.replace(way, anti_lm=0.5)
        assert decode([[4, 5]], way, 5)[0][0].ids == [5]
        # 5 is 9 nats likelier with this prompt than without, and 0.7 less likely than 4: counted in full, in part
        assert decode([[4, 5]], dataclasses.replace(way, anti_lm_bound=1.0), 5)[0][0].ids == [5]
        assert decode([[4, 5]], dataclasses.replace(way, anti_lm_bound=0.1), 5)[0][0].ids == [4]


def test_every_setting_reaches_the_searches() -> None:
    """What is a setting only, and no field of what the searches are handed, would do nothing, in silence."""
    fields = {field.name: field.metadata["method"] for field in dataclasses.fields(DecodingConfig)}
    of_sampling = {name for name, method in fields.items() if method == "sample"}
    assert of_sampling - {"samples", "seed"} == set(Sampling._fields)
    of_all = {name for name, method in fields.items() if method is None}
    assert of_all - {"method", "mmi_weight"} == set(Limits._fields) - {"max_length"}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_many_prompts_at_once_are_answered_in_pieces(
    model: Seq2Seq, prompts: list[list[int]], way: DecodingConfig
) -> None:
    """What an exported file does with a batch of any size."""
    search = PlannedSearch(model.encoder, model.decoder, NEVER)
    batch = pad_prompts([prompt for prompt in prompts if prompt])
    calls = []
    hook = model.encoder.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    with torch.inference_mode():
        whole = search(*batch, plan_of(way, 7), 2)
        search.rows, calls = 4 * rows_of(way.method, way.beam_width, way.beam_threshold, way.samples, 2), []
        pieces = search.in_pieces(*batch, plan_of(way, 7), 2)
    hook.remove()
    assert len(calls) == 4
    assert max(calls) <= 5  # one more is the empty prompt
    assert torch.equal(whole.tokens, pieces.tokens)
    for ours, theirs in zip(whole[1:], pieces[1:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
