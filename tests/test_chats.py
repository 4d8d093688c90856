"""Chats as phones and programs export them, subtitles and labelled text: read as what they are, or refused."""

from pathlib import Path
from typing import Any

import pytest
from test_formats import complaints, read, turns

from chatbot.config.settings import CorpusConfig
from chatbot.corpus.formats.recognise import recognise
from chatbot.corpus.inputs import input_files
from chatbot.corpus.reading import Reading
from chatbot.system.errors import ChatbotError

ANDROID = """\
31/12/2023, 23:50 - Messages and calls are end-to-end encrypted. No one outside can read them. Tap to learn more.
31/12/2023, 23:51 - Ann Lee: Are you coming tonight?
31/12/2023, 23:52 - Bob: Sure
31/12/2023, 23:52 - Bob: I'll bring wine
and some cheese: a lot
31/12/2023, 23:53 - Ann Lee: <Media omitted>
31/12/2023, 23:54 - Ann Lee: Lovely.
31/12/2023, 23:55 - Bob: This message was deleted
31/12/2023, 23:56 - Bob: At nine? <This message was edited>
01/01/2024, 09:10 - Bob: Good morning!
01/01/2024, 09:11 - Ann Lee: Slept well?
01/01/2024, 09:12 - Bob: IMG-20240101-WA0001.jpg (file attached)
Look at this.
01/01/2024, 09:13 - Bob added Carl
01/01/2024, 09:14 - Carl: Wow.
"""
SAID = [
    ["Are you coming tonight?", "Sure. I'll bring wine and some cheese: a lot", "Lovely.", "At nine?"],
    ["Good morning!", "Slept well?", "Look at this.", "Wow."],
]
MARK, NARROW = "\u200e", "\u202f"
IOS = f"""\
[12/31/23, 11:50:59{NARROW}PM] Ann: {MARK}Messages and calls are end-to-end encrypted.
[12/31/23, 11:51:00{NARROW}PM] Ann: Are you coming tonight?
[12/31/23, 11:52:00{NARROW}PM] Bob: Sure
[12/31/23, 11:52:05{NARROW}PM] Bob: I'll bring wine
and some cheese: a lot
{MARK}[12/31/23, 11:53:00{NARROW}PM] Ann: {MARK}image omitted
[1/1/24, 12:05:00{NARROW}AM] Ann: Lovely.
[1/1/24, 12:06:00{NARROW}AM] Bob: At nine? {MARK}<This message was edited>
{MARK}[1/1/24, 12:06:30{NARROW}AM] Ann: {MARK}You deleted this message.
"""


def account_of(path: Path, **asked: Any) -> tuple[list[list[str | None]], Reading]:
    _, found, account = read(path, config=CorpusConfig(**asked))
    return [talk.turns for talk in found], account


