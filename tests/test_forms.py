"""Words keep the form in which the corpus writes them: learnt in preparation, kept in every file, written by all."""

import dataclasses
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.chat.bot import Chatbot
from chatbot.config.settings import Config, CorpusConfig, DecodingConfig
from chatbot.corpus import forms
from chatbot.corpus.forms import add_runs, count_runs, majority_forms
from chatbot.corpus.preparation import prepare
from chatbot.corpus.prepared import load_vocabulary
from chatbot.corpus.tokenizer import TOKENIZERS
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.deployment.onnx import export_onnx
from chatbot.deployment.pack import pack
from chatbot.deployment.torchscript import export, load_bundle
from chatbot.evaluation.examination import readable
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError
from chatbot.training.distributed import Group
from chatbot.training.loop import train

ENGLISH = TOKENIZERS["english"]
WORDS = ["<pad>", "<sos>", "<eos>", "<unk>", "robin", "tv", "iphone", "o'clock", "."]


# what counts


@pytest.mark.parametrize(
    ("turn", "runs"),
    [
        ("My name is Robin.", "name is Robin"),
        ("Hello, Robin, it's late.", "Robin it's late"),
        # a sentence's first word says nothing
        ("Robin! Come here and sit. Robin... You do come too? Yes.", "here and sit do come too"),
        ('He said "Go on" and: Stop -- Now (Or never) we\u2019ll all see', "said on never all see"),
        ("Is that really Mr. Smith?", "that really Mr"),  # the dot may end a sentence
        ("I don\u2019t like Zo\xeb or caf\xe9s", "don't like Zoe or cafes"),
        ("I don`t like O'Neill's 3D TV", "don't like O'Neill's 3D TV"),
        ("no, Robin, i live in boston", ""),  # a chat
        ("I SAID NO, ROBIN", ""),  # shouted
        ("Where Are You Going Tonight", ""),  # a title
        ("The Lord of the Rings", "Lord of the Rings"),  # half of it, as of an ordinary sentence with two names
        ("Hi Robin", ""),  # a title, or a name: nobody can tell
        ("It is  Robin,Ann", "is"),
        ("", ""),
    ],
)
def test_what_stands_inside_a_sentence_counts(turn: str, runs: str) -> None:
    assert count_runs([turn]) == Counter(runs.split())


def test_turns_do_not_run_into_each_other() -> None:
    assert count_runs(["I see", "Robin", "You are it,", "Ann says so"]) == Counter(["see", "are", "it", "says", "so"])


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.text(max_size=40)
        | st.lists(st.sampled_from(["I", "Ann", "tv", "TV", "d'A", "'s", "é", "ß", "İ", "4K", "a1B", ",", " ", "’"]))
        .map(" ".join)
        .map("I see ".__add__)
    )
)
def test_what_is_counted_are_words_of_the_turns(turns: list[str]) -> None:
    """Each run in these letters gives words that the tokenizer finds in the same turn."""
    words = {word for turn in turns for word in ENGLISH.tokenize(turn)}
    counted = count_runs(turns)
    lower = {form.lower() for run in counted for form in forms._forms_of_run(run)}
    assert {word for word in lower if not word[0].isdigit()} <= words
    assert sum(counted.values()) <= sum(len(turn.split()) for turn in turns)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 5)), max_size=20))
def test_only_so_many_runs_are_remembered(found: list[tuple[str, int]]) -> None:
    total: dict[str, float] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forms, "MAX_RUNS", 4)
        for run, count in found:
            add_runs(total, {run: count}, 0.5)
    first = list(dict.fromkeys(run for run, _ in found))[:4]
    assert total == {run: sum(count for other, count in found if other == run) / 2 for run in first}


@pytest.mark.parametrize(
    ("runs", "occurrences", "form"),
    [
        ({"Mark": 3, "mark": 2}, 9, "Mark"),
        ({"Mark": 3, "mark": 3}, 9, None),  # a tie
        ({"Mark": 3, "MARK": 2, "mark": 2}, 9, None),  # three ways, none of them that of most
        ({"Mark's": 2, "mark": 1, "Mark'll": 1}, 9, "Mark"),  # whatever it is contracted with
        ({"Mark": 1}, 20, "Mark"),
        ({"Mark": 1}, 21, None),  # one in 21 of which nothing is known otherwise
        ({"MARK": 1}, 3, None),  # a name that was shouted once
        ({"MARK": 2}, 3, "MARK"),
        ({"maRk": 2}, 3, "maRk"),
        ({"mark": 9}, 9, None),
        ({}, 9, None),
    ],
)
def test_the_form_of_most_is_learnt(runs: dict[str, float], occurrences: int, form: str | None) -> None:
    found = majority_forms({**runs, "Other": 9}, {"mark": occurrences})
    assert found == ({"mark": form} if form else {})


