"""A conversation: its commands, its turns, its transcript; and a file of prompts answered."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chatbot.chat.bot import Chatbot
from chatbot.chat.conversation import Conversation
from chatbot.chat.terminal import alignment, command, describe
from chatbot.config.settings import DecodingConfig
from chatbot.runs.directory import RunDirectory
from chatbot.serving.lines import READ_AHEAD, answer_file
from chatbot.system.errors import ChatbotError

GREEDY = DecodingConfig(method="greedy")


@pytest.fixture
def bot(trained: RunDirectory) -> Chatbot:
    return Chatbot.load(trained.path, decoding=GREEDY)


def test_commands_change_how_replies_are_found(bot: Chatbot) -> None:
    talk = Conversation(bot)
    assert command(talk, "/beam 7") == "beam, beam width 7, length penalty 1"
    assert (talk.decoding.method, talk.decoding.beam_width) == ("beam", 7)
    assert talk.say("Hello.") == bot.reply("Hello.", decoding=talk.decoding)
    assert command(talk, "/sample 0.8") == "sample, temperature 0.8"
    assert (talk.decoding.method, talk.decoding.temperature) == ("sample", 0.8)
    assert command(talk, "/greedy") == command(talk, "/default") == "greedy"
    assert talk.say("Hello.") == bot.reply("Hello.")


def test_conversations_share_a_bot_and_change_nothing_of_it(bot: Chatbot) -> None:
    bot = dataclasses.replace(bot, context=2)
    warm = DecodingConfig(method="sample", temperature=1.5)
    alone = bot.conversation(warm)
    expected = [alone.say(line) for line in ("Hello.", "How are you?", "Hello.")]
    one, other = bot.conversation(warm), bot.conversation()
    said = []
    for line in ("Hello.", "How are you?", "Hello."):  # in turn, and each has its own turns, seeds and decoding
        said.append(one.say(line))
        command(other, "/beam 3")
        other.say("What's your name?")
    assert said == expected
    assert bot.decoding == GREEDY
    with pytest.raises(dataclasses.FrozenInstanceError):
        bot.decoding = warm  # type: ignore[misc]


def test_a_reply_in_pieces_is_the_reply(bot: Chatbot) -> None:
    for decoding in (GREEDY, DecodingConfig(method="beam", beam_width=3), DecodingConfig(method="sample", samples=2)):
        for text in ("Hello.", "How are you?", "What's your name?", ""):
            pieces = list(bot.stream(text, decoding=decoding))
            assert "".join(pieces) == bot.reply(text, decoding=decoding)
            assert all(pieces)
    talk = bot.conversation()
    pieces = list(talk.stream("How are you?"))
    assert len(pieces) > 1
    assert talk.turns == ["".join(pieces)]  # of a bot that reads one turn the newest is kept


@pytest.mark.parametrize("line", ["/dance", "/", "/beam five", "/beam 1 2", "/sample warm", "/nbest x", "/reset now"])
def test_a_wrong_command_says_how_it_is_used(bot: Chatbot, line: str) -> None:
    talk = Conversation(bot)
    talk.say("Hello.")
    before = talk.decoding
    with pytest.raises(ChatbotError, match=r"/help|is used so"):
        command(talk, line)
    assert talk.decoding == before


@pytest.mark.parametrize("line", ["/beam 0", "/beam 100000", "/sample -1", "/sample nan"])
def test_a_value_out_of_bounds_is_refused(bot: Chatbot, line: str) -> None:
    with pytest.raises(ChatbotError, match="between"):
        command(Conversation(bot), line)


def test_help_lists_every_command(bot: Chatbot) -> None:
    shown = command(Conversation(bot), "/help")
    for name in ("help", "reset", "default", "greedy", "beam", "sample", "nbest", "attention"):
        assert f"/{name}" in shown


def test_sampling_draws_anew_each_turn_and_a_seed_repeats_the_conversation(bot: Chatbot) -> None:
    def said(seed: int) -> list[str]:
        talk = bot.conversation(DecodingConfig(method="sample", temperature=1.5, seed=seed))
        return [talk.say("How are you?") for _ in range(8)]

    assert len(set(said(1))) > 1
    assert said(1) == said(1) != said(2)


def test_after_reset_a_conversation_begins_again(bot: Chatbot) -> None:
    bot = dataclasses.replace(bot, context=2)
    talk = bot.conversation(DecodingConfig(method="sample", temperature=1.5))
    first = [talk.say("Hello."), talk.say("How are you?")]
    assert talk.turns == ["How are you?", first[1]]
    assert command(talk, "/reset") == "forgotten"
    assert talk.turns == []
    assert [talk.say("Hello."), talk.say("How are you?")] == first


def test_nbest_and_attention_are_of_the_last_sentence(bot: Chatbot, tmp_path: Path) -> None:
    talk = Conversation(bot)
    assert command(talk, "/nbest") == command(talk, "/attention") == "(say something first)"
    reply = talk.say("How are you?")
    listed = [line.split(maxsplit=1) for line in command(talk, "/nbest 3").splitlines()]
    assert [text for _, text in listed] == [text for text, _ in bot.nbest("How are you?", 3)]
    table = command(talk, "/attention").splitlines()
    assert table[0].split() == ["how", "are", "you", "?"]
    words = [row.split()[0] for row in table[1:]]
    assert "<eos>" not in words[:-1]  # it ends a reply that was not cut
    assert bot.tokenizer.detokenize([word for word in words if word != "<eos>"], bot.vocabulary.written) == reply
    for row in table[1:]:
        assert abs(sum(map(int, row.split()[1:])) - 100) <= 3
    command(talk, f"/attention {tmp_path / 'look.png'}")
    with Image.open(tmp_path / "look.png") as picture:
        assert min(picture.size) > 10
    with pytest.raises(ChatbotError, match=r"look\.png"):
        command(talk, f"/attention {tmp_path / 'look.txt'}")
    assert not (tmp_path / "look.txt").exists()


def test_an_alignment_has_a_row_for_each_word_said() -> None:
    table = alignment(["where", "are"], ["home", "<eos>"], np.array([[0.25, 0.75], [1.0, 0.0]]))
    assert [line.split() for line in table.splitlines()] == [
        ["where", "are"],
        ["home", "25", "75"],
        ["<eos>", "100", "0"],
    ]
    assert len({len(line) for line in table.splitlines()}) == 1


def test_a_transcript_holds_what_was_said_and_no_control_characters(bot: Chatbot) -> None:
    log = io.StringIO()
    talk = bot.conversation(log=log)
    replies = [talk.say("Hello."), talk.say("\x1b[31mHow are\tyou?")]
    assert log.getvalue() == f"> Hello.\n{replies[0]}\n> \\x1b[31mHow are you?\n{replies[1]}\n"


def test_a_decoding_is_described_by_what_is_not_the_default() -> None:
    assert describe(GREEDY) == "greedy"
    beam = DecodingConfig(method="beam", beam_width=3, temperature=0.1, top_k=3)
    assert describe(dataclasses.replace(beam, no_repeat_ngram=3)) == "beam, beam width 3, no repeat ngram 3"


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_a_file_is_answered_line_by_line_in_its_order(bot: Chatbot, tmp_path: Path, batch_size: int) -> None:
    lines = ["Hello.", "", "How are\tyou?", "What's your name?" * 50, "\U0001f600", "x"] * (
        READ_AHEAD if batch_size < 3 else 1
    )
    (tmp_path / "prompts.txt").write_bytes("\n".join(lines).encode() + b"\nbad \xff byte\r\n")
    count = answer_file(bot, tmp_path / "prompts.txt", tmp_path / "replies.tsv", batch_size)
    assert count == len(lines) + 1
    rows = [line.split("\t") for line in (tmp_path / "replies.tsv").read_text().splitlines()]
    assert [row[0] for row in rows] == [*(line.replace("\t", " ") for line in lines), "bad \ufffd byte"]
    assert [row[1] for row in rows] == [bot.reply(line) for line in [*lines, "bad \ufffd byte"]]


def test_a_file_that_is_not_there_leaves_nothing(bot: Chatbot, tmp_path: Path) -> None:
    with pytest.raises(ChatbotError, match=r"cannot read .*nowhere"):
        answer_file(bot, tmp_path / "nowhere", tmp_path / "replies.tsv", 8)
    assert not list(tmp_path.iterdir())


def test_attention_is_of_the_reply_that_was_given_whatever_is_asked_for_since(bot: Chatbot) -> None:
    talk = bot.conversation(DecodingConfig(method="sample", temperature=3.0))  # nothing that greedy search would find
    replies = [talk.say("How are you?") for _ in range(2)]
    assert len({*replies, bot.reply_batch([talk.prompt], decoding=GREEDY)[0]}) == 3
    for line in ("/greedy", "/beam 3", "/sample 0.1"):
        command(talk, line)
        said = [line.split()[0] for line in command(talk, "/attention").splitlines()[1:]]
        words = [word[:8] for word in bot.words(replies[1])]
        assert [word for word in said if word != "<eos>"] == words
