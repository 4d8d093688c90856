"""Exports as programs write them, in the layouts of many places: read as what they are, or refused with what to do."""

# ruff: noqa: E501
import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from test_chats import account_of
from test_formats import read

from chatbot.corpus.formats.recognise import EXPORTS
from chatbot.corpus.formats.records import dialogues_of
from chatbot.corpus.reading import Reading
from chatbot.system.errors import ChatbotError

SAID = ["Are you coming?", "Sure", "Great"]
RULE = "=" * 62
HANGUL = "오늘 올 거야?", "물론이지!", "좋아"
# name, content, format, and the first conversation
TEXTS: list[tuple[str, str, str, list[str]]] = [
    ("discord.txt", f"{RULE}\nGuild: Friends\nChannel: General / chat\n{RULE}\n\n[5/12/2023 9:04 PM] ann\nAre you coming?\n\n[5/12/2023 9:05 PM] bob (pinned)\nSure\n\n{{Attachments}}\nhttps://cdn/x.png\n\n[5/12/2023 9:06 PM] ann\nGreat\n\n\n{RULE}\nExported 3 message(s)\n{RULE}\n", "headed", SAID),
    ("discord, older.txt", "[12-May-23 09:04 PM] ann#1234\nAre you coming?\n\n[12-May-23 09:05 PM] bob#1\nSure\n\n[12-May-23 09:06 PM] ann#1234\nGreat\n", "headed", SAID),
    ("telegram, copied.txt", "Ann Lee, [12.05.2023 21:04]\nAre you coming?\n\nBob, [12.05.2023 21:05]\n[In reply to Ann Lee]\nSure\n\nAnn Lee, [12.05.2023 21:06]\nGreat\n", "headed", SAID),
    ("teams, copied.txt", "[5/12/2023 9:04 PM] Ann Lee\nAre you coming?\n[5/12/2023 9:05 PM] Bob\nSure\n[5/12/2023 9:06 PM] Ann Lee\nGreat\n", "headed", SAID),
    ("qq.txt", "消息记录\n\n2023-05-12 21:04:00 小明\n你今晚来吗？\n\n2023-05-12 21:05:00 小红\n当然！\n", "headed", ["你今晚来吗？", "当然！"]),
    ("zoom.txt", "21:04:00\t From  Ann Lee  to  Everyone:\n\tAre you coming?\n21:05:00\t From  Bob  to  Everyone:\n\tSure\n21:06:00\t From  Ann Lee  to  Bob(Direct Message):\n\tGreat\n", "headed", SAID),
    ("imessage.txt", "May 12, 2023  9:04:00 PM (Read by them after 1 minute)\nMe\nAre you coming?\n\nMay 12, 2023  9:05:00 PM\n+447700900123\nSure\n\nMay 12, 2023  9:06:00 PM\nMe\nGreat\n", "headed", SAID),
    ("slack, copied.txt", "Ann Lee  9:04 PM\nAre you coming?\n\nBob  9:05 PM\nSure\n\nAnn Lee  9:06 PM\nGreat\n", "headed", SAID),
    ("otter.txt", "Ann Lee  0:03  \nAre you coming?\n\nBob  0:05  \nSure\n\nAnn Lee  0:09\nGreat\n", "headed", SAID),
    ("three.txt", "Ann: Are you coming?\nBob: Sure\nCarl: Great\nAnn: Now?\nBob: Yes\nCarl: No\n", "labels", [*SAID, "Now?", "Yes", "No"]),
    ("letters.txt", "Q. Are you coming?\nA. Sure\nQ. Well?\nA) Great\n", "labels", ["Are you coming?", "Sure", "Well?", "Great"]),
    ("ubuntu.txt", "Are you __eou__ coming? __eou__ __eot__ Sure __eou__ __eot__ Great __eou__\n", "dailydialog", SAID),
    ("stars.txt", "* Are you coming?\n* Sure\n* Great\n", "log", SAID),
    ("kakaotalk, PC.txt", f"지영 님과 카카오톡 대화\n저장한 날짜 : 2023-05-13 10:00:00\n\n--------------- 2023년 5월 12일 금요일 ---------------\n[민수] [오후 9:04] {HANGUL[0]}\n[지영] [오후 9:05] {HANGUL[1]}\n[지영] [오후 9:05] 사진\n[민수] [오후 9:06] {HANGUL[2]}\n--------------- 2023년 5월 14일 일요일 ---------------\n[지영] [오전 9:01] 안녕\n[민수] [오전 9:02] 안녕\n", "days", list(HANGUL)),
    ("kakaotalk, English.txt", "KakaoTalk Chats with Ann\nDate Saved : 2023-05-13 10:00:00\n\n--------------- Friday, May 12, 2023 ---------------\n[Bob] [9:04 PM] Are you coming?\n[Ann] [9:05 PM] Sure\n[Bob] [9:06 PM] Great\n--------------- Sunday, May 14, 2023 ---------------\n[Bob] [9:04 PM] Again?\n[Ann] [9:05 PM] No\n", "days", SAID),
    ("kakaotalk, phone.txt", f"지영 님과 카카오톡 대화\n저장한 날짜 : 2023년 5월 13일 오전 10:00\n\n\n2023년 5월 12일 오후 9:04, 민수 : {HANGUL[0]}\n2023년 5월 12일 오후 9:05, 지영 : {HANGUL[1]}\n2023년 5월 12일 오후 9:06, 민수 : {HANGUL[2]}\n", "stamped", list(HANGUL)),
    ("line.txt", '[LINE] Chat history with Ann\nSaved on: 2023/05/13 10:00\n\n2023/05/12(Fri)\n21:04\tAnn\tAre you coming?\n21:05\tBob\tSure\n21:05\tBob\t[Sticker]\n21:06\tAnn unsent a message.\n21:06\tAnn\t"Great"\n\n2023/05/14(Sun)\n09:00\tAnn\tMorning\n09:01\tBob\tHi\n', "days", SAID),
    ("line, Japanese.txt", "[LINE] 田中とのトーク履歴\n保存日時：2023/05/13 10:00\n\n2023/05/12(金)\n21:04\t田中\t今夜来る？\n21:05\t佐藤\tもちろん\n21:05\t佐藤\t[スタンプ]\n21:06\t田中\tよかった\n", "days", ["今夜来る？", "もちろん", "よかった"]),
    ("viber.txt", "[ 12/05/2023 ] 21:04:00, Ann: Are you coming?\n[ 12/05/2023 ] 21:05:00, Bob: Sure\n[ 12/05/2023 ] 21:06:00, Ann: Great\n", "stamped", SAID),
    ("whatsapp, copied.txt", "[21:04, 12/05/2023] Ann Lee: Are you coming?\n[21:05, 12/05/2023] +44 7700 900123: Sure\n[21:06, 12/05/2023] Ann Lee: Great\n", "stamped", SAID),
    ("zoom, older.txt", "21:04:00 From Ann Lee : Are you coming?\n21:05:00 From Bob to Ann Lee(Direct Message) : Sure\n21:06:00 From Ann Lee to Everyone : Great\n", "stamped", SAID),
    ("mirc.log", "Session Start: Fri May 12 21:04:00 2023\nSession Ident: #chan\n[21:04] <ann> Are \x02you\x02 coming?\n[21:05] <@bob> \x0304Sure\x03\n[21:06] <ann> Great\n", "irc", SAID),
    ("arabic.txt", "\u200e12\u200f/5\u200f/2023، 9:04 م - أحمد: هل ستأتي الليلة؟\n12\u200f/5\u200f/2023، 9:05 م - سارة: بالطبع!\n", "whatsapp", ["هل ستأتي الليلة؟", "بالطبع!"]),
    ("arabic digits.txt", "١٢/٥/٢٠٢٣، ٩:٠٤ م - أحمد: هل ستأتي الليلة؟\n١٢/٥/٢٠٢٣، ٩:٠٥ م - سارة: بالطبع!\n", "whatsapp", ["هل ستأتي الليلة؟", "بالطبع!"]),
    ("chinese.txt", "[2023/5/12 下午9:04:11] 小明: \u200e消息和通话已进行端到端加密。\n[2023/5/12 下午9:04:12] 小明: 你今晚来吗？\n[2023/5/12 下午9:05:00] 小红: 当然！\n", "whatsapp", ["你今晚来吗？", "当然！"]),
    ("korean.txt", f"2023. 5. 12. 오후 9:04 - 민수: {HANGUL[0]}\n2023. 5. 12. 오후 9:05 - 지영: {HANGUL[1]}\n2023. 5. 12. 오후 9:06 - 민수: {HANGUL[2]}\n", "whatsapp", list(HANGUL)),
    ("german.txt", "12.05.23, 21:04 - Jörg: Kommst du?\n12.05.23, 21:05 - Anna: Ja\n12.05.23, 21:06 - Anna: Verpasster Sprachanruf\n", "whatsapp", ["Kommst du?", "Ja"]),
    ("signal.md", "[2023-05-12 21:04] Me: Are you coming?\n(- Ann: 👍 -)\n[2023-05-12 21:05] Ann: Sure\n![](media/x.jpg)\n\n[2023-05-12 21:06] Me: \n> Sure\n\nGreat  \n", "signal", SAID),
    ("film.ass", "[Script Info]\nTitle: x\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\nDialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,Where have you been,\\Nmy friend?\nDialogue: 0,0:00:03.00,0:00:04.50,Default,Ann,0,0,0,,{\\i1}At home, alone.{\\i0}\n", "subtitles", ["Where have you been, my friend?", "At home, alone."]),
    ("zoom.vtt", "WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.500\nAnn Lee: Are you coming?\n\n2\n00:00:03.000 --> 00:00:04.500\nBob: Sure\n\n3\n00:00:05.000 --> 00:00:06.500\nAnn Lee: Great\n", "subtitles", SAID),
    ("captions.vtt", "WEBVTT\nKind: captions\n\n00:00:00.000 --> 00:00:02.000 align:start\n \nhello<00:00:00.400><c> my</c><00:00:00.800><c> friends</c>\n\n00:00:02.000 --> 00:00:02.010\nhello my friends\n \n\n00:00:02.010 --> 00:00:04.000\nhello my friends\nWelcome<00:00:02.400><c> back</c>\n\n00:00:04.000 --> 00:00:04.010\nWelcome back\n", "subtitles", ["hello my friends", "Welcome back"]),
    ("chat.md", "## User\n\nAre you coming?\n\n## Assistant\n\nSure,\n\nor not.\n\n## User\n\nWell?\n\n## Assistant\n\nYes.\n", "labels", ["Are you coming?", "Sure, or not.", "Well?", "Yes."]),
    ("excel.csv", "sep=;\r\nFrage;Antwort\r\nWie geht es?;Gut, danke.\r\nWer bist du?;Ein Bot.\r\n", "delimited", ["Wie geht es?", "Gut, danke."]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "format", "first"), TEXTS, ids=[row[0] for row in TEXTS])
