"""Discord, Slack, YAML, parallel files, ParlAI's formats and Parquet; and nothing of a list of files is misread."""

# ruff: noqa: E501
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_chats import ANDROID, IOS, IRC, MESSENGER, SRT, TELEGRAM
from test_formats import complaints, read, turns
from test_records import PAIRS, RECORDS, learnt

from chatbot.config.settings import CorpusConfig
from chatbot.corpus.formats import slack as slack_export
from chatbot.corpus.formats.yaml_file import _built
from chatbot.corpus.preparation import prepare
from chatbot.system.errors import ChatbotError

DISCORD = {
    "guild": {"id": "1", "name": "g"},
    "channel": {"id": "2", "type": "GuildTextChat", "name": "general"},
    "dateRange": {"after": None},
    "messages": [
        {"id": str(i), "type": kind, "timestamp": f"2024-01-01T10:0{i}:00.123+00:00", "content": text,
         "author": {"id": name, "name": name, "nickname": name.title(), "isBot": name == "robo"}, "attachments": []}
        for i, (name, kind, text) in enumerate(
            [("ann", "Default", "Hi @Bob, you there?"), ("robo", "Default", "!rank"), ("bob", "Reply", "Yes <:smile:123>"),
             ("bob", "Default", ""), ("ann", "GuildMemberJoin", "Joined the server."), ("ann", "Default", "Good.")])
    ],
    "messageCount": 6,
}  # fmt: skip


def test_discord(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(DISCORD, indent=1))
    format, found, account = read(tmp_path / "a.json")
    assert format == "discord"
    assert [talk.turns for talk in found] == [["Hi, you there?", "Yes :smile:", "Good."]]
    assert account.left_out == {"messages of bots": 1, "media": 1, "lines of the program's own": 1, "names": 1}
    assert account.speakers == {"Ann": 2, "Bob": 1}


def test_a_damaged_discord_export(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(DISCORD).replace('"content": "Yes <:smile:123>"', '"content": 7')[:-30])
    account = read(tmp_path / "a.json")[2]
    assert sorted(account.reasons) == ["JSON that breaks off", "a message without an author or content"]


def slack(*said: tuple[str, str, str], thread: str = "", **more: Any) -> list[dict[str, Any]]:
    return [
        {"type": "message", "user": user, "ts": ts, "text": text, **({"thread_ts": thread} if thread else {}), **more}
        for user, ts, text in said
    ]


DAY = [
    *slack(("U1", "1700000000.000100", "Hi &amp; hello <@U2>!")),
    *slack(("U2", "1700000001.000100", "has joined"), subtype="channel_join"),
    *slack(("U2", "1700000060.000100", "See <https://x.org|this page>"), thread="1700000060.000100"),
    *slack(("U1", "1700000120.000100", "Fine.")),
    *slack(
        ("U1", "1700000180.000100", "Which page?"), ("U2", "1700000190.000100", "That one."), thread="1700000060.000100"
    ),
]
USERS = [{"id": "U1", "name": "ann", "profile": {"real_name": "Ann Lee"}}, {"id": "U2", "name": "bob", "profile": {}}]


@pytest.mark.parametrize("packing", ["day", "folder", "zip"])
def test_slack(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "general" / "2023-11-14.json"
    path.parent.mkdir()
    path.write_text(json.dumps(DAY))
    (tmp_path / "users.json").write_text(json.dumps(USERS))
    (tmp_path / "channels.json").write_text(
        json.dumps([{"id": "C1", "name": "general", "members": ["U1", "U2"], "topic": {"value": "x"}}])
    )
    if packing == "folder":
        path = tmp_path
    elif packing == "zip":
        with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
            for file in sorted(tmp_path.rglob("*.json")):
                archive.write(file, file.relative_to(tmp_path))
        path = tmp_path / "export.zip"
    format, found, account = read(path)
    assert format == "slack"
    assert [talk.turns for talk in found] == [
        ["Hi & hello!", "See this page", "Fine."],
        ["See this page", "Which page?", "That one."],
    ]
    assert account.speakers == {"Ann Lee": 3, "bob": 3}
    assert account.left_out == {"messages of bots and of the program": 1, "names": 1}


def test_the_users_of_slack_are_read_once_for_all_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "general").mkdir()
    for day in range(1, 6):
        (tmp_path / "general" / f"2023-11-{day:02}.json").write_text(json.dumps(DAY))
    (tmp_path / "users.json").write_text(json.dumps(USERS))
    opened: list[str] = []
    original = slack_export.values
    monkeypatch.setattr(slack_export, "values", lambda file, *more: opened.append(file.base) or original(file, *more))
    account = read(tmp_path)[2]
    assert account.speakers == {"Ann Lee": 15, "bob": 15}
    assert opened.count("users.json") == 1