# a preparation


def learnt_from(folder: Path, *turns: str, **changes: Any) -> Vocabulary:
    """The vocabulary of one conversation."""
    (folder / "talk.jsonl").write_text(json.dumps({"turns": turns}) + "\n")
    asked = {"min_count": 1, "split": (1.0, 0.0, 0.0), "corpus": str(folder / "talk.jsonl")} | changes
    return load_vocabulary(prepare(dataclasses.replace(CorpusConfig(), **asked), folder).folder)


TALK = ("I like my TV, Ann.", "I watch tv on Monday", "you do, ann", "She wants a TV on Mondays. Fine.")


def test_a_small_corpus_tells_how_its_words_are_written(tmp_path: Path) -> None:
    assert learnt_from(tmp_path, *TALK).written == {"tv": "TV", "ann": "Ann", "monday": "Monday", "mondays": "Mondays"}
    written = (tmp_path / "prepared").glob("*/vocabulary.txt")
    assert "\nann\tAnn\n" in next(written).read_text()
    assert learnt_from(tmp_path, *TALK, tokenizer="tutorial").written == {}
    assert learnt_from(tmp_path, *TALK, max_length=5).written == {
        "monday": "Monday"
    }  # of the pairs that are short enough


def test_a_vocabulary_that_is_given_keeps_its_forms(tmp_path: Path) -> None:
    words = learnt_from(tmp_path, *TALK).tokens
    for written in ({}, {"fine": "FINE"}):
        Vocabulary(words, written).save(tmp_path / "given.txt")
        assert learnt_from(tmp_path, *TALK, vocabulary=str(tmp_path / "given.txt")).written == written


def test_what_is_held_out_tells_nothing(tmp_path: Path) -> None:
    """However conversations are split, the forms are those of a corpus of the training conversations alone."""
    rng = random.Random(1)
    names = [first + second for first in "bcdfghjklm" for second in "aeiouy"]
    shared = [word for name in names[:10] for word in (f"{name}r", f"{name.title()}r")]
    talks = [{"turns": [f"I am {name}", *(f"I see {rng.choice(shared)}" for _ in range(4))]} for name in names]

    def learnt(rows: list[dict], split: tuple[float, float, float]) -> Vocabulary:
        (tmp_path / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        corpus = dataclasses.replace(CorpusConfig(), min_count=1, split=split, corpus=str(tmp_path / "talk.jsonl"))
        return load_vocabulary(prepare(corpus, tmp_path).folder)

    some = learnt(talks, (0.5, 0.25, 0.25))
    training = [row for name, row in zip(names, talks, strict=True) if name in some.ids]
    assert 10 < len(training) < 50
    assert learnt(training, (1.0, 0.0, 0.0)).written == some.written
    assert learnt(talks, (1.0, 0.0, 0.0)).written.items() - some.written.items()


def test_a_weight_counts_as_often_as_it_shows(tmp_path: Path) -> None:
    for name, turns in (("a", ["It is Robin", "I said Robin"]), ("b", ["It was robin", "Good"])):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"turns": turns}) + "\n")
    found = []
    for weight in ("1", "2", "3"):
        corpus = f"{tmp_path / 'a.jsonl'}+{tmp_path / 'b.jsonl'}*{weight}"
        asked = dataclasses.replace(CorpusConfig(), corpus=corpus, min_count=1, split=(1.0, 0.0, 0.0))
        found.append(load_vocabulary(prepare(asked, tmp_path).folder).written)
    assert found == [{"robin": "Robin"}, {}, {}]