def test_exports_as_text(tmp_path: Path, name: str, content: str, format: str, first: list[str]) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read(tmp_path / name)[0] == format
    said, account = account_of(tmp_path / name, private=False)
    assert said[0] == first
    assert account.bad == 0
    assert len(said) <= 2, "a pause of days begins a new conversation"


def event(kind: str, who: str, minute: int, **content: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "sender": f"@{who}:x.org",
        "content": content,
        "origin_server_ts": 1683918240000 + 60000 * minute,
    }


def text(who: str, minute: int, body: str, **more: Any) -> dict[str, Any]:
    return event("m.room.message", who, minute, msgtype="m.text", body=body, **more)


MATRIX = {"room_name": "x", "messages": [
    event("m.room.member", "ann", 0, membership="join", displayname="Ann"), text("ann", 1, SAID[0]),
    text("bob", 2, "> <@ann:x.org> Are you coming?\n\nSure", **{"m.relates_to": {"m.in_reply_to": {"event_id": "$2"}}}),
    event("m.room.message", "bob", 3, msgtype="m.image", body="x.png"), event("m.reaction", "ann", 3), event("m.room.message", "ann", 3),
    text("ann", 4, SAID[2]),
]}  # fmt: skip


def skyped(who: str, minute: int, content: str, kind: str = "RichText", name: str | None = None) -> dict[str, Any]:
    return {
        "from": f"8:{who}",
        "displayName": name,
        "originalarrivaltime": f"2023-05-12T21:{minute:02}:00.123Z",
        "messagetype": kind,
        "content": content,
    }


