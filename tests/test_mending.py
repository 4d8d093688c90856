"""Unknown words are read as the known ones that they are slips of: alike in every runtime, and not if so asked."""

import dataclasses
import json
import random
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.__main__ import main
from chatbot.chat.bot import Chatbot
from chatbot.corpus import mending
from chatbot.corpus.mending import OTHER_SPELLINGS, Spellings, one_edit_away, plain_spellings, with_fewer_letters
from chatbot.corpus.preparation import prepare
from chatbot.corpus.tokenizer import MAX_WORDS, TOKENIZERS
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.deployment.manifest import read_manifest
from chatbot.deployment.torchscript import export, load_bundle
from chatbot.deployment.torchscript_mending import TorchScriptMending
from chatbot.deployment.torchscript_tokenizer import torchscript_tokenizer
from chatbot.runs.directory import RunDirectory

sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))

# what upstream says of torch.jit's future
pytestmark = pytest.mark.filterwarnings(
    r"ignore:`torch\.jit\.\w+` is:DeprecationWarning", r"ignore:`torch\.jit\.\w+` is:FutureWarning"
)

ENGLISH = (
    *("you", "are", "how", "what", "'s", "do", "n't", "i", "'m", "know", "please", "tell", "me", "a", "joke", "tired"),
    *("hello", "good", "friend", "how's", "no", "tomorrow", "?", "."),
)
OTHERS = ["mañana", "adiós", "für", "schön", "привет", "ещё", "कैसे", "你", "？", "。", "hola", "cómo", "estás"]
CASED = ["Hola", "USA", "amigo", "México", ".", "?"]


def spellings(words: list[str], tokenizer: str = "english") -> Spellings:
    vocabulary = Vocabulary.from_words(words, unknown=True, separator=True)
    return Spellings.of(vocabulary, TOKENIZERS[tokenizer])


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("hello friend", "hello friend"),
        ("helo freind", "hello friend"),  # left out, exchanged
        ("helllo heello hellp", "hello hello hello"),  # drawn out, doubled, the key beside
        ("u r tird pls", "you are tired please"),
        ("im dont whats", "i 'm do n't what 's"),
        ("sooo goooood noooo", "sooo good no"),
        ("heeelllooo", "hello"),
        ("hwo yuo kno", "how you know"),
        ("kelly jello", "kelly jello"),  # the first letter stays
        ("tomorrrow tomorow", "tomorrow tomorrow"),
        ("xqzzy hx m", "xqzzy hx m"),
        ("？ ...", "? ."),
    ],
)
def test_slips_are_read_as_what_was_meant(words: str, read: str) -> None:
    assert spellings([*ENGLISH]).read(words.split()) == read.split()


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("manana adios", "mañana adiós"),
        ("fuer schon schoen", "für schön schön"),
        ("привт еще", "привет ещё"),
        ("कसे", "कैसे"),
        ("? .", "？ 。"),
        ("como estas 我", "cómo estás 我"),
    ],
)
def test_other_languages_have_slips_too(words: str, read: str) -> None:
    assert spellings(OTHERS, "unicode").read(words.split()) == read.split()


def test_capitals_are_tried_where_words_have_them() -> None:
    assert spellings(CASED, "unicode-cased").read(["hola", "HOLA", "usa", "Amigo", "AMIGO", "mexico"]) == (
        ["Hola", "Hola", "USA", "amigo", "amigo", "mexico"]
    )
    assert spellings(CASED, "unicode").read(["hola"]) == ["hola"]


def test_the_commonest_word_is_taken() -> None:
    assert spellings(["cold", "cord"]).read(["cxld", "cokd", "cod"]) == ["cold", "cold", "cold"]
    assert spellings(["cord", "cold"]).read(["cod"]) == ["cord"]


def test_rare_words_are_nobodys_slip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending, "FREQUENT", 1)
    assert spellings(["hello", "friend"]).read(["helo", "freind"]) == ["hello", "freind"]


