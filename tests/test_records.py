"""JSON and tables of every usual layout: the right pairs of the right columns, or a refusal that says what to do."""

# ruff: noqa: E501
import json
from pathlib import Path
from typing import Any

import pytest
from test_formats import complaints, read

from chatbot.config.settings import CorpusConfig
from chatbot.corpus import json_stream
from chatbot.system.errors import ChatbotError

PAIRS = [("Hello?", "Hi."), ("How are you?", "Fine.")]


def learnt(path: Path, format: str = "auto", **asked: Any) -> list[tuple[str | None, str | None]]:
    """Each pair that is learnt."""
    return [
        (talk.turns[i], talk.turns[i + 1])
        for talk in read(path, format, config=CorpusConfig(**asked))[1]
        for i in range(talk.start, len(talk.turns) - 1)
        if talk.answers is None or talk.answers[i + 1]
    ]


def chat(*said: str, role: str = "role", text: str = "content", names: tuple[str, str] = ("user", "assistant")) -> Any:
    return [{role: names[i % 2], text: words} for i, words in enumerate(said)]


SYSTEM = {"role": "system", "content": "Be kind."}
PARTS = {"role": "user", "content": [{"type": "text", "text": "How are you?"}, {"type": "image_url", "image_url": "x"}]}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
RECORDS: dict[str, list[Any]] = {
    "openai": [
        {"messages": [SYSTEM, *chat(*PAIRS[0])]},
        {"messages": [PARTS, CALL, {"role": "tool", "content": "7"}, {"role": "assistant", "content": "Fine."}]},
    ],
    "openai of several turns": [{"messages": chat("Hello?", "Hi.", "How are you?", "Fine.")}],
    "sharegpt": [
        {"id": f"x{i}", "conversations": chat(*pair, role="from", text="value", names=("human", "gpt"))}
        for i, pair in enumerate(PAIRS)
    ],
    "alpaca": [
        {"instruction": "Hello?", "input": "", "output": "Hi."},
        {"instruction": "How are you?", "output": "Fine."},
    ],
    "questions and answers": [{"id": i, "question": q, "answer": a} for i, (q, a) in enumerate(PAIRS)],
    "capitals": [{"Question": q, "Answer": a} for q, a in PAIRS],
    "dolly": [{"instruction": q, "context": "", "response": a, "category": "x"} for q, a in PAIRS],
    "a list of two": [list(pair) for pair in PAIRS],
    "turns": [{"turns": list(pair)} for pair in PAIRS],
    "a task": [
        {"dialogue_id": str(i), "turns": chat(*pair, role="speaker", text="utterance", names=("USER", "SYSTEM"))}
        for i, pair in enumerate(PAIRS)
    ],
    "hh": [{"chosen": f"\n\nHuman: {q}\n\nAssistant: {a}", "rejected": f"\n\nHuman: {q}\n\nAssistant: No."} for q, a in PAIRS],
    "guanaco": [{"text": f"### Human: {q}\n### Assistant: {a}"} for q, a in PAIRS],
    "history": [{"history": ["Before.", q], "response": a} for q, a in PAIRS],
    "candidates": [{"history": ["Before.", q], "candidates": ["No.", a]} for q, a in PAIRS],
    "personachat": [
        {"personality": ["i run ."], "utterances": [{"candidates": ["no", "?"], "history": [q]}, {"candidates": ["no", a], "history": [q]}]}
        for q, a in PAIRS
    ],
    "intents": [
        {"tag": "hello", "patterns": ["Hello?"], "responses": ["Hi."], "context": [""]},
        {"tag": "you", "patterns": ["How are you?"], "responses": ["Fine."]},
    ],
}  # fmt: skip
WRAPPED = {
    "array": lambda records: records,
    "data": lambda records: {"version": "1.0", "data": records},
    "intents": lambda records: {"intents": records},
    "train": lambda records: {"train": records[:1], "valid": records[1:]},
    "by id": lambda records: {f"id{i}": record for i, record in enumerate(records)},
}


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("way", ["lines", *WRAPPED])
def test_records_of_every_layout(tmp_path: Path, name: str, way: str) -> None:
    records = RECORDS[name]
    if way == "lines":
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        assert learnt(tmp_path / "a.jsonl") == PAIRS
        return
    for indent in (None, 1):
        (tmp_path / "a.json").write_text(json.dumps(WRAPPED[way](records), indent=indent))
        format, _, account = read(tmp_path / "a.json")
        assert (format, account.bad) == ("json", 0)
        assert learnt(tmp_path / "a.json") == PAIRS