SKYPE = {"userId": "8:ann", "conversations": [
    {"id": "8:bob", "displayName": "Bob", "threadProperties": None, "MessageList": [
        skyped("ann", 6, "<b>Great</b>"), skyped("bob", 5, '<quote author="ann"><legacyquote>[1] ann: </legacyquote>Are you coming?</quote>Sure', name="Bob"),
        skyped("ann", 4, "<partlist></partlist>", "Event/Call"), skyped("ann", 4, "Are you coming?")]},
    {"id": "8:carl", "MessageList": [skyped("carl", 2, "Hi"), skyped("ann", 1, "Hello")]},
]}  # fmt: skip


def node(parent: str | None, role: str, *parts: Any) -> dict[str, Any]:
    return {
        "parent": parent,
        "message": {"author": {"role": role}, "content": {"content_type": "text", "parts": list(parts)}},
    }


CHATGPT = [{"title": "x", "current_node": "d", "mapping": {
    "r": {"parent": None, "message": None}, "s": node("r", "system", ""), "a": node("s", "user", SAID[0]), "other": node("a", "assistant", "No"),
    "b": node("a", "assistant", SAID[1]), "t": node("b", "tool", "{}"), "c": node("t", "user", "Really?"), "d": node("c", "assistant", SAID[2]),
}}]  # fmt: skip
GOOGLE = {"messages": [
    {"creator": {"name": who, "email": f"{who}@x.org"}, "created_date": f"Friday, May 12, 2023 at 9:0{i}:00\u202fPM UTC", "topic_id": "t", **({"text": said} if said else {"attached_files": [{}]})}
    for i, (who, said) in enumerate([("Ann", SAID[0]), ("Bob", SAID[1]), ("Bob", ""), ("Ann", SAID[2])])
]}  # fmt: skip
TEAMS = {"value": [
    {"messageType": "message", "createdDateTime": f"2023-05-12T21:0{i}:00Z", "from": {"user": {"displayName": who}}, "body": {"contentType": "html", "content": f"<p>{said}</p>"}}
    for i, (who, said) in enumerate(zip(["Ann", "Bob", "Ann"], SAID, strict=True))
]}  # fmt: skip
SNAPCHAT = {"bob": [
    {"From": who, "Media Type": "TEXT", "Created": f"2023-05-12 21:0{i}:00 UTC", "Content": said}
    for i, (who, said) in reversed(list(enumerate(zip(["ann", "bob", "ann"], SAID, strict=True))))
]}  # fmt: skip
JSON: dict[str, tuple[Any, str, list[str]]] = {
    "matrix": (MATRIX, "matrix", SAID),
    "skype": (SKYPE, "skype", SAID),
    "chatgpt": (CHATGPT, "chatgpt", [*SAID[:2], "Really?", SAID[2]]),
    "google chat": (GOOGLE, "json", SAID),
    "teams": (TEAMS, "json", SAID),
    "snapchat": (SNAPCHAT, "json", SAID),
    "blended skill talk": (
        [{"personas": [["a"]], "dialog": [[i % 2, said] for i, said in enumerate(SAID)]}],
        "json",
        SAID,
    ),
    "columns of turns": ([{"dialog": {"speaker": ["A", "B", "A"], "text": SAID}}], "json", SAID),
    "coqa": (
        {
            "data": [
                {
                    "story": "x",
                    "questions": [{"input_text": "Who?"}, {"input_text": "Where?"}],
                    "answers": [{"input_text": "A cat."}, {"input_text": "Here."}],
                }
            ]
        },
        "json",
        ["Who?", "A cat.", "Where?", "Here."],
    ),
    "ultrachat": ([{"id": "0", "data": SAID}], "json", SAID),
}