def test_a_damaged_slack_export(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([*DAY[:1], {"type": "message", "text": 5, "ts": "1"}, *DAY[2:]]))
    assert complaints(read(tmp_path / "a.json")[2]) == [("a.json", 0, "no message with a text: number 1")]


CHATTERBOT = """\
categories:
- greetings
conversations:
- - Hello
  - Hi
  - "How are you: well?"
- - Is it true?
  - Yes
"""


@pytest.mark.parametrize("name", ["greetings.yml", "a.txt"])
def test_chatterbots_yaml(tmp_path: Path, name: str) -> None:
    pytest.importorskip("yaml")
    (tmp_path / name).write_text(CHATTERBOT)
    format, found, account = read(tmp_path / name)
    assert (format, account.bad) == ("yaml", 0)
    assert [talk.turns for talk in found] == [["Hello", "Hi", "How are you: well?"], ["Is it true?", "Yes"]]


def test_aliases_of_yaml_are_followed_but_not_without_end(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "a.yml").write_text("conversations:\n- &a [Hello, Hi]\n- *a\n")
    assert turns(tmp_path / "a.yml") == [["Hello", "Hi"]] * 2
    for laughs in (
        "- &a0 [lol, lol]\n" + "".join(f"- &a{i + 1} [*a{i}, *a{i}]\n" for i in range(60)),
        "- &a [*a, x]\n",
        f"- [&a {'long ' * 2000}, Hi, {'*a, ' * 2000}Hi]\n",
    ):
        (tmp_path / "a.yml").write_text(f"conversations:\n{laughs}")
        with pytest.raises(ChatbotError, match=r"a bomb|recursive"):
            read(tmp_path / "a.yml")


NESTED = st.recursive(st.text(), lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside), max_leaves=20)


@given(value=NESTED, repeats=st.booleans())
def test_yaml_is_what_pyyaml_reads(value: Any, repeats: bool) -> None:
    yaml = pytest.importorskip("yaml")
    text = yaml.safe_dump([value, value] if repeats else value)  # what stands there twice becomes an alias
    for loader in {yaml.BaseLoader, getattr(yaml, "CBaseLoader", yaml.BaseLoader)}:
        assert _built(yaml.parse(text, loader), 10**6) == yaml.load(text, yaml.BaseLoader)


def test_the_last_of_two_anchors_counts() -> None:
    yaml = pytest.importorskip("yaml")
    assert _built(yaml.parse("- &x [a]\n- &x [b]\n- *x\n", yaml.BaseLoader), 100) == [["a"], ["b"], ["b"]]


@pytest.mark.parametrize("depth", [3, 300, 3000])
def test_deep_yaml_and_deep_records_are_no_dialogue(tmp_path: Path, depth: int) -> None:
    pytest.importorskip("yaml")
    deep = '{"text": ' * depth + '"a"' + "}" * depth
    (tmp_path / "a.yml").write_text(
        f"conversations:\n- [Hello, Hi]\n- [{deep}, {deep}]\n" if depth == 3 else f"- {deep}\n"
    )
    (tmp_path / "a.jsonl").write_text(
        '{"prompt": "Hello", "reply": "Hi"}\n' + f'{{"prompt": {deep}, "reply": {deep}}}\n'
    )
    if depth == 3:
        assert turns(tmp_path / "a.yml")[0] == ["Hello", "Hi"]
        assert turns(tmp_path / "a.jsonl") == [["Hello", "Hi"], ["a", "a"]]
    else:
        with pytest.raises(ChatbotError, match="YAML"):
            read(tmp_path / "a.yml")
        _, found, account = read(tmp_path / "a.jsonl")
        assert [talk.turns for talk in found] == [["Hello", "Hi"]]
        assert account.bad