def test_what_is_read_stays_bounded() -> None:
    known = spellings([*ENGLISH])
    assert known.read(["x" * 10_000]) == ["x" * 10_000]
    assert known.read(["im"] * MAX_WORDS) == ["i", "'m"] * (MAX_WORDS // 2)
    assert all(len(with_fewer_letters([*"aaabbbcccdddeee" * runs])) <= 16 for runs in range(9))


@settings(deadline=None, max_examples=100)
@given(st.text("abcéя", min_size=1, max_size=7))
def test_edits_are_one_away(word: str) -> None:
    """By the definition of the distance, in plain Python."""
    edits = one_edit_away(list(word), ["a", "é"])
    assert len(edits) == len(word) * 2 + (len(word) - 1) * (4 if len(word) > 3 else 1)
    for edit in set(edits) - {word}:
        assert distance(word, edit) == 1
        assert edit[0] in word[:2]


def distance(one: str, other: str) -> int:
    """Damerau's, with exchanged neighbours (optimal string alignment)."""
    rows = [[i + j if i * j == 0 else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i in range(1, len(one) + 1):
        for j in range(1, len(other) + 1):
            ways = [rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (one[i - 1] != other[j - 1])]
            if i > 1 and j > 1 and (one[i - 1], one[i - 2]) == (other[j - 2], other[j - 1]):
                ways.append(rows[i - 2][j - 2] + 1)
            rows[i][j] = min(ways)
    return rows[-1][-1]


def test_accents_and_umlauts_are_left_off_as_people_do() -> None:
    assert plain_spellings("übergrößen") == {"ubergroßen", "uebergroessen"}
    assert plain_spellings("ёлка") == {"елка"}
    assert plain_spellings("hello") == plain_spellings("कैसे") == set()


def test_the_table_is_plain() -> None:
    assert json.loads(json.dumps(OTHER_SPELLINGS)) == OTHER_SPELLINGS
    assert {
        "u": ["you"],
        "r": ["are"],
        "pls": ["please"],
        "dont": ["do n't", "don't"],
    }.items() <= OTHER_SPELLINGS.items()


# every runtime


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [("english", [*ENGLISH]), ("unicode", [*OTHERS, *ENGLISH]), ("unicode-cased", [*CASED, *OTHERS])],
)
def test_torchscript_mends_as_python(tokenizer: str, words: list[str]) -> None:
    vocabulary = Vocabulary.from_words(words, unknown=True, separator=True)
    known, text = Spellings.of(vocabulary, TOKENIZERS[tokenizer]), torchscript_tokenizer(tokenizer)
    module = torch.jit.script(TorchScriptMending(vocabulary, TOKENIZERS[tokenizer], text.capitals()))
    rng, letters = random.Random(3), sorted({letter for word in words for letter in word})
    slips = [*OTHER_SPELLINGS, *words, "heeelllooo", "aaabbbcccdddeee", "HOLA", "x" * 99, ""]
    for word in words * 12:
        at = rng.randrange(len(word))
        new = rng.choice(letters) * rng.randint(0, 3)
        slips.append(word[:at] + new + word[at + rng.randint(0, 1) :])
    for slip in slips:
        assert module([slip], vocabulary.ids) == known.read([slip]), slip
    assert module(slips, vocabulary.ids) == known.read(slips)


@pytest.fixture(scope="module")
def mending_run(trained: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The small run, as one that mends."""
    checkpoint = trained.load_chosen()
    corpus = dataclasses.replace(checkpoint.config.corpus, mend_words=True)
    run = RunDirectory(tmp_path_factory.mktemp("runs") / "mending")
    run.path.mkdir()
    config = dataclasses.replace(checkpoint.config, corpus=corpus)
    dataclasses.replace(checkpoint, config=config).save(run.best)
    run.config.write_text(json.dumps(config.to_dict()))
    return run


RIGHT, WRONG = "How are you, my friend? Tell me a joke.", "hwo are yuo, my frrriend? Telll me a jokke."


def test_a_run_and_its_file_mend_alike_and_not_if_so_asked(mending_run: RunDirectory, tmp_path: Path) -> None:
    export(mending_run.load_chosen(), tmp_path / "export")
    bot, opened = Chatbot.load(mending_run.path), Chatbot.load(tmp_path / "export")
    module = load_bundle(tmp_path / "export" / "chatbot.pt").module
    assert bot.words(WRONG) == opened.words(WRONG) == module.read(WRONG) == bot.words(RIGHT)
    assert bot.unknown_words(WRONG) == []
    assert bot.reply(WRONG) == opened.reply(WRONG) == module.reply(WRONG) == bot.reply(RIGHT)
    plain = Chatbot.load(tmp_path / "export", mend_words=False)
    assert plain.unknown_words(WRONG)
    module.mend_words = False
    assert module.read(WRONG) == plain.words(WRONG) != bot.words(WRONG)


def test_onnx_files_mend_too(mending_run: RunDirectory, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from chatbot.deployment.onnx import export_onnx

    export_onnx(mending_run.load_chosen(), tmp_path)
    opened = Chatbot.load(tmp_path / "chatbot.onnx")
    assert opened.words(WRONG) == opened.words(RIGHT)
    assert opened.reply(WRONG) == Chatbot.load(mending_run.path).reply(WRONG)


def test_flags_turn_it_off(mending_run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", str(mending_run.path), "--prompt", WRONG]) == 0
    assert main(["chat", str(mending_run.path), "--prompt", RIGHT]) == 0
    one, other = capsys.readouterr().out.splitlines()
    assert one == other
    assert main(["chat", str(mending_run.path), "--no-mend-words", "--prompt", WRONG]) == 0
    plain = Chatbot.load(mending_run.path, mend_words=False)
    assert capsys.readouterr().out.strip() == plain.reply(WRONG)
    assert main(["export", str(mending_run.path), "--no-mend-words", "--out", str(tmp_path / "export")]) == 0
    assert Chatbot.load(tmp_path / "export").spellings is None
    assert read_manifest(tmp_path / "export")["config"]["corpus"]["mend_words"] is False


def test_it_changes_nothing_that_is_prepared(tiny, data_dir: Path, prepared: Path) -> None:
    assert prepare(dataclasses.replace(tiny.corpus, mend_words=True), data_dir).folder == prepared


def test_the_bench_makes_slips_by_rule() -> None:
    from slips import SLIPS, slips

    prompts = [
        "Why don't you tell your friend?",
        "please come home tomorrow",
        "Ok",
        "it is raining",
        "thanks a lot",
    ] * 5
    made = slips(prompts, 16, 1)
    assert made == slips(prompts, 16, 1)
    assert {rule for _, _, rule in made} == SLIPS.keys()
    for right, wrong, rule in made:
        assert right != wrong
        assert rule != "capitals" or wrong.lower() == right.lower()