def test_several_processes_learn_the_same(tmp_path: Path) -> None:
    names = [f"ob{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    rows = [{"turns": [f"It is R{names[i % 26]}", "no, rob", f"So it is r{names[i % 9]}"]} for i in range(6000)]
    (tmp_path / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = dataclasses.replace(CorpusConfig(), corpus=str(tmp_path / "talk.jsonl"), split=(0.8, 0.1, 0.1))
    files = [prepare(corpus, tmp_path / str(n), workers=n).folder / "vocabulary.txt" for n in (1, 2)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes().count(b"\tRob") == 26 - 9


# text


FORMS = st.sampled_from([str.upper, str.title, lambda word: word[:-1] + word[-1].upper()])
TEXT = st.lists(
    st.sampled_from(["i", "ann", "tv", "do", "n't", "'s", "o'clock", "2nd", "...", ".", ",", "?", "iphone"]),
    max_size=12,
)


@settings(deadline=None, max_examples=300)
@given(words=TEXT, form=FORMS, chosen=st.sets(st.integers(0, 11)))
def test_text_in_any_forms_gives_the_words_again(words: list[str], form: Callable, chosen: set[int]) -> None:
    written = {word: form(word) for i, word in enumerate(words) if i in chosen}
    text = ENGLISH.detokenize(words, written)
    plain = ENGLISH.detokenize(words)
    assert text.lower() == plain.lower()
    assert ENGLISH.tokenize(text) == ENGLISH.tokenize(plain)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("my name is robin , and i 'm robin 's . robin !", "My name is Robin, and I'm Robin's. Robin!"),
        ("well ... tv ? tv ... no", "Well... TV? TV... no"),
        ("iphone . my iphone", "iPhone. My iPhone"),
        ("at five o'clock , o'neill . o", "At five o'clock, O'Neill. O"),  # o is O, and o'clock is not
    ],
)
def test_words_are_written_in_their_forms(words: str, text: str) -> None:
    written = {"robin": "Robin", "tv": "TV", "iphone": "iPhone", "o'neill": "O'Neill", "o": "O"}
    assert ENGLISH.detokenize(words.split(), written) == text
    assert TOKENIZERS["tutorial"].detokenize(words.split(), written) == words


# what is kept


HOSTILE: list[Any] = [
    {"robin": "robin"},  # says nothing
    {"robin": "Batman"},
    {"robin": "Robin "},
    {"robin": "Robin\x1b[2J"},
    {"robin": "\u202eRobin"},
    {"robin": "Rob\u0130n"},
    {"robin": ""},
    {"robin": None},
    {"robin": ["Robin"]},
    {"zyzzyva": "Zyzzyva"},
    {4: "Robin"},
    {None: "Robin"},
    ["robin"],
    "Robin",
]


@pytest.mark.parametrize("written", HOSTILE)
def test_a_form_that_is_not_its_word_is_refused(written: Any, trained: RunDirectory, tmp_path: Path) -> None:
    """In memory, and in a checkpoint; the message is one line."""
    with pytest.raises((ChatbotError, AttributeError)):
        Vocabulary(WORDS, written)
    trained.load_chosen().save(tmp_path / "best.pt")
    data = torch.load(tmp_path / "best.pt", weights_only=True)
    assert "robin" in data["vocabulary"]
    data["written"] = written
    torch.save(data, tmp_path / "best.pt")
    with pytest.raises(ChatbotError, match=r"best\.pt( is damaged|: it holds more than plain data)") as caught:
        Checkpoint.load(tmp_path / "best.pt")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("line", ["robin\tBatman", "robin\t", "robin\trobin", "robin\tRobin\tRobin", "\tRobin"])
def test_a_line_with_another_form_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "vocabulary.txt").write_text("\n".join([*WORDS[:4], line, ""]))
    with pytest.raises(ChatbotError, match=r"vocabulary\.txt: not a vocabulary: .* with capitals"):
        Vocabulary.load(tmp_path / "vocabulary.txt")


def test_forms_are_kept_beside_their_tokens(tmp_path: Path) -> None:
    vocabulary = Vocabulary(WORDS, {"tv": "TV", "robin": "Robin"})
    assert list(vocabulary.written) == ["robin", "tv"]  # in the tokens' order, wherever they come from
    vocabulary.save(tmp_path / "vocabulary.txt")
    lines = (tmp_path / "vocabulary.txt").read_text().split("\n")
    assert lines == [*WORDS[:4], "robin\tRobin", "tv\tTV", *WORDS[6:], ""]
    again = Vocabulary.load(tmp_path / "vocabulary.txt")
    assert (again.tokens, again.written) == (vocabulary.tokens, vocabulary.written)