@pytest.mark.parametrize("text", ["", "a: &x b\nc: *x\n", "*x\n", "a: 1\n---\nb: 2\n", "? [a]\n: b\n"])
def test_yaml_that_pyyaml_refuses_is_refused(text: str) -> None:
    yaml = pytest.importorskip("yaml")
    try:
        expected = yaml.load(text, yaml.BaseLoader)
    except yaml.YAMLError:
        with pytest.raises(yaml.YAMLError):
            _built(yaml.parse(text, yaml.BaseLoader), 10**6)
    else:
        assert _built(yaml.parse(text, yaml.BaseLoader), 10**6) == expected


def test_damaged_yaml_and_yaml_that_asks_for_objects(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "a.yml").write_text(CHATTERBOT + '- - "never closed\n')
    with pytest.raises(ChatbotError, match=r"a\.yml:\d+: no YAML"):
        read(tmp_path / "a.yml")
    (tmp_path / "a.yml").write_text(
        CHATTERBOT.replace("- Yes", "- !!python/object/apply:os.system ['exit']") + "- alone\n"
    )
    _, found, account = read(tmp_path / "a.yml")
    assert [talk.turns for talk in found] == [["Hello", "Hi", "How are you: well?"]]
    assert len(account.examples) == 2
    (tmp_path / "a.yml").write_text("a: b\nc: d\n")
    with pytest.raises(ChatbotError, match="YAML without conversations"):
        read(tmp_path / "a.yml")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("train.enc", "train.dec"),
        ("train.src", "train.tgt"),
        ("questions.txt", "answers.txt"),
        ("a.from", "a.to"),
        ("d_prompts.txt", "d_responses.txt"),
    ],
)
def test_parallel_files(tmp_path: Path, first: str, second: str) -> None:
    (tmp_path / first).write_text("".join(f"{q}\n" for q, _ in PAIRS))
    (tmp_path / second).write_text("".join(f"{a}\n" for _, a in PAIRS))
    (tmp_path / "README.md").write_text("about it")
    for path in (tmp_path, tmp_path / first, tmp_path / second):
        assert read(path)[0] == "parallel"
        assert learnt(path) == PAIRS


def test_several_parallel_files_and_files_of_other_lengths(tmp_path: Path) -> None:
    for name in ("train", "valid"):
        (tmp_path / f"{name}.enc").write_text("a\nb\n")
        (tmp_path / f"{name}.dec").write_text("c\nd\n")
    assert learnt(tmp_path) == [("a", "c"), ("b", "d")] * 2
    (tmp_path / "valid.dec").write_text("c\n")
    with pytest.raises(ChatbotError, match=r"valid\.enc has a line 2, and .*valid\.dec ends before it"):
        read(tmp_path)


