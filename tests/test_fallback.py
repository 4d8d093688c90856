"""What is said where no reply is likely enough: by its definition, in every grouping, and only where it belongs."""

import dataclasses
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from plain_search import NEVER, network
from small_run import make_small

from chatbot.__main__ import VERBS
from chatbot.chat.bot import Chatbot
from chatbot.chat.terminal import describe
from chatbot.config.arguments import from_flags, parser
from chatbot.config.presets import PRESETS, changed_decoding
from chatbot.config.settings import Config, DecodingConfig
from chatbot.corpus.vocabulary import EOS_ID, PAD_ID
from chatbot.decoding.fallback import sayable
from chatbot.decoding.generate import Decoding, Hypothesis, log_likelihood
from chatbot.deployment.torchscript import export, load_bundle
from chatbot.network.batch import collate
from chatbot.network.model import Seq2Seq
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError

V, LONGEST = 19, 7
CPU = torch.device("cpu")
NAMES = {"one": [5, 6, EOS_ID], "two": [7, EOS_ID], "three": [8, 9, 10, 11, EOS_ID], "long": [12] * LONGEST + [EOS_ID]}
ONE = DecodingConfig(method="beam", beam_width=4, no_repeat_ngram=1)
PENALISED = dataclasses.replace(ONE, length_penalty=1.0, anti_lm=0.6, anti_lm_tokens=3, anti_lm_bound=0.5)


@pytest.fixture(scope="module")
def model() -> Seq2Seq:
    return network(V)


@pytest.fixture(scope="module")
def decode(model: Seq2Seq) -> Decoding:
    return of(model)


def of(model: Seq2Seq, never: Sequence[int] = NEVER) -> Decoding:
    ids_of = lambda names: [NAMES[name] for name in names]  # noqa: E731
    return Decoding(model.encoder, model.decoder, list(never), CPU, fallback_ids=ids_of)


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    rng = random.Random(6)
    made = [[rng.randrange(4, V) for _ in range(rng.randint(1, 8))] for _ in range(40)]
    made[3] = made[11] = []
    return made


def confidence(hypothesis: Hypothesis) -> float:
    return float(np.exp(hypothesis.log_prob / len(hypothesis.attention)))


@pytest.mark.parametrize("settings", [ONE, PENALISED], ids=["plain", "penalised"])
def test_what_is_too_unlikely_gives_way_to_the_likeliest_fallback(
    model: Seq2Seq, decode: Decoding, prompts: list[list[int]], settings: DecodingConfig
) -> None:
    names = tuple(NAMES)
    plain = [found[0] for found in decode(prompts, settings, LONGEST, count=1)]
    least = float(np.median([confidence(found) for found, prompt in zip(plain, prompts, strict=True) if prompt]))
    falls = dataclasses.replace(settings, min_confidence=least, fallback=names)
    said = set()
    for prompt, before, found in zip(prompts, plain, decode(prompts, falls, LONGEST, count=1), strict=True):
        (after,) = found
        if not prompt or confidence(before) >= least:
            assert after.ids == before.ids
            continue
        values = {}
        for name in names[:3]:  # the fourth is longer than a reply may be
            ids = NAMES[name][:-1]
            scores = scored(model, prompt, ids)
            if settings.anti_lm:
                anyway = scored(model, [], ids)[:3]
                scores[:3] -= settings.anti_lm * np.maximum(anyway, scores[:3] - settings.anti_lm_bound)
            if not any(prompt[start : start + len(ids)] == ids for start in range(len(prompt))):
                values[name] = scores.sum() / ((5 + len(scores)) / 6) ** settings.length_penalty
        best = max(values, key=lambda name: values[name])
        said.add(best)
        assert after.ids == NAMES[best][:-1]
        assert after.log_prob == pytest.approx(float(log_likelihood(model, [prompt], [after.ids])), abs=1e-4)
        assert after.attention.shape == (len(after.ids) + 1, len(prompt))
        np.testing.assert_allclose(after.attention.sum(1), 1, atol=1e-5)
    assert len(said) > 1


def scored(model: Seq2Seq, prompt: list[int], ids: list[int]) -> np.ndarray:
    """Log-probability of each word of a reply, and of EOS."""
    batch = collate([(prompt, ids)])
    with torch.inference_mode():
        logits = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
    return logits.log_softmax(-1).gather(1, batch.targets.unsqueeze(1)).squeeze(1).numpy()