def test_a_pattern_is_answered_by_every_response(tmp_path: Path) -> None:
    intents = {"intents": [{"tag": "a", "patterns": ["Hi", "Hello"], "responses": ["Hey.", "Good day."]}]}
    (tmp_path / "intents.json").write_text(json.dumps(intents))
    assert learnt(tmp_path / "intents.json") == [(q, a) for q in ("Hi", "Hello") for a in ("Hey.", "Good day.")]


@pytest.mark.parametrize("answers", [["Hi.", "Fine."], [["Hi."], ["Fine."]]])
def test_an_object_of_questions_and_answers(tmp_path: Path, answers: list[Any]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(dict(zip([q for q, _ in PAIRS], answers, strict=True))))
    assert read(tmp_path / "a.json")[0] == "json"
    assert learnt(tmp_path / "a.json") == PAIRS


@pytest.mark.parametrize("way", ["array", "messages", "lines"])
def test_an_array_of_messages(tmp_path: Path, way: str) -> None:
    said = [("Ann", "Hello?"), ("Bob", "Hi"), ("Bob", "You?"), ("Ann", "Fine."), ("Bob", "Next day."), ("Ann", "Yes.")]
    messages = [
        {"sender": name, "body": text, "date": f"2024-01-0{1 + (i > 3)}T10:0{i}:00Z"}
        for i, (name, text) in enumerate(said)
    ]
    content = "\n".join(map(json.dumps, messages)) if way == "lines" else json.dumps(
        messages if way == "array" else {"title": "x", "messages": messages}
    )  # fmt: skip
    (tmp_path / "a.json").write_text(content)
    _, found, account = read(tmp_path / "a.json")
    assert [talk.turns for talk in found] == [["Hello?", "Hi. You?", "Fine."], ["Next day.", "Yes."]]
    assert account.speakers == {"Ann": 3, "Bob": 3}
    assert learnt(tmp_path / "a.json", me="bob") == [("Hello?", "Hi. You?")]


def test_an_array_of_texts_is_a_dialogue(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(["Hello?", "Hi.", "How are you?"]))
    assert learnt(tmp_path / "a.json") == [("Hello?", "Hi."), ("Hi.", "How are you?")]


def test_topical_chat(tmp_path: Path) -> None:
    talk = {
        "config": "C",
        "content": [
            {"message": text, "agent": f"agent_{i % 2}", "turn_rating": "Good"} for i, text in enumerate("abc")
        ],
    }
    (tmp_path / "train.json").write_text(json.dumps({"t_1": talk, "t_2": talk}))
    assert learnt(tmp_path / "train.json") == [("a", "b"), ("b", "c")] * 2


def test_keys_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"Input": "no", "Ask": q, "Say": a} for q, a in PAIRS]))
    assert learnt(tmp_path / "a.json", columns="prompt=ask,reply=say", format="json") == PAIRS