@pytest.mark.parametrize("name", JSON)
def test_exports_as_json(tmp_path: Path, name: str) -> None:
    content, format, first = JSON[name]
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read(tmp_path / "a.json")[0] == format
    said, account = account_of(tmp_path / "a.json", private=False)
    assert said[0] == first
    assert account.bad == 0


@pytest.mark.parametrize("name", ["matrix", "skype", "chatgpt"])
def test_damaged_exports_as_json(tmp_path: Path, name: str) -> None:
    content, format, first = JSON[name]
    whole = json.dumps(content)
    (tmp_path / "a.json").write_text(whole[:-4])
    assert account_of(tmp_path / "a.json", private=False)[1].bad == 1
    odd = json.loads(whole)
    listed = (
        odd if name == "chatgpt" else odd["messages"] if name == "matrix" else odd["conversations"][0]["MessageList"]
    )
    listed.insert(0, 5)
    (tmp_path / "a.json").write_text(json.dumps(odd))
    said, account = account_of(tmp_path / "a.json", format=format, private=False)
    assert account.bad == 1
    assert first in [[turn for turn in talk if turn] for talk in said]


@pytest.mark.parametrize("name", ["discord.txt", "line.txt"])
def test_damaged_exports_as_text(tmp_path: Path, name: str) -> None:
    content = next(row[1] for row in TEXTS if row[0] == name)
    (tmp_path / name).write_text(content.replace("Sure", "Su\0re"))
    said, account = account_of(tmp_path / name, private=False)
    assert said[0] == [SAID[0], None, SAID[2]]
    assert account.bad == 1