def test_whatsapp_from_android(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(ANDROID, encoding="utf-8")
    assert read(tmp_path / "a.txt")[0] == "whatsapp"
    said, account = account_of(tmp_path / "a.txt")
    assert said == SAID
    assert account.speakers == {"Bob": 5, "Ann Lee": 3, "Carl": 1}
    assert account.left_out == {
        "lines of the program's own": 2,
        "media": 2,
        "deleted messages": 1,
        "marks of edits": 1,
    }
    assert account.bad == 0


def test_whatsapp_from_ios_of_twelve_hours_over_midnight(tmp_path: Path) -> None:
    (tmp_path / "_chat.txt").write_text(IOS, encoding="utf-8")
    said, account = account_of(tmp_path / "_chat.txt", gap=1)
    assert said == SAID[:1]
    assert list(account.layouts) == [
        "WhatsApp's export (iOS, month/day/year); a pause of 1 hours begins a new conversation"
    ]


@pytest.mark.parametrize(
    "stamp",
    ["31.12.23, {} - ", "31-12-2023 {} - ", "2023-12-31, {} - ", "12/31/23, {} PM - ", "[31.12.23, {}:07] ",
     "31/12/23 {} p. m. - ", "31.12.2023 klo {} - ", "[2023/12/31, {}:07] "],
)  # fmt: skip
def test_whatsapp_with_dates_of_many_countries(tmp_path: Path, stamp: str) -> None:
    lines = [f"{stamp.format(f'9:{30 + i}')}{'Ann' if i % 2 else 'Bob'}: line {i}" for i in range(6)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    format, found, account = read(tmp_path / "a.txt")
    assert (format, account.bad) == ("whatsapp", 0)
    assert [talk.turns for talk in found] == [[f"line {i}" for i in range(6)]]


def test_whatsapp_in_a_zip_with_pictures(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "WhatsApp Chat.zip", "w") as archive:
        archive.writestr("_chat.txt", IOS)
        archive.writestr("00001-PHOTO.jpg", b"\xff\xd8\xff\0")
    assert turns(tmp_path / "WhatsApp Chat.zip") == SAID[:1]


def test_a_damaged_whatsapp_export(tmp_path: Path) -> None:
    damaged = ANDROID.replace("Sure", "Su\0re").replace("Slept", "Sl\xe9pt")
    (tmp_path / "a.txt").write_bytes(("odd\n" + damaged).encode("latin-1"))
    _, found, account = read(tmp_path / "a.txt", format="whatsapp")
    assert [talk.turns for talk in found] == [
        ["Are you coming tonight?", None, "I'll bring wine and some cheese: a lot", "Lovely.", "At nine?"],
        ["Good morning!", "Sl\xe9pt well?", "Look at this.", "Wow."],
    ]
    assert sorted(complaints(account)) == [
        ("a.txt", 1, "no date, time and name, and no message that it goes on with"),
        ("a.txt", 4, "a NUL byte"),
    ]


def test_half_a_file_of_something_else_behind_a_chat_is_damage(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(ANDROID + "Hello there, and so on and on?\tHi.\n" * 5000)
    account = read(tmp_path / "a.txt")[2]
    with pytest.raises(ChatbotError, match=r"a\.txt:\d+: no date, time and name"):
        account.check(0.01)


def test_a_pause_begins_a_new_conversation(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(ANDROID, encoding="utf-8")
    assert len(account_of(tmp_path / "a.txt", gap=10)[0]) == 1
    assert len(account_of(tmp_path / "a.txt", gap=9)[0]) == 2


def test_only_one_speakers_replies_are_learnt(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(ANDROID, encoding="utf-8")
    _, found, account = read(tmp_path / "a.txt", config=CorpusConfig(me="ann lee"))
    learnt = [t for talk in found for t, answer in zip(talk.turns, talk.answers or (), strict=True) if answer]
    assert learnt == ["Are you coming tonight?", "Lovely.", "Slept well?"]
    account.check_me("a.txt")
    with pytest.raises(
        ChatbotError, match=r"a\.txt: --me 'Anna' is nobody's name; there are 'Bob' \(5 messages\), 'Ann"
    ):
        read(tmp_path / "a.txt", config=CorpusConfig(me="Anna"))[2].check_me("a.txt")


PERSONAL = """\
[31.12.23, 10:00:00] Ann Lee: Hi Bob, hi BOB! Will you come?
[31.12.23, 10:01:00] Bob: Call +44 20 7946 0958 or (030) 1234567, ann.lee@example.org
[31.12.23, 10:02:00] Ann Lee: https://example.org/x?y=1
[31.12.23, 10:03:00] Will: Look at www.example.org, Ann. On 31.12.2023 at 10:30, 1234 people came.
[31.12.23, 10:04:00] Ann Lee: Thanks Will, annoying bobcats.
"""


def test_what_names_a_person_is_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(PERSONAL)
    said, account = account_of(tmp_path / "a.txt")
    assert said == [
        ["Hi, hi! Will you come?", "Call or", "Look at. On 31.12.2023 at 10:30, 1234 people came.", "Thanks, annoying bobcats."]
    ]  # fmt: skip
    assert account.left_out == {
        "names": 4,
        "phone numbers": 2,
        "e-mail addresses": 1,
        "links": 2,
        "messages with nothing else": 1,
    }
    said, account = account_of(tmp_path / "a.txt", private=False)
    assert said[0][0] == "Hi Bob, hi BOB! Will you come?"
    assert not account.left_out


def test_other_formats_are_made_private_if_asked(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("Where?\tSee https://example.org/x or mail a@b.org.\n")
    assert account_of(tmp_path / "a.tsv")[0] == [["Where?", "See https://example.org/x or mail a@b.org."]]
    said, account = account_of(tmp_path / "a.tsv", private=True)
    assert said == [["Where?", "See or mail."]]
    assert account.left_out == {"links": 1, "e-mail addresses": 1}


# ruff: noqa: E501
TELEGRAM = """{"name": "Bob", "type": "personal_chat", "id": 1, "messages": [
 {"id": 1, "type": "service", "date": "2024-01-01T10:00:00", "date_unixtime": "1704103200", "actor": "Bob", "text": ""},
 {"id": 2, "type": "message", "date": "2024-01-01T10:01:00", "date_unixtime": "1704103260", "from": "Bob", "text": "Hi"},
 {"id": 3, "type": "message", "date": "2024-01-01T10:01:20", "date_unixtime": "1704103280", "from": "Bob",
  "text": ["Look at ", {"type": "bold", "text": "this"}, " one."]},
 {"id": 4, "type": "message", "date": "2024-01-01T10:02:00", "date_unixtime": "1704103320", "from": "Ann",
  "photo": "x.jpg", "text": ""},
 {"id": 5, "type": "message", "date": "2024-01-01T10:03:00", "date_unixtime": "1704103380", "from": "Ann", "text": "Nice."}
]}"""


@pytest.mark.parametrize("all_chats", [False, True])
def test_telegram(tmp_path: Path, all_chats: bool) -> None:
    content = f'{{"about": "…", "chats": {{"list": [{TELEGRAM}, {TELEGRAM}]}}}}' if all_chats else TELEGRAM
    (tmp_path / "result.json").write_text(content.replace('"1704103380"', '"²"'))
    assert read(tmp_path / "result.json")[0] == "telegram"
    said, account = account_of(tmp_path / "result.json")
    assert said == [["Hi. Look at this one.", "Nice."]] * (1 + all_chats)
    assert account.left_out == {"media": 1 + all_chats, "lines of the program's own": 1 + all_chats}


def test_a_damaged_telegram_export(tmp_path: Path) -> None:
    broken = TELEGRAM.replace('"text": "Nice."', '"text": 7').replace('"text": "Hi"', '"text": "Hi" oh')
    (tmp_path / "a.json").write_text(broken)
    with pytest.raises(ChatbotError, match=r"a\.json:3: malformed JSON .* near byte"):
        read(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(TELEGRAM[:-40])
    account = read(tmp_path / "a.json")[2]
    assert complaints(account) == [("a.json", 8, "JSON that breaks off")]
    (tmp_path / "a.json").write_text(
        TELEGRAM.replace('"Nice."', "7").replace('"message", "date": "2024-01-01T10:02', '5, "a": "')
    )
    assert [reason for _, _, reason in complaints(read(tmp_path / "a.json")[2])] == [
        "a message that is no object with a type: number 3",
        "a message whose text is none: number 4",
    ]


MESSENGER = """{"participants": [{"name": "Ann"}, {"name": "Ren\\u00c3\\u00a9"}], "messages": [
 {"sender_name": "Ann", "timestamp_ms": 1704103390000, "content": "Come!"},
 {"sender_name": "Ann", "timestamp_ms": 1704103380000, "content": "At the caf\\u00c3\\u00a9"},
 {"sender_name": "Ren\\u00c3\\u00a9", "timestamp_ms": 1704103320000, "content": "Where are you?"},
 {"sender_name": "Ren\\u00c3\\u00a9", "timestamp_ms": 1704103310000, "photos": []},
 {"sender_name": "Ren\\u00c3\\u00a9", "timestamp_ms": 1704103305000, "content": "Liked a message"},
 {"sender_name": "Ann", "timestamp_ms": 1704103300000, "content": "Hello", "reactions": []}], "title": "x"}"""


def test_messenger_is_turned_round_and_its_letters_are_mended(tmp_path: Path) -> None:
    (tmp_path / "message_1.json").write_text(MESSENGER)
    assert read(tmp_path / "message_1.json")[0] == "messenger"
    said, account = account_of(tmp_path / "message_1.json")
    assert said == [["Hello", "Where are you?", "At the café. Come!"]]
    assert account.speakers == {"Ann": 3, "René": 1}
    assert "newest first, turned round" in next(iter(account.layouts))


def test_the_newer_export_of_messenger(tmp_path: Path) -> None:
    content = (
        MESSENGER.replace("sender_name", "senderName").replace("timestamp_ms", "timestamp").replace("content", "text")
    )
    (tmp_path / "a.json").write_text(content)
    assert turns(tmp_path / "a.json") == [["Hello", "Where are you?", "At the café. Come!"]]


def test_a_long_chat_that_is_newest_first_loses_and_repeats_no_exchange(tmp_path: Path) -> None:
    messages = [
        f'{{"sender_name": "{"ab"[i % 2]}", "timestamp_ms": {1704100000000 + i * 1000}, "content": "say {i}."}}'
        for i in reversed(range(1000))
    ]
    (tmp_path / "a.json").write_text('{"messages": [' + ",\n".join(messages) + "]}")
    found = read(tmp_path / "a.json")[1]
    pairs = [(t.turns[i], t.turns[i + 1]) for t in found for i in range(t.start, len(t.turns) - 1)]
    assert sorted(pairs) == sorted((f"say {i}.", f"say {i + 1}.") for i in range(999))
    lines = [f"[31.12.23, 10:{i // 60:02}:{i % 60:02}] {'ab'[i % 2]}: say {i}." for i in range(1000)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    found = read(tmp_path / "a.txt")[1]
    pairs = [(t.turns[i], t.turns[i + 1]) for t in found for i in range(t.start, len(t.turns) - 1)]
    assert pairs == [(f"say {i}.", f"say {i + 1}.") for i in range(999)]


def test_a_damaged_messenger_export(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(MESSENGER.replace('"sender_name": "Ann", "timestamp_ms": 1704103390000', '"x": 1'))
    assert complaints(read(tmp_path / "a.json")[2]) == [("a.json", 0, "a message without a sender's name: number 0")]


IRC = """\
--- Log opened Mon Jan 01 12:00:00 2024
12:00 -!- ann [~ann@host] has joined #chat
12:01 <ann> hello everyone
12:02 <@bob> ann: hello, how are you?
12:03 <ann> bob, fine thanks
12:03  * bob waves
23:59 <bob> great
00:01 <ann> good night
"""


@pytest.mark.parametrize(
    ("old", "new"), [("", ""), ("12:0", "[12:0"), ("12:0", "2024-01-01 12:0"), ("12:0", "[2024-01-01 12:0")]
)
def test_irc(tmp_path: Path, old: str, new: str) -> None:
    content = "\n".join(
        (line.replace(old, new, 1)[:16] + line.replace(old, new, 1)[16:]).replace(
            " <", "] <" if "[" in new else " <", 1
        )
        if old and line.startswith(old)
        else line
        for line in IRC.replace("\n23:59", "\n12:04").replace("\n00:01", "\n12:05").splitlines()
    )
    (tmp_path / "a.log").write_text(content)
    format, found, account = read(tmp_path / "a.log")
    assert format == "irc"
    assert [t.turns for t in found] == [["hello everyone", "hello, how are you?", "fine thanks", "great", "good night"]]
    assert account.left_out["lines of the program's own"] == 3


def test_irc_over_midnight_and_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(IRC + "what is this\n12:00 <a\0nn> x\n12:01 <bob> y\n")
    _, found, account = read(tmp_path / "a.log")
    assert [t.turns for t in found] == [
        ["hello everyone", "hello, how are you?", "fine thanks"],
        ["great", "good night", None, "y"],
    ]
    assert sorted(bad[1:] for bad in complaints(account)) == [
        (9, "neither someone's words nor a line of the program's own"),
        (10, "a NUL byte"),
    ]


def test_weechat_writes_tabs(tmp_path: Path) -> None:
    lines = ["-->\tann (~ann@host) has joined #chat", "@ann\thello", "bob\thi: you?", " *\tbob waves", "ann\tfine"]
    (tmp_path / "a.log").write_text("".join(f"2024-01-01 12:00:0{i}\t{line}\n" for i, line in enumerate(lines)))
    assert turns(tmp_path / "a.log") == [["hello", "hi: you?", "fine"]]


@pytest.mark.parametrize(
    "stamp",
    [
        "[12:3{}] ",
        "12:3{} ",
        "(12:30:0{}) ",
        "2024-01-31 12:30:0{} - ",
        "2024-01-31T12:30:0{}Z ",
        "[1/31/24 9:3{} PM] ",
    ],
)
def test_times_and_names(tmp_path: Path, stamp: str) -> None:
    said = ["Ann: Hello?", "Bob B.: Hi: you?", "Ann: Fine,\nthanks.", "joined the room", "Bob B.: Good."]
    (tmp_path / "a.log").write_text("".join(f"{stamp.format(i)}{line}\n" for i, line in enumerate(said)))
    format, found, account = read(tmp_path / "a.log")
    assert format in ("stamped", "whatsapp")
    assert [t.turns for t in found] == [["Hello?", "Hi: you?", "Fine, thanks.", "Good."]]
    assert sum(account.left_out.values()) == 1


def test_times_and_names_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("odd\n12:30 Ann: Hello?\n12:31 B\0ob: Hi.\n12:32 Ann: Fine.\n12:33 Bob: OK\n")
    _, found, account = read(tmp_path / "a.log", "stamped")
    assert [t.turns for t in found] == [["Hello?", None, "Fine.", "OK"]]
    assert [bad[1] for bad in complaints(account)] == [3]
    assert account.left_out == {"lines above the first message": 1}


def test_signal(tmp_path: Path) -> None:
    (tmp_path / "chat.md").write_text(
        "[2019-05-29, 15:04] Me: How is everyone?\n[2019-05-29, 15:10] Aya: We're great!\n"
    )
    assert read(tmp_path / "chat.md")[0] == "signal"
    assert turns(tmp_path / "chat.md") == [["How is everyone?", "We're great!"]]


SRT = """\
1
00:00:01,000 --> 00:00:03,000
<i>Where have you been,</i>
my friend?

2
00:00:03,500 --> 00:00:05,000
- At home.
- All day?

3
00:00:05,500 --> 00:00:07,000
[door closes]
{\\an8}All day long...

4
00:00:07,500 --> 00:00:09,000
because it rained.

5
00:01:07,500 --> 00:01:09,000
ANN: Good morning.

6
00:01:09,500 --> 00:01:10,000
♪ la la la ♪

7
00:01:11,500 --> 00:01:12,000
Good morning to you.
"""
SPOKEN = [
    ["Where have you been, my friend?", "At home.", "All day?", "All day long... because it rained."],
    ["Good morning.", "Good morning to you."],
]


@pytest.mark.parametrize("name", ["a.srt", "a.txt"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_subtitles(tmp_path: Path, name: str, encoding: str) -> None:
    (tmp_path / name).write_text(SRT.replace("\n", "\r\n"), encoding=encoding, newline="")
    format, found, account = read(tmp_path / name)
    assert (format, account.bad) == ("subtitles", 0)
    assert [talk.turns for talk in found] == SPOKEN
    assert account.left_out == {"sounds and lyrics": 2}


def test_web_subtitles(tmp_path: Path) -> None:
    content = SRT.replace(",000", ".000").replace(",500", ".500").replace("00:00:", "00:").replace("ANN: ", "<v Ann>")
    (tmp_path / "a.vtt").write_text(
        "WEBVTT - a film\n\nNOTE nothing\n\n" + content.replace("5.000\n", "5.000 align:start\n")
    )
    assert turns(tmp_path / "a.vtt") == SPOKEN


def test_damaged_subtitles(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(
        SRT.replace("00:00:03,500", "00:00:oops") + "\n8\n00:01:13,000 --> 00:01:14,000\ncut o"
    )
    _, found, account = read(tmp_path / "a.srt")
    assert found[-1].turns[-1] == "cut o"
    assert complaints(account) == [("a.srt", 7, "times that are none")]


@pytest.mark.parametrize(
    ("content", "said", "learnt"),
    [
        ("User: Hi.\nBot: Hello: you?\nUser: Fine.\nBot: Good,\nreally.\n", [["Hi.", "Hello: you?", "Fine.", "Good, really."]], 2),
        ("**User:** Hi.\n\n**Bot:** Hello.\n\n**User:** A.\n\n**Bot:** B.\n", [["Hi.", "Hello.", "A.", "B."]], 2),
        ("Q: Who?\nA: Me.\n\nQ: When?\nA: Now.\n", [["Who?", "Me."], ["When?", "Now."]], 2),
        ("Q1: Who?\nA1: Me.\nQ2: When?\nA2: Now.\n", [["Who?", "Me.", "When?", "Now."]], 2),
        ("Human 1: Hi!\nHuman 2: Hello.\nHuman 2: You?\nHuman 1: Fine.\n", [["Hi!", "Hello. You?", "Fine."]], 2),
        ("ANN: Hi!\nBOB: Hello.\nANN: Ready?\nBOB: Yes.\n===\nANN: Bye.\nBOB: Bye.\n",
         [["Hi!", "Hello.", "Ready?", "Yes."], ["Bye.", "Bye."]], 4),
    ],
)  # fmt: skip
def test_labels(tmp_path: Path, content: str, said: list[list[str]], learnt: int) -> None:
    (tmp_path / "a.txt").write_text(content)
    format, found, account = read(tmp_path / "a.txt")
    assert (format, account.bad) == ("labels", 0)
    assert [talk.turns for talk in found] == said
    assert sum(sum(t.answers[1:]) if t.answers else len(t.turns) - 1 for t in found) == learnt


def test_damaged_labels(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("odd\nUser: Hi.\nBot: He\0llo.\nUser: A.\nBot: B.\n")
    _, found, account = read(tmp_path / "a.txt")
    assert [talk.turns for talk in found] == [["Hi.", None, "A.", "B."]]
    assert sorted(complaints(account)) == [("a.txt", 1, "no label, and no turn before it"), ("a.txt", 3, "a NUL byte")]


REFUSED = {
    "times.log": ("".join(f"12:3{i} something {i}\n" for i in range(9)), "begin with a time"),
    "counters.txt": ("".join(f"{i}. say {i}\n" for i in range(9)), "begin with a counter"),
    "arrows.txt": ("1\n00:01 ---> 00:02\nHi.\n2\n0:3 --> 0:4\nHello.\n", "arrows as subtitles have"),
    "one.txt": ("Ann: Hi.\nAnn: Hello.\nAnn: You?\n", "only label"),
    "mail.txt": ("From: a@b.org\nTo: c@d.org\nSubject: hi\n\nHello\n", "e-mail"),
    "page.html": ("<html><body>\n<p>Hi.</p>\n</body></html>\n", "HTML"),
    "page.txt": ("<!DOCTYPE html>\nHi.\n", "HTML"),
    "a.yaml": ("key:\n  - Hi.\n  - Hello.\nother:\n  - A.\n", "YAML"),
    "a.csv": ("id,pattern_text,thing\n1,Hi,Hello\n2,A,B\n", "table whose columns"),
    "bars.txt": ("1|Hi|Hello\n" * 6, "table whose columns"),
    "a.pdf": ("%PDF-1.4\nx\n", "a PDF"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_looks_like_something_else_is_no_chat_log(tmp_path: Path, name: str) -> None:
    content, why = REFUSED[name]
    (tmp_path / name).write_text(content)
    with pytest.raises(ChatbotError, match=why):
        read(tmp_path / name)
    assert read(tmp_path / name, "log")[0] == "log"


@pytest.mark.parametrize(
    "content",
    [
        "Hi, Ann: you?\nNo.\nWell: yes, no.\nOK\nSo it is.\n",
        "- Hola.\n- ¿Qué tal?\n- Bien.\n",
        "Hi.\n\nHello.\n3 of them.\n",
    ],
)
def test_what_is_a_chat_log_is_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.txt").write_text(content, encoding="utf-8")
    files, _ = input_files(tmp_path / "a.txt")
    assert recognise(files, "auto", "a.txt")[0] == "log"
    assert not any(str(turn).startswith("-") for talk in turns(tmp_path / "a.txt") for turn in talk)


@pytest.mark.parametrize("packing", ["plain", "gz", "zip"])
def test_utf_16_is_read(tmp_path: Path, packing: str) -> None:
    import gzip
    import zipfile

    content = "Héllo?\tHi.\n你好\t\U0001f600 yes.\n".encode("utf-16")
    path = tmp_path / {"plain": "a.tsv", "gz": "a.tsv.gz", "zip": "a.zip"}[packing]
    if packing == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.tsv", content)
    else:
        path.write_bytes(gzip.compress(content) if packing == "gz" else content)
    _, found, account = read(path)
    assert [talk.turns for talk in found] == [["Héllo?", "Hi."], ["你好", "\U0001f600 yes."]]
    assert account.bad == 0