def test_names_that_may_mean_anything_are_parallel_only_where_the_lines_are_as_many(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Hello?\nHi.\nHow are you?\nFine.\n")
    (tmp_path / "q.txt").write_text("Is it raining?\nNot any more.\n")
    assert read(tmp_path / "a.txt")[0] == "log"
    assert turns(tmp_path) == [["Hello?", "Hi.", "How are you?", "Fine."], ["Is it raining?", "Not any more."]]
    (tmp_path / "q.txt").write_text("".join(f"{q}\n" for q, _ in PAIRS))
    (tmp_path / "a.txt").write_text("".join(f"{a}\n" for _, a in PAIRS))
    assert learnt(tmp_path) == PAIRS
    (tmp_path / "q.txt").write_text("".join(f"{q}\t{a}\n" for q, a in PAIRS))
    (tmp_path / "a.txt").write_text("".join(f"{q}\t{a}\n" for q, a in PAIRS))
    assert read(tmp_path)[0] == "delimited"


def test_two_files_are_named_with_a_comma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.txt").write_text("Hello?\nHow are you?\n")
    Path("two.txt").write_text("Hi.\nFine.\n")
    Path("c.tsv").write_text("Who?\tMe.\n")
    corpus = CorpusConfig(corpus="one.txt,two.txt+c.tsv*2", min_count=1, split=(1.0, 0.0, 0.0))
    figures = prepare(corpus, tmp_path / "data").figures
    assert [(source["name"], source["format_read"], source["pairs_read"]) for source in figures["sources"]] == [
        ("one", "parallel", 2),
        ("c", "delimited", 1),
    ]


PARLAI = "text:your persona: i run.\\nHello?\tlabels:Hi.|Hey.\ntext:How are you?\tlabels:Fine.\tepisode_done:True\ntext:Bye.\tlabels:See you.\tepisode_done:True\n"
PERSONACHAT = "1 your persona: i run.\n2 Hello?\tHi.\t\tno|Hi.\n3 How are you?\tFine.\t\tno|Fine.\n1 your persona: i swim.\n2 partner's persona: i eat.\n3 Bye.\tSee you.\n"
EPISODES = [["Hello?", "Hi.", "How are you?", "Fine."], ["Bye.", "See you."]]


@pytest.mark.parametrize("content", [PARLAI, PERSONACHAT])
def test_parlais_formats(tmp_path: Path, content: str) -> None:
    (tmp_path / "train.txt").write_text(content)
    format, found, account = read(tmp_path / "train.txt")
    assert (format, account.bad) == ("parlai", 0)
    assert [talk.turns for talk in found] == EPISODES


@pytest.mark.parametrize("content", [PARLAI, PERSONACHAT])
def test_damaged_parlai(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.txt").write_text(content.replace("How are", "How \0are") + "odd\n" + content)
    _, found, account = read(tmp_path / "a.txt")
    assert found[0].turns[:3] == ["Hello?", "Hi.", None]
    assert account.bad == 2


@pytest.mark.parametrize("name", ["openai", "sharegpt", "alpaca", "questions and answers", "turns"])
def test_parquet(tmp_path: Path, name: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    records = [
        {key: value for key, value in record.items() if key != "x"}
        for record in RECORDS["openai of several turns" if name == "openai" else name]
    ]
    parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "train.parquet")
    assert read(tmp_path / "train.parquet")[0] == "parquet"
    assert learnt(tmp_path / "train.parquet") == PAIRS
    whole = (tmp_path / "train.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ChatbotError, match=r"cut\.parquet is damaged behind row 0"):
        read(tmp_path / "cut.parquet")


HI = [["Hello?", "Hi.", "How are you?", "Fine."]]
# what version 0.2 misread in silence or refused: name, content, the format that it is now, and the first dialogue
MISREAD: list[tuple[str, str, str, list[str]]] = [
    (
        "WhatsApp, Android",
        ANDROID,
        "whatsapp",
        ["Are you coming tonight?", "Sure. I'll bring wine and some cheese: a lot"],
    ),
    ("WhatsApp, iOS", IOS, "whatsapp", ["Are you coming tonight?", "Sure. I'll bring wine and some cheese: a lot"]),
    ("message_1.json", MESSENGER, "messenger", ["Hello", "Where are you?", "At the café. Come!"]),
    ("a.srt", SRT, "subtitles", ["Where have you been, my friend?", "At home."]),
    ("irc.log", IRC, "irc", ["hello everyone", "hello, how are you?"]),
    ("a.yml", CHATTERBOT, "yaml", ["Hello", "Hi"]),
    ("user and bot", "User: Hello?\nBot: Hi.\n", "labels", ["Hello?", "Hi."]),
    ("q and a", "Q: Hello?\nA: Hi.\n", "labels", ["Hello?", "Hi."]),
    ("a.csv", "id,pattern,response\n1,Hello?,Hi.\n2,You?,Fine.\n", "delimited", ["Hello?", "Hi."]),
    (
        "emotions.csv",
        "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags\nh:0,1,sad,I am,1,Well_comma_ hello?,5,\nh:0,2,sad,I am,2,Hi.,5,\n",
        "delimited",
        ["Well, hello?", "Hi."],
    ),
    (
        "discord.csv",
        "AuthorID,Author,Date,Content,Attachments,Reactions\n1,a,2024-01-01T10:00:00,Hello?,,\n2,b,2024-01-01T10:01:00,Hi.,,\n",
        "delimited",
        ["Hello?", "Hi."],
    ),
    ("result.json", TELEGRAM, "telegram", ["Hi. Look at this one.", "Nice."]),
    ("slack.json", json.dumps(DAY), "slack", ["Hi & hello!", "See this page"]),
    ("sharegpt.json", json.dumps(RECORDS["sharegpt"]), "json", ["Hello?", "Hi."]),
    ("alpaca.json", json.dumps(RECORDS["alpaca"]), "json", ["Hello?", "Hi."]),
    ("list.json", json.dumps(RECORDS["questions and answers"]), "json", ["Hello?", "Hi."]),
    ("object.json", json.dumps({"Hello?": "Hi.", "You?": "Fine."}), "json", ["Hello?", "Hi."]),
    ("intents.json", json.dumps({"intents": RECORDS["intents"]}), "json", ["Hello?", "Hi."]),
    ("parlai.txt", PARLAI, "parlai", ["Hello?", "Hi."]),
    ("personachat.txt", PERSONACHAT, "parlai", ["Hello?", "Hi."]),
    (
        "topical.json",
        json.dumps(
            {"t_1": {"content": [{"message": "Hello?", "agent": "agent_1"}, {"message": "Hi.", "agent": "agent_2"}]}}
        ),
        "json",
        ["Hello?", "Hi."],
    ),
]


@pytest.mark.parametrize(("name", "content", "format", "said"), MISREAD, ids=[name for name, *_ in MISREAD])
def test_nothing_of_the_list_is_misread(tmp_path: Path, name: str, content: str, format: str, said: list[str]) -> None:
    path = tmp_path / (name if "." in name else "chat.txt")
    path.write_text(content, encoding="utf-8")
    assert read(path)[0] == format
    assert turns(path)[0][: len(said)] == said


def test_every_part_of_a_mixture_is_read_as_what_it_is_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "chat.txt").write_text(ANDROID, encoding="utf-8")
    (tmp_path / "faq.csv").write_text("n,Frage,Antwort\n1,Hello?,Hi.\n2,You?,Fine.\n")
    (tmp_path / "pairs.tsv").write_text("Who?\tMe.\n")
    spec = "+".join(str(tmp_path / name) for name in ("chat.txt", "faq.csv*2", "pairs.tsv"))
    corpus = CorpusConfig(
        corpus=spec, me="Bob", columns="prompt=frage,reply=antwort", min_count=1, split=(1.0, 0.0, 0.0)
    )
    sources = prepare(corpus, tmp_path / "data").figures["sources"]
    assert [(source["format_read"], source["pairs_read"]) for source in sources] == [
        ("whatsapp", 3),
        ("delimited", 2),
        ("delimited", 1),
    ]
    assert sources[0]["understood"]["speakers"] == {"Bob": 5, "Ann Lee": 3, "Carl": 1}
    assert list(sources[1]["understood"]["layouts"]) == ["columns: prompt 'Frage', reply 'Antwort'; between commas"]
    with pytest.raises(ChatbotError, match=r"chat\.txt: --me 'Zoe' is nobody's name"):
        prepare(CorpusConfig(corpus=spec, me="Zoe", columns=corpus.columns), tmp_path / "data")