@pytest.fixture(scope="module")
def loud(trained: RunDirectory) -> Checkpoint:
    """A checkpoint in which every second word is written in capitals; it draws its words, so that it says many."""
    checkpoint = trained.load_chosen()
    config = dataclasses.replace(checkpoint.config, decoding=DecodingConfig(method="sample"))
    words = checkpoint.vocabulary.tokens[4::2]
    written = {word: word.upper() for word in words if word.upper() != word}
    return dataclasses.replace(checkpoint, config=config, vocabulary=Vocabulary(checkpoint.vocabulary.tokens, written))


PROMPTS = ["Hello.", "How are you?", "What's your name?", "tell me a joke", "I'm tired , good night !", "zzzz", ""]


def test_every_runtime_writes_them(loud: Checkpoint, trained: RunDirectory, tmp_path: Path) -> None:
    bot = Chatbot.from_model(loud.build_model(), loud.config, loud.vocabulary)
    replies = bot.reply_batch(PROMPTS)
    plain = Chatbot.load(trained.path).reply_batch(PROMPTS, decoding=bot.decoding)
    assert replies != plain
    assert [reply.lower() for reply in replies] == [reply.lower() for reply in plain]
    loud.save(tmp_path / "best.pt")
    export(loud, tmp_path / "export")
    export_onnx(loud, tmp_path / "export")
    for file in (tmp_path / "best.pt", tmp_path / "export" / "chatbot.pt", tmp_path / "export" / "chatbot.onnx"):
        other = Chatbot.load(file)
        assert other.vocabulary.written == loud.vocabulary.written
        assert other.reply_batch(PROMPTS) == replies
        assert ["".join(other.stream(prompt)) for prompt in PROMPTS] == replies
    module = load_bundle(tmp_path / "export" / "chatbot.pt").module
    assert module.reply_batch(PROMPTS) == replies
    assert [module.reply(prompt) for prompt in PROMPTS] == replies
    for prompt in PROMPTS[:5]:
        listed = [text for text, _ in module.reply_nbest(prompt, 4)]
        assert listed == [text for text, _ in bot.nbest(prompt, 4)]
        said = bot.tokenizer.tokenize(prompt)
        assert ENGLISH.detokenize(module.reply_words(said), loud.vocabulary.written) == bot.reply(prompt)
        drawn = dataclasses.replace(bot.decoding, method="sample", seed=3, temperature=1.0, top_k=0, top_p=1.0)
        assert module.sample(prompt, 3) == bot.reply(prompt, decoding=drawn)
    ids = loud.vocabulary.encode(["hello", "."])
    assert readable(loud.vocabulary, loud.tokenizer, ids) == bot.text(ids)


def test_a_digest_is_of_the_forms_where_there_are_some(loud: Checkpoint) -> None:
    tokens, written = loud.vocabulary.tokens, loud.vocabulary.written

    def digest(forms: dict[str, str]) -> str:
        return dataclasses.replace(loud, vocabulary=Vocabulary(tokens, forms)).digest()

    fewer = dict(list(written.items())[1:])
    assert len({digest(written), digest(fewer), digest({})}) == 3
    assert digest(dict(reversed(written.items()))) == digest(written)


def test_a_run_that_is_packed_or_repeated_keeps_them(loud: Checkpoint, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.begin(loud.config, loud.vocabulary)
    loud.save(run.best)
    pack(run, tmp_path / "packed")
    packed = RunDirectory(tmp_path / "packed")
    for vocabulary in (
        Vocabulary.load(packed.vocabulary),
        packed.load_chosen().vocabulary,
        Chatbot.load(packed.export).vocabulary,
    ):
        assert (vocabulary.tokens, vocabulary.written) == (loud.vocabulary.tokens, loud.vocabulary.written)


def test_a_run_goes_on_in_the_forms_that_it_began_with(
    tiny: Config, prepared: Path, trained: RunDirectory, tmp_path: Path
) -> None:
    """Those of the corpus may be others by then; the tokens are the same."""
    run = RunDirectory(tmp_path / "run")
    begun = trained.load_last()
    assert begun.vocabulary.written
    run.begin(begun.config, begun.vocabulary)
    begun.vocabulary = Vocabulary(begun.vocabulary.tokens)
    begun.save(run.last)
    longer = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, steps=begun.step + 1))
    train(longer, prepared, run, Group(), resume=True)
    assert run.load_last().step == begun.step + 1
    assert run.load_last().vocabulary.written == Vocabulary.load(run.vocabulary).written == {}