def test_what_was_said_a_turn_before_is_not_said_again(decode: Decoding, prompts: list[list[int]]) -> None:
    names = ("one", "two", "three")
    falls = dataclasses.replace(ONE, min_confidence=1.0, fallback=names)
    for prompt in filter(None, prompts):
        left, earlier = set(names), list[int]()
        while left:
            (ids,) = (found[0].ids for found in decode([[*earlier, *prompt]], falls, LONGEST, count=1))
            (name,) = (name for name in names if NAMES[name][:-1] == ids)
            left.remove(name)  # which is still there
            earlier += [*ids, 4]
        again = decode([[*earlier, *prompt]], falls, LONGEST, count=1)[0][0].ids
        assert [*again, EOS_ID] in NAMES.values()  # all were said: there is nothing else


def test_groups_of_any_size_fall_back_alike(decode: Decoding, prompts: list[list[int]]) -> None:
    falls = dataclasses.replace(PENALISED, min_confidence=0.3, fallback=tuple(NAMES))
    together = decode(prompts, falls, LONGEST, count=1)
    assert [found[0].ids for found in together] != [found[0].ids for found in decode(prompts, PENALISED, LONGEST)]
    for rows in (1, 13):
        apart = decode(prompts, falls, LONGEST, rows, count=1)
        assert [found[0].ids for found in apart] == [found[0].ids for found in together]
    assert [decode([prompt], falls, LONGEST, count=1)[0][0].ids for prompt in prompts] == [
        found[0].ids for found in together
    ]


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("width", [1, 4])
def test_several_replies_are_those_that_were_found(
    decode: Decoding, prompts: list[list[int]], width: int, count: int
) -> None:
    settings = dataclasses.replace(ONE, beam_width=width)
    falls = dataclasses.replace(settings, min_confidence=1.0, fallback=tuple(NAMES))
    found, plain = (decode(prompts, one, LONGEST, count=count) for one in (falls, settings))
    assert [[one.ids for one in of] for of in found] == [[one.ids for one in of] for of in plain]


@pytest.mark.parametrize(
    ("least", "fallback", "longest"), [(0.0, tuple(NAMES), LONGEST), (1.0, (), LONGEST), (1.0, ("long",), LONGEST)]
)
def test_without_a_bound_or_a_reply_short_enough_nothing_changes(
    decode: Decoding, prompts: list[list[int]], least: float, fallback: tuple[str, ...], longest: int
) -> None:
    falls = dataclasses.replace(ONE, min_confidence=least, fallback=fallback)
    found, plain = (decode(prompts, settings, longest, count=1) for settings in (falls, ONE))
    assert [of[0].ids for of in found] == [of[0].ids for of in plain]


def test_a_network_that_may_say_everything_falls_back_by_all_the_words_it_said(prompts: list[list[int]]) -> None:
    """An imported network of the tutorial may say PAD too, which is a word of the reply then."""
    model = network(V)
    with torch.no_grad():
        model.decoder.out.bias[PAD_ID] += 3
    free, prompts = of(model, never=()), [prompt for prompt in prompts if prompt]
    settings = dataclasses.replace(ONE, no_repeat_ngram=0)
    plain = [found[0] for found in free(prompts, settings, LONGEST, count=1)]
    padded = [found for found in plain if PAD_ID in found.ids]
    assert padded
    for least in {round(confidence(found), 6) for found in padded[:6]}:
        for shift in (-1e-4, 1e-4):
            falls = dataclasses.replace(settings, min_confidence=least + shift, fallback=("one",))
            for before, after in zip(plain, free(prompts, falls, LONGEST, count=1), strict=True):
                unsure = confidence(before) < least + shift
                assert after[0].ids == (NAMES["one"][:-1] if unsure else before.ids)


def test_a_bot_falls_back_to_texts_in_its_own_words(trained: RunDirectory) -> None:
    own = DecodingConfig(method="beam", min_confidence=1.0, fallback=("How are you?",))
    bot = Chatbot.load(trained.path, decoding=own)
    assert bot.reply("do you like music") == "How are you?"
    assert bot.reply("") == ""
    assert "".join(bot.stream("do you like music")) == "How are you?"
    read, said, attention = bot.attend("do you like music")
    assert said == ["how", "are", "you", "?", "<eos>"]
    assert attention.shape == (len(said), len(read))