def test_openassistants_messages_are_a_tree(tmp_path: Path) -> None:
    rows = [("1", None, "Hello?"), ("2", "1", "Hi."), ("3", "1", "Hey.")]
    lines = [
        json.dumps({"message_id": i, "parent_id": p, "text": t, "role": "x", "message_tree_id": "1"})
        for i, p, t in rows
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert learnt(tmp_path / "a.jsonl") == [("Hello?", "Hi."), ("Hello?", "Hey.")]


def test_damaged_json(tmp_path: Path) -> None:
    whole = json.dumps(
        [{"prompt": "a", "reply": "b"}] * 3 + [{"prompt": "a"}, 7, "x"] + [{"prompt": "c", "reply": "d"}], indent=1
    )
    (tmp_path / "a.json").write_text(whole)
    _, found, account = read(tmp_path / "a.json")
    wrong = "neither a prompt and a reply nor two or more turns of text: at "
    assert len(found) == 4
    assert complaints(account) == [("a.json", 0, wrong + place) for place in "345"]
    (tmp_path / "a.json").write_text(whole[:-20])
    assert complaints(read(tmp_path / "a.json")[2])[-1] == ("a.json", 19, "JSON that breaks off")
    odd = {"turns": [{"candidates": ["x"], "history": 5}, {"candidates": ["x"], "history": "abc"}]}
    (tmp_path / "b.jsonl").write_text(f'{{"prompt": "a", "reply": "b"}}\n{json.dumps(odd)}\n')
    assert learnt(tmp_path / "b.jsonl") == [("a", "b")]
    (tmp_path / "c.jsonl").write_text(
        '{"name": "A", "text": "Hi", "ts": "²"}\n{"name": "B", "text": "Yo", "ts": "1.²"}\n'
    )
    assert learnt(tmp_path / "c.jsonl") == [("Hi", "Yo")]
    for broken in (whole.replace('"reply": "b"\n },', '"reply": "b"\n }', 1), whole + "x", whole.replace("7", "seven")):
        (tmp_path / "a.json").write_text(broken)
        with pytest.raises(ChatbotError, match=r"a\.json:\d+: malformed JSON"):
            read(tmp_path / "a.json")


@pytest.mark.parametrize("chunk", [1 << 20, 7])
def test_json_is_read_piece_by_piece(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    (tmp_path / "a.json").write_text(json.dumps([{"q": f"é{i}", "a": str(i)} for i in range(300)], ensure_ascii=False))
    assert learnt(tmp_path / "a.json") == [(f"é{i}", str(i)) for i in range(300)]


def test_a_value_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_VALUE", 1 << 10)
    monkeypatch.setattr(json_stream, "CHUNK", 1 << 8)
    (tmp_path / "a.json").write_text('[{"q": "a", "a": "b"}, {"q": "' + "x" * (1 << 14) + '", "a": "b"}]')
    with pytest.raises(ChatbotError, match="malformed JSON"):
        read(tmp_path / "a.json", "json")


@pytest.mark.parametrize("content", ['{"a": 1}', "[1, 2, 3]", '{"name": "x", "list": []}', '{"a": {"b": {"c": "d"}}}'])
def test_json_without_a_dialogue_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ChatbotError, match="only JSON in which no prompt with a reply and no turns are found"):
        read(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("name", "header", "order"),
    [
        ("a.csv", "id,pattern,response", "nqa"),
        ("a.csv", "Number,Question,Answer", "nqa"),
        ("a.txt", "id,question,answer", "nqa"),
        ("a.csv", "context,question,answer", "nqa"),
        ("a.csv", "question_id,question_text,answer_text", "nqa"),
        ("a.csv", "response,user message,date", "aqn"),
        ("a.tsv", "input\toutput\tscore", "qan"),
        ("a.csv", "utterance;reply;time", "qan"),
    ],
)
def test_the_columns_that_a_header_names(tmp_path: Path, name: str, header: str, order: str) -> None:
    separator = next(mark for mark in "\t;," if mark in header)
    rows = [{"n": str(i), "q": q, "a": a} for i, (q, a) in enumerate(PAIRS)]
    lines = [header, *(separator.join(row[part] for part in order) for row in rows)]
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    assert learnt(tmp_path / name) == PAIRS


def test_alpacas_input_belongs_to_its_instruction(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("instruction,input,output\nHello,Ann?,Hi.\nHow are you?,,Fine.\n")
    assert learnt(tmp_path / "a.csv") == [("Hello\nAnn?", "Hi."), ("How are you?", "Fine.")]
    record = {"instruction": "Hello", "input": "Ann?", "output": "Hi."}
    (tmp_path / "a.json").write_text(json.dumps([record, record]))
    assert learnt(tmp_path / "a.json") == [("Hello\nAnn?", "Hi.")] * 2


@pytest.mark.parametrize("columns", ["prompt=2,reply=3", " reply = 3 ,prompt=2"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.data"])
def test_columns_by_number(tmp_path: Path, columns: str, name: str) -> None:
    mark = {"a.csv": ",", "a.tsv": "\t", "a.txt": "|", "a.data": ";"}[name]
    (tmp_path / name).write_text("".join(mark.join((str(i), q, a, "x")) + "\n" for i, (q, a) in enumerate(PAIRS)))
    found, _, account = _asked(tmp_path / name, columns)
    assert found == PAIRS
    assert account.bad == 0


def _asked(path: Path, columns: str) -> tuple[list[tuple[Any, Any]], str, Any]:
    from chatbot.corpus.formats.recognise import dialogues, recognise
    from chatbot.corpus.inputs import input_files
    from chatbot.corpus.reading import Reading

    format, files = recognise(input_files(path)[0], "auto", str(path), columns)
    account = Reading(config=CorpusConfig(columns=columns))
    return [tuple(talk.turns) for talk in dialogues(format, files, account)], format, account


def test_columns_by_name_and_columns_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,Frage,Antwort\n" + "".join(f"{i},{q},{a}\n" for i, (q, a) in enumerate(PAIRS)))
    assert _asked(tmp_path / "a.csv", "prompt=Frage,reply=antwort")[0] == PAIRS
    with pytest.raises(ChatbotError, match=r"a\.csv: --columns reply='Antwurt': there are n, Frage, Antwort"):
        _asked(tmp_path / "a.csv", "prompt=Frage,reply=Antwurt")
    for number in ("²", "9" * 5000):
        with pytest.raises(ChatbotError, match="there are n, Frage, Antwort"):
            _asked(tmp_path / "a.csv", f"prompt={number},reply=Antwort")
    with pytest.raises(ChatbotError, match="must name a prompt and a reply"):
        _asked(tmp_path / "a.csv", "prompt=2")
    with pytest.raises(ChatbotError, match="write prompt=3,reply=5"):
        _asked(tmp_path / "a.csv", "2,3")


def test_empathetic_dialogues(tmp_path: Path) -> None:
    header = "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags"
    rows = ["hit:0,1,sad,I lost it,1,Hello_comma_ you?,5|5,", "hit:0,2,sad,I lost it,0,I lost it.,5|5,", "hit:1,1,joy,I won,7,I won!,5,",
            "hit:1,2,joy,I won,8,How nice.,5,"]  # fmt: skip
    (tmp_path / "train.csv").write_text("\n".join([header, *rows]) + "\n")
    assert learnt(tmp_path / "train.csv") == [("Hello, you?", "I lost it."), ("I won!", "How nice.")]


def test_discords_table(tmp_path: Path) -> None:
    rows = ['"1","ann","2024-01-01T10:00:00.0000000+00:00","Hi Bob, hello?","",""', '"2","Bob","2024-01-01T10:01:00.0000000+00:00","Hi","",""',
            '"2","Bob","2024-01-01T10:02:00.0000000+00:00","","x.png",""', '"1","ann","2024-01-02T10:01:00.0000000+00:00","New day.","",""',
            '"2","Bob","2024-01-02T10:02:00.0000000+00:00","Yes.","",""']  # fmt: skip
    (tmp_path / "a.csv").write_text("AuthorID,Author,Date,Content,Attachments,Reactions\n" + "\n".join(rows) + "\n")
    _, found, account = read(tmp_path / "a.csv")
    assert [talk.turns for talk in found] == [["Hi, hello?", "Hi"], ["New day.", "Yes."]]
    assert account.left_out == {"names": 1, "messages without text": 1}


def test_rows_that_reply_by_ids_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "tweet_id,author_id,text,response_tweet_id,in_response_to_tweet_id\n1,a,Hi,2,\n2,b,Yes,,1\n"
    )
    with pytest.raises(ChatbotError, match="reply to each other by ids"):
        read(tmp_path / "a.csv")