def test_comments_of_reddit_are_put_in_order(tmp_path: Path) -> None:
    comments = [
        ("b", "t1_a", "No."),
        ("a", "t3_x", "Is it raining?"),
        ("c", "t1_b", "[deleted]"),
        ("d", "t1_b", "Good."),
    ]
    rows = [{"id": i, "parent_id": p, "link_id": "t3_x", "author": "u", "body": said} for i, p, said in comments]
    (tmp_path / "RC.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    format, found, _ = read(tmp_path / "RC.jsonl")
    assert format == "convokit"
    pairs = {
        pair for talk in found for pair in zip(talk.turns[talk.start :], talk.turns[talk.start + 1 :], strict=False)
    }
    assert pairs == {("Is it raining?", "No."), ("No.", None), ("No.", "Good.")}


def test_a_list_of_turns_that_is_newest_first_is_turned_round() -> None:
    turns = [{"sender": "ab"[i % 2], "text": f"{i}", "timestamp": i} for i in range(5)]
    for record in ({"messages": turns}, {"messages": turns[::-1]}):
        assert [found.turns for found in dialogues_of(record, Reading()) or ()] == [["0", "1", "2", "3", "4"]]


# what would be misread if it were taken for what it looks like
REFUSED = {
    "arrows.txt": ("How are you? => Fine.\nWho are you? => A bot.\nWhere? => Here.\n", "arrow between two texts"),
    "faq.md": ("# FAQ\n\n## How do I pay?\n\nBy card,\nor not.\n\n## Where are you?\n\nIn Paris.\n", "headings as Markdown"),
    "play.txt": ("HAMLET.\nTo be, or not to be.\nThat is it.\n\nOPHELIA.\nMy lord?\n\nHAMLET.\nGet thee to a nunnery.\n", "as a play has"),
    "screenplay.txt": ("INT. HOUSE - DAY\n\n        ANN\n    Where were you?\n\n        BOB\n      (tired)\n    At home.\n\n        ANN\n    Alone?\n", "as a play has"),
    "dashes.txt": ("Ann - Are you coming?\nBob - Sure\nAnn - Great\nBob - ok\n", "put a colon"),
    "speakers.tsv": ("Ann\tAre you coming?\nBob\tSure\nAnn\tGreat\nBob\tok\n", "--columns text=2,speaker=1"),
    "speakers.csv": ("Ann,Are you coming?\nBob,Sure\nAnn,Great\nBob,ok\n", "--columns text=2,speaker=1"),
    "counted.tsv": ("1\tHello there\n2\tHow are you\n3\tFine thanks\n4\tGood\n", "columns are not understood"),
    "transcript.txt": ("0:00\nAre you coming?\n0:04\nSure\n0:07\nGreat\n", "begin with a time"),
    "tokens.txt": ("Are you coming?<|endoftext|>\nSure<|endoftext|>\n", "marks of a language model"),
    "chatml.txt": ("<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n", "marks of a language model"),
    "llama.txt": ("<s>[INST] Hi? [/INST] Hi. </s>\n<s>[INST] You? [/INST] Me. </s>\n", "marks of a language model"),
    "numbers.txt": ("1. How are you?\nFine.\n2. Who are you?\nA bot.\n3. Where?\nHere.\n", "begin with a counter"),
    "labels.csv": ("text,label\nI love it,1\nI hate it,0\nIt is fine,1\n", "columns are not understood"),
    "viber.csv": ("12/05/2023,21:04:00,Ann,+447700900123,Are you coming?\n12/05/2023,21:05:00,Bob,+491701234567,Sure\n", "--columns text=5,speaker=3"),
    "film.sub": ("{1}{50}Where have you been,|my friend?\n{75}{110}- At home.\n", "MicroDVD"),
    "direct-messages.js": ("window.YTD.direct_messages.part0 = [{}]", "JavaScript"),
    "tree.jsonl": ('{"text": "a", "author": "x", "parent_id": null}\n{"text": "b", "author": "y", "parent_id": 1}\n', "reply to each other by ids"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_misread_is_refused(tmp_path: Path, name: str) -> None:
    content, says = REFUSED[name]
    (tmp_path / name).write_text(content)
    with pytest.raises(ChatbotError, match=says):
        read(tmp_path / name)


def test_a_column_of_names_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(REFUSED["speakers.tsv"][0])
    assert [talk.turns for talk in read_with(tmp_path / "a.tsv", "text=2,speaker=1")[1]] == [[*SAID, "ok"]]
    assert len(read_with(tmp_path / "a.tsv", "prompt=1,reply=2")[1]) == 4


def test_columns_of_a_table_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "viber.csv").write_text(REFUSED["viber.csv"][0] + "12/05/2023,21:06:00,Ann,+447700900123,Great\n")
    asked = "text=5,speaker=3,time=1"
    _, found, _ = read_with(tmp_path / "viber.csv", asked)
    assert [talk.turns for talk in found] == [SAID]


def read_with(path: Path, columns: str) -> Any:
    from test_formats import input_files, recognise

    from chatbot.config.settings import CorpusConfig
    from chatbot.corpus.formats.recognise import dialogues

    format, files = recognise(input_files(path)[0], "auto", str(path), columns)
    account = Reading(config=CorpusConfig(columns=columns))
    return format, list(dialogues(format, files, account)), account


PAGE = (Path(__file__).parent.parent / "docs" / "formats.md").read_text(encoding="utf-8")
SHOWN = re.findall(
    r"^### (\w+)\n(?:(?!^##).*\n)*?<!-- file: (.*?) -->\n\n((?:    .*\n|\n(?=    ))+)", PAGE, re.MULTILINE
)


def test_every_export_has_an_example_on_the_page() -> None:
    assert {name for name, _, _ in SHOWN} == EXPORTS - {"whatsapp"}


@pytest.mark.parametrize(("format", "name", "block"), SHOWN, ids=[name for name, _, _ in SHOWN])
def test_the_examples_of_the_page_are_read(tmp_path: Path, format: str, name: str, block: str) -> None:
    content = re.sub(r"^    ", "", block, flags=re.MULTILINE)
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read(tmp_path / name)[0] == format
    said, account = account_of(tmp_path / name)
    assert [len(talk) for talk in said] == [2]
    assert account.bad == 0


@pytest.mark.parametrize("format_name", ["skype", "matrix", "telegram", "chatgpt", "messenger", "discord", "slack"])
@pytest.mark.parametrize("value", ["42", "[]", "{}", "null", '"a"', "[[]]", '[{"messages": 1}]'])
def test_json_of_another_shape_gives_nothing(tmp_path: Path, format_name: str, value: str) -> None:
    (tmp_path / "a.json").write_text(value)
    with contextlib.suppress(ChatbotError):
        assert read(tmp_path / "a.json", format_name)[1] == []


def test_a_message_of_spaces_alone_is_none(tmp_path: Path) -> None:
    said = ["Ann: Are you coming?", "Bob: \u00a0", "Bob: \u3000\t", "Bob: Sure", "Ann: Great"]
    (tmp_path / "chat.txt").write_text("".join(f"31/12/2023, 23:5{i} - {line}\n" for i, line in enumerate(said)))
    assert read(tmp_path / "chat.txt", "whatsapp")[1][0].turns == SAID


def test_a_number_of_any_length_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("".join(f"{'9' * 5000}\tline {i}\n" for i in range(5)))
    assert len(read(tmp_path / "a.tsv")[1]) == 5