def test_what_a_bot_cannot_say_is_refused_when_it_is_opened(trained: RunDirectory) -> None:
    own = DecodingConfig(method="beam", min_confidence=0.5)
    for text, why in (("I know xyzzy.", "does not know .xyzzy"), ("", "have 1 to"), ("you " * 40, "have 1 to")):
        with pytest.raises(ChatbotError, match=why):
            Chatbot.load(trained.path, decoding=dataclasses.replace(own, fallback=("How are you?", text)))
    ids_of = Chatbot.load(trained.path).decode.fallback_ids
    assert sayable(("I know xyzzy.", "How are you?", ""), ids_of) == ("How are you?",)


def test_it_is_told_and_what_would_change_nothing_is_refused() -> None:
    own = PRESETS["everyday"].decoding
    assert "fallback" not in describe(own)
    own = changed_decoding(own, {"min_confidence": 0.45})
    assert f"min confidence 0.45, fallback to {len(own.fallback)} replies" in describe(own)
    plain = PRESETS["default"].decoding
    assert "fallback" not in describe(plain)
    for values, why in (
        ({"min_confidence": 0.5}, "no fallback to say"),
        ({"fallback": ("Yes.",)}, "min-confidence above 0"),
        ({"min_confidence": 0.5, "fallback": ("Yes.",) * 33}, "33 replies, and 32 are allowed"),
    ):
        with pytest.raises(ChatbotError, match=why):
            changed_decoding(plain, values)
    both = changed_decoding(plain, {"min_confidence": 0.5, "fallback": ["Yes."]})
    assert changed_decoding(both, {"min_confidence": 0}).fallback == ("Yes.",)


def test_training_keeps_what_the_bot_can_say_and_tells_what_it_cannot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    made = make_small(small)
    kept = {}
    for name, fallback in {"some": ["a1 b2 c", "a1 xyzzy"], "none": ["xyzzy"]}.items():
        settings = made.config.to_dict()
        settings["training"]["steps"] = 1
        settings["decoding"] |= {"method": "beam", "min_confidence": 0.5, "fallback": fallback}
        made.settings.write_text(json.dumps(settings))
        assert made.train(tmp_path / name) == 0
        assert "will not fall back to" in capsys.readouterr().err
        own = Config.load(tmp_path / name / "run" / "config.json").decoding
        kept[name] = (own.min_confidence, own.fallback)
    assert kept == {"some": (0.5, ("a1 b2 c",)), "none": (0.0, ())}


@pytest.mark.parametrize(
    ("corpus", "falls"), [("auto", True), ("cornell+sample*5", True), ("sample+mine.tsv", False), ("mine.tsv", False)]
)
def test_only_who_speaks_as_the_sample_falls_back_to_its_words(corpus: str, falls: bool) -> None:
    given = parser(dict.fromkeys(VERBS, lambda _: None)).parse_args(["train", "--corpus", corpus])
    assert bool(from_flags(given).decoding.fallback) == falls


def test_an_exported_file_falls_back_as_the_bot_does(trained: RunDirectory, tmp_path: Path) -> None:
    checkpoint = trained.load_chosen()
    own = DecodingConfig(
        method="beam", beam_width=3, min_confidence=1.0, fallback=("How are you?", "What is your name?")
    )
    config = dataclasses.replace(checkpoint.config, decoding=own)
    checkpoint = dataclasses.replace(checkpoint, config=config)
    export(checkpoint, tmp_path / "export")
    module = load_bundle(tmp_path / "export" / "chatbot.pt").module
    texts = ["hello", "do you like music", "what is your name"]
    bot = Chatbot.from_model(checkpoint.build_model(), config, checkpoint.vocabulary)
    assert [module.reply(text) for text in texts] == bot.reply_batch(texts)
    assert set(bot.reply_batch(texts)) <= set(own.fallback)
    assert [text for text, _ in module.reply_nbest("hello", 2)] == [text for text, _ in bot.nbest("hello", 2)]
