"""Every reader of a stranger's bytes, on damage: it works, or it says in one line why not; nothing is run or swells.

A few inputs each here; `make fuzz`, which sets CHATBOT_FUZZ to so many a target, tries other ones each time for minutes
and tells how many it tried. Of each archive its bytes are damaged, and its members too, under checksums that are right.
"""

import dataclasses
import gzip
import io
import json
import math
import os
import re
import struct
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_batches import SOME, write
from test_chats import ANDROID, IRC, MESSENGER, SRT, TELEGRAM
from test_exports import JSON
from test_exports import TEXTS as EXPORTS
from test_more_formats import CHATTERBOT, DAY, DISCORD, PARLAI, PERSONACHAT
from test_tutorial import Plain, made_up

from chatbot.chat.bot import Chatbot
from chatbot.config.presets import decoding_named
from chatbot.config.settings import Config as Settings
from chatbot.config.settings import CorpusConfig, DecodingConfig
from chatbot.corpus.formats.recognise import READERS, dialogues, recognise
from chatbot.corpus.inputs import input_files
from chatbot.corpus.mixture import is_mixture, resolve_mixture
from chatbot.corpus.pairs import pairs_of
from chatbot.corpus.prepared import PairDataset, load_vocabulary
from chatbot.corpus.reading import Reading
from chatbot.corpus.sources import Offers
from chatbot.corpus.tokenizer import TOKENIZERS
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.deployment import onnx as exchange
from chatbot.deployment.manifest import check, read_manifest
from chatbot.deployment.onnx import export_onnx
from chatbot.deployment.torchscript import export
from chatbot.network.batch import collate
from chatbot.network.model import Seq2Seq
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.runs.tutorial import import_checkpoint
from chatbot.system.errors import ChatbotError, printable
from chatbot.training import journal
from chatbot.training.epoch import Epoch

resource = pytest.importorskip("resource", reason="this system limits no process's memory")

MINE = os.environ.get("CHATBOT_FUZZ")
FUZZ = settings(
    max_examples=int(MINE or 10),
    derandomize=not MINE,  # the same inputs each time, unless one looks for new ones
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
MEMORY = 1 << 30  # bytes that all targets together may ask for beyond what there was
OUTSIDE = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "pty.spawn"}
STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]")
TRIED: Counter[str] = Counter()
REFUSED: Counter[str] = Counter()
forbidden: list[str] = []
watching = False


def _watch(event: str, arguments: tuple) -> None:
    if watching and event in OUTSIDE:
        forbidden.append(f"{event} {arguments}")


@pytest.fixture(scope="module", autouse=True)
def bounds(request: pytest.FixtureRequest) -> Iterator[None]:
    """While these tests run: no memory for a number that a file made up, no process, no connection."""
    global watching
    sys.addaudithook(_watch)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if Path("/proc/self/statm").exists():
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 4 * MEMORY, hard))
    watching = True
    yield
    watching = False
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    assert grown < MEMORY
    if MINE:
        rows = [(target, TRIED[target], REFUSED[target]) for target in TRIED]
        rows.append(("all", TRIED.total(), REFUSED.total()))
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print()
            for target, tried, refused in rows:
                print(f"{target:<30} {tried:>9,} inputs, {refused:>9,} refused")
            print(f"the process grew by {grown / 1e6:.0f} MB at most")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def survives(target: str, read: Callable[[], object]) -> None:
    """It works, or it is refused in one line that a terminal can show."""
    TRIED[target] += 1
    said = "works"
    try:
        read()
    except ChatbotError as error:
        REFUSED[target] += 1
        said = str(error)
    assert said.strip()
    assert len(said) < 5000
    assert not STEERING.search(said)
    assert not forbidden


ABSURD = [
    b"\xff" * 8,
    b"\0" * 8,
    struct.pack("<q", 400 << 30),
    struct.pack("<i", -1),
    b"9" * 30,
    b"1e999",
    b"-1",
    b"NaN",
]
ABSURD += [b"[" * 5000, b'{"a":' * 5000, b"\\ud800", b"\x1b[2J", b"\0", b"\n" * 9, b"\xed\xa0\x80", "\u202e".encode()]
SPOTS = st.floats(0, 1, exclude_max=True)
DAMAGE = st.lists(
    st.one_of(
        st.tuples(st.just("cut"), st.sampled_from([n / 16 for n in range(16)]) | SPOTS),
        st.tuples(st.just("flip"), SPOTS, st.integers(0, 7)),
        st.tuples(st.just("put"), SPOTS, st.sampled_from(ABSURD) | st.binary(min_size=1, max_size=9)),
        st.tuples(st.just("insert"), SPOTS, st.sampled_from(ABSURD) | st.binary(min_size=1, max_size=9)),
        st.tuples(st.just("drop"), SPOTS, st.integers(1, 40)),
        st.tuples(st.just("twice"), SPOTS, st.integers(1, 400)),
    ),
    min_size=1,
    max_size=4,
)


def damaged(content: bytes, damage: list[tuple]) -> bytes:
    for kind, spot, *how in damage:
        at = int(spot * len(content))
        before, behind = content[:at], content[at:]
        if kind == "cut":
            content = before
        elif kind == "flip" and behind:
            content = before + bytes([behind[0] ^ 1 << how[0]]) + behind[1:]
        elif kind == "put":
            content = before + how[0] + behind[len(how[0]) :]
        elif kind == "insert":
            content = before + how[0] + behind
        elif kind == "drop":
            content = before + behind[how[0] :]
        elif kind == "twice":
            content = before + behind[: how[0]] + behind
    return content


def repacked(archive: bytes, damage: list[tuple], which: float) -> bytes:
    """The archive with one member damaged and all checksums right; most often the pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        pickles = [name for name in names if name.endswith("data.pkl")]
        chosen = pickles[0] if which < 0.7 and pickles else names[int(which * len(names))]
        for name in names:
            new.writestr(name, damaged(old.read(name), damage) if name == chosen else old.read(name))
    return out.getvalue()


# corpora

TALK = ["Hello?", "Hi.", "How are you, then?", "I'm fine: \u201cthanks\u201d!"]
CORPORA = {
    "convokit": "".join(
        json.dumps({"id": f"u{i}", "conversation_id": "u0", "reply-to": f"u{i - 1}" if i else None, "text": text})
        + "\n"
        for i, text in enumerate(TALK)
    ),
    "delimited": 'prompt\treply\n"a ""b""\tc"\td\nHello?\tHi.\n' * 3,
    "jsonl": json.dumps({"turns": TALK}) + "\n" + json.dumps({"prompt": "a", "reply": "b"}) + "\n",
    "transcript": "> Hello?\n> you\nHi.\n> How are you?\nI'm fine.\nAnd you?\n\n> a\nb\n=== 2\n> x\ny\n",
    "log": "\n".join(TALK) + "\n\nHello?\nHi.\n=== 2\nx\ny\n",
    "json": json.dumps({"data": [{"messages": [{"role": "user", "content": t} for t in TALK]}, ["a", "b"]]}),
    "whatsapp": ANDROID,
    "telegram": TELEGRAM,
    "messenger": MESSENGER,
    "signal": "[2019-05-29, 15:04] Me: Hello?\n[2019-05-29, 15:10] Aya: Hi.\nyou?\n" * 2,
    "discord": json.dumps(DISCORD),
    "slack": json.dumps(DAY),
    "yaml": CHATTERBOT,
    "parlai": PARLAI + PERSONACHAT,
    "irc": IRC,
    "headed": next(row[1] for row in EXPORTS if row[2] == "headed"),
    "days": next(row[1] for row in EXPORTS if row[0] == "line.txt"),
    **{name: json.dumps(JSON[name][0]) for name in ("matrix", "skype", "chatgpt")},
    "stamped": "[12:30] Ann: Hello?\n[12:31] Bob: Hi: you?\nand so on\n[00:01] Ann: Fine.\n",
    "subtitles": SRT,
    "labels": "User: Hi.\nBot: Hello.\n\nQ: Who?\nA: Me,\nme.\n",
    "dailydialog": " __eou__ ".join(TALK) + " __eou__\n" + "I ' m here . __eou__ Good . __eou__\n",
    "chitchat": json.dumps({f"k{i}": {"messages": [[{"text": t, "sender": "x"}] for t in TALK]} for i in range(3)}),
}
try:
    import pyarrow
    from pyarrow import parquet

    table = io.BytesIO()
    parquet.write_table(
        pyarrow.Table.from_pylist([{"messages": [{"role": "user", "content": t} for t in TALK]}] * 3), table
    )
    PARQUET = {"parquet": {"corpus.parquet": table.getvalue()}}
except ImportError:
    PARQUET = {}
CORNELL = {
    "movie_lines.txt": "".join(f"L{i} +++$+++ u0 +++$+++ m0 +++$+++ ANN +++$+++ {t}\n" for i, t in enumerate(TALK)),
    "movie_conversations.txt": "u0 +++$+++ u1 +++$+++ m0 +++$+++ ['L0', 'L1', 'L2', 'L3']\n",
}
OTHERS: dict[str, dict[str, Any]] = PARQUET | {
    "cornell": CORNELL,
    "parallel": {"a.enc": "Hello?\n\nHow are you?\n", "a.dec": "Hi.\nx\nFine.\n"},
}
SUFFIXES = {"delimited": ".tsv", "jsonl": ".jsonl", "convokit": ".jsonl"}
SUFFIXES |= dict.fromkeys(
    ("chitchat", "telegram", "messenger", "discord", "slack", "json", "matrix", "skype", "chatgpt"), ".json"
)


def read_corpus(path: Path, format: str, tokenizer: str) -> None:
    found, refused = input_files(path)
    format, files = recognise(found, format, str(path))
    account = Reading(examples=refused)
    corpus = CorpusConfig(tokenizer=tokenizer, context=1)
    for dialogue in dialogues(format, files, account):
        pairs_of([dialogue], corpus)
    account.check(0.5)


@FUZZ
@given(
    format=st.sampled_from([*CORPORA, *OTHERS]),
    forced=st.booleans(),
    damage=DAMAGE,
    packing=st.sampled_from(["none", "none", "gz", "zip", "deflated", "bz2", "lzma", "tar", "folder"]),
    damage_behind=st.booleans(),
    tokenizer=st.sampled_from(sorted(TOKENIZERS)),
)
def test_corpora(
    format: str, forced: bool, damage: list, packing: str, damage_behind: bool, tokenizer: str, place: Path
) -> None:
    name = "corpus" + SUFFIXES.get(format, ".txt")
    texts = OTHERS.get(format, {name: CORPORA.get(format, "")})
    parts = {n: text if isinstance(text, bytes) else text.encode() for n, text in texts.items()}
    if not damage_behind:
        parts = {n: damaged(content, damage) for n, content in parts.items()}
    folder = place / "corpus"
    for old in folder.rglob("*"):
        old.unlink()
    folder.mkdir(exist_ok=True)
    path = folder / name
    content = next(iter(parts.values()))
    if packing in ("zip", "deflated", "bz2", "lzma"):
        out, ways = io.BytesIO(), {"zip": 0, "deflated": 8, "bz2": 12, "lzma": 14}
        with zipfile.ZipFile(out, "w", ways[packing]) as archive:
            for n, part in parts.items():
                archive.writestr(n, part)
        path, content = folder / "corpus.zip", out.getvalue()
    elif packing == "gz":
        path, content = folder / f"{name}.gz", gzip.compress(content)
    elif packing == "tar":
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for n, part in parts.items():
                entry = tarfile.TarInfo(n)
                entry.size = len(part)
                tar.addfile(entry, io.BytesIO(part))
        path, content = folder / "corpus.tar", out.getvalue()
    elif packing == "folder":
        for n, part in parts.items():
            (folder / n).write_bytes(part)
        path, content = folder, b""
    if path != folder:
        path.write_bytes(damaged(content, damage) if damage_behind else content)
    survives("corpora", lambda: read_corpus(path, format if forced else "auto", tokenizer))


@FUZZ
@given(format=st.sampled_from(["auto", *READERS]), content=st.text(max_size=300) | st.binary(max_size=300))
def test_corpora_of_anything(format: str, content: Any, place: Path) -> None:
    path = place / "any.txt"
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    survives("corpora of anything", lambda: read_corpus(path, format, "english"))


NAMES = st.sampled_from(["sample", "a.tsv", "b+c.tsv", "d*2", "nowhere", "~"]) | st.text(max_size=4)
WEIGHTS = st.sampled_from(["", "", "*0.5", "*10", "*2.25", "*1", "*-1", "*1e9", "*nan", "*", "+", "*2*3"])


@FUZZ
@given(parts=st.lists(st.tuples(NAMES, WEIGHTS).map("".join), max_size=4), many=st.sampled_from([1, 1, 1, 999]))
def test_a_mixture(parts: list[str], many: int, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    for name in ("a.tsv", "b+c.tsv", "d*2"):
        (place / name).write_text("a\tb\n")
    spec, offline = "+".join(parts * many), Offers(url=(place / "no.zip").as_uri(), tries=1)

    def resolved() -> None:
        mixture = resolve_mixture(spec, place / "data", offline)
        assert resolve_mixture(mixture.spec, place / "data", offline) == mixture
        assert is_mixture(spec) == is_mixture(mixture.spec) == (len(mixture.parts) > 1)
        assert len({part.source.name for part in mixture.parts}) == len(mixture.parts)

    survives("mixtures", resolved)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from([10**40, -1, 2**63, math.inf, "\x1b[2J", "\ud800", "a\nb", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places_in(value: Any, way: tuple = ()) -> list[tuple]:
    """The ways to everything inside plain data."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(found for key, item in inside for found in places_in(item, (*way, key)))]


def with_another(value: Any, way: tuple, other: Any) -> Any:
    """Plain data with something else at a place."""
    if not way:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[way[0]] = with_another(value[way[0]], way[1:], other)
    return copy


def one_changed(value: Any, spot: float, other: Any) -> Any:
    ways = places_in(value)
    return with_another(value, ways[int(spot * len(ways))], other)


@FUZZ
@given(records=st.lists(JSON, min_size=1, max_size=3), format=st.sampled_from(["jsonl", "convokit"]), spot=SPOTS)
def test_corpora_of_json(records: list, format: str, spot: float, place: Path) -> None:
    good = [json.loads(line) for line in CORPORA[format].splitlines()]
    rows = [one_changed(row, spot, record) for row in good for record in records] + records
    path = place / "any.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    survives("corpora of JSON", lambda: read_corpus(path, format, "english"))
    chats = one_changed(json.loads(CORPORA["chitchat"]), spot, records[0])
    path.write_text(json.dumps(chats))
    survives("corpora of JSON", lambda: read_corpus(path, "chitchat", "english"))


# settings, words, manifests, prepared arrays


@FUZZ
@given(damage=DAMAGE)
def test_a_vocabulary(damage: list, place: Path) -> None:
    path = place / "vocabulary.txt"
    path.write_bytes(damaged("<pad>\n<sos>\n<eos>\n<unk>\nhello\tHELLO\n\u00e9t\u00e9\n.\n".encode(), damage))
    survives("vocabulary", lambda: Vocabulary.load(path).save(place / "again.txt"))


@FUZZ
@given(damage=DAMAGE, spot=SPOTS, other=JSON, how=st.booleans())
def test_a_config(damage: list, spot: float, other: Any, how: bool, place: Path) -> None:
    path, plain = place / "config.json", Settings().to_dict()
    plain["corpus"]["split"] = list(plain["corpus"]["split"])
    whole = json.dumps(one_changed(plain, spot, other) if how else plain).encode()
    path.write_bytes(whole if how else damaged(whole, damage))
    survives("config", lambda: json.dumps(Settings.load(path).to_dict()).encode())
    survives("config", lambda: decoding_named(f"beam:{whole[:9].decode()}{other}", DecodingConfig()))


@FUZZ
@given(damage=DAMAGE, spot=SPOTS, other=JSON, how=st.booleans())
def test_a_manifest(damage: list, spot: float, other: Any, how: bool, place: Path) -> None:
    folder = place / "export"
    folder.mkdir(exist_ok=True)
    (folder / "chatbot.pt").write_bytes(b"abc")
    golden = {"text": "a", "ids": [4], "tokens": [2], "scores": [-1.5], "reply": "", "greedy": ""}
    plain = {"format": 1, "files": {"chatbot.pt": {"bytes": 3, "sha256": "0" * 64}}, "golden": [golden]}
    whole = json.dumps(one_changed(plain, spot, other) if how else plain).encode()
    (folder / "manifest.json").write_bytes(whole if how else damaged(whole, damage))
    survives("manifest", lambda: read_manifest(folder))
    survives("manifest", lambda: check(folder / "chatbot.pt"))


@FUZZ
@given(
    damage=DAMAGE,
    which=st.sampled_from(["prepared.json", "train.ids", "train.offsets", "vocabulary.txt"]),
    same_size=st.booleans(),
    backward=st.booleans(),
)
def test_prepared_arrays(damage: list, which: str, same_size: bool, backward: bool, place: Path) -> None:
    folder = write(place / "prepared", SOME, parts={"films": (1.0, 1), "sample": (2.5, 3)})
    whole = (folder / which).read_bytes()
    spoiled = damaged(whole, damage)
    if same_size:
        spoiled = spoiled[: len(whole)].ljust(len(whole), b"\xff")
    (folder / which).write_bytes(spoiled)

    def read() -> None:
        load_vocabulary(folder)
        pairs = PairDataset(folder, "train", backward=backward)
        pairs.lengths(np.arange(len(pairs)))
        list(pairs.replies())
        epoch = Epoch(pairs)
        assert set(epoch.pairs(np.arange(len(epoch)), 7)) <= set(range(len(pairs)))
        if len(pairs):
            collate([pairs[index] for index in range(len(pairs))])

    survives("prepared arrays", read)


@FUZZ
@given(damage=DAMAGE)
def test_metrics(damage: list, place: Path) -> None:
    path = place / "metrics.jsonl"
    path.write_bytes(damaged(b'{"step": 1, "part": "train", "loss": 2.5}\n' * 5, damage))
    survives("metrics", lambda: journal._forget_after(RunDirectory(path.parent), 3))


# models


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """A model of 13 words that nobody trained."""
    torch.manual_seed(0)
    config = Settings.from_dict(
        {"model": {"hidden_size": 4, "encoder_layers": 1, "decoder_layers": 1}, "decoding": {"method": "greedy"}}
    )
    spoken = ["hello", "how", "are", "you", "i", "'m", "fine", ".", "?"]
    words = Vocabulary.from_words(spoken, unknown=True, separator=False, written={"i": "I", "you": "You"})
    model = Seq2Seq(config.model, len(words)).state_dict()
    return Checkpoint(config, words, model, 7, 2.5, [[4], [5, 6, 7, 12]], {"weights": model})


def use(bot: Chatbot) -> None:
    for text in ("Hello, how are you?", "\ud800\x1b[2J zzz"):
        reply = bot.reply(text)
        assert not STEERING.search(reply)
    bot.nbest("Hello?", 2)


def use_checkpoint(path: Path) -> None:
    loaded = Checkpoint.load(path)
    assert len(loaded.digest()) == 64
    use(Chatbot.from_model(loaded.build_model(), loaded.config, loaded.vocabulary))


@FUZZ
@given(damage=DAMAGE, inside=st.booleans(), which=SPOTS)
def test_a_checkpoint(damage: list, inside: bool, which: float, place: Path, checkpoint: Checkpoint) -> None:
    path = place / "best.pt"
    checkpoint.save(path)
    whole = path.read_bytes()
    path.write_bytes(repacked(whole, damage, which) if inside else damaged(whole, damage))
    survives("checkpoint", lambda: use_checkpoint(path))


def laughs(depth: int) -> list:
    """A list of 10 ** depth items in as many bytes as one of 10 * depth."""
    value: list = ["ha"]
    for _ in range(depth):
        value = [value] * 10
    return value


STRANGE = st.one_of(
    JSON,
    st.sampled_from([2**2000, math.nan, laughs(40), (), set(), b"bytes", complex(1, 2)]),
    st.sampled_from(
        [
            torch.zeros(1).expand(1 << 40),
            torch.zeros(1, 1).expand(13, 4),
            torch.full((13, 4), math.nan),
            torch.zeros(13, 4, dtype=torch.float64),
            torch.zeros(13, 4, dtype=torch.int64),
            torch.zeros(13, 4, dtype=torch.bfloat16),
            torch.zeros(13, 4).to_sparse(),
            torch.zeros(13, 4, device="meta"),
            torch.zeros(4, 13).t(),
            torch.zeros(0),
            torch.tensor(3.5),
        ]
    ),
)


@FUZZ
@given(spot=SPOTS, other=STRANGE)
def test_a_checkpoint_of_other_things(spot: float, other: Any, place: Path, checkpoint: Checkpoint) -> None:
    path = place / "strange.pt"
    checkpoint.save(path)
    data = torch.load(path, weights_only=True)
    torch.save(one_changed({**data, "model": dict(data["model"]), "training": None}, spot, other), path)
    survives("checkpoint of strange things", lambda: use_checkpoint(path))


@FUZZ
@given(damage=DAMAGE, inside=st.booleans(), which=SPOTS, as_zip=st.booleans())
def test_a_checkpoint_of_the_tutorial(
    damage: list, inside: bool, which: float, as_zip: bool, place: Path, lineage: dict[bool, bytes]
) -> None:
    path, run = place / "4000_checkpoint.tar", RunDirectory(place / "imported")
    whole = lineage[as_zip]
    path.write_bytes(repacked(whole, damage, which) if inside and as_zip else damaged(whole, damage))

    def read() -> None:
        try:
            import_checkpoint(path, run, corpus="cornell")
            use(Chatbot.load(run.path))
        finally:
            for file in run.path.glob("*"):
                file.unlink()

    survives("checkpoint of the tutorial", read)


@pytest.fixture(scope="module")
def lineage() -> dict[bool, bytes]:
    files = {}
    for as_zip in (True, False):
        buffer = io.BytesIO()
        torch.save(Plain(made_up(9), 3, (1, 1)).data(), buffer, _use_new_zipfile_serialization=as_zip)
        files[as_zip] = buffer.getvalue()
    return files


@pytest.fixture(scope="module")
def bundle(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an export by their names."""
    folder = tmp_path_factory.mktemp("whole") / "export"
    export(checkpoint, folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@FUZZ
@given(damage=DAMAGE, alone=st.booleans(), which=st.sampled_from(["chatbot.pt", "chatbot.pt", "manifest.json"]))
def test_a_bundle(damage: list, alone: bool, which: str, place: Path, bundle: dict[str, bytes]) -> None:
    """Its bytes only: who packs a bundle anew writes a program, and a program can do anything."""
    folder = place / "bundle"
    folder.mkdir(exist_ok=True)
    for name, whole in bundle.items():
        (folder / name).write_bytes(damaged(whole, damage) if name == which else whole)
    if alone and which == "chatbot.pt":
        (folder / "manifest.json").unlink()
    survives("bundle", lambda: Chatbot.load(folder / "chatbot.pt"))


@pytest.fixture(scope="module")
def onnx_files(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(checkpoint, folder)
    return folder


@FUZZ
@given(damage=DAMAGE, which=st.sampled_from(["chatbot.onnx", "encoder.onnx", "decoder.onnx"]))
def test_an_onnx_file(damage: list, which: str, place: Path, onnx_files: Path) -> None:
    folder = place / "onnx"
    folder.mkdir(exist_ok=True)
    for file in onnx_files.iterdir():
        (folder / file.name).write_bytes(
            damaged(file.read_bytes(), damage) if file.name == which else file.read_bytes()
        )
    survives("ONNX file", lambda: use(Chatbot.load(folder / "chatbot.onnx")))


@FUZZ
@given(
    spot=SPOTS,
    other=JSON,
    key=st.sampled_from(["vocabulary", "written", "never_replied", "config", "max_length", "format"]),
)
def test_the_metadata_of_an_onnx_file(spot: float, other: Any, key: str, place: Path, onnx_files: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(onnx_files / "encoder.onnx")
    for entry in model.metadata_props:
        if entry.key == key:
            entry.value = json.dumps(one_changed(json.loads(entry.value), spot, other))
    path = place / "metadata.onnx"
    path.write_bytes(exchange.sealed(model.SerializeToString()))
    survives("metadata of an ONNX file", lambda: exchange.load_onnx(path, "encoder"))


# text


@pytest.fixture(scope="module")
def bot(checkpoint: Checkpoint) -> Chatbot:
    return Chatbot.from_model(checkpoint.build_model(), checkpoint.config, checkpoint.vocabulary)


@FUZZ
@given(
    text=st.text(st.characters(), max_size=200)
    | st.binary(max_size=200).map(lambda data: data.decode("utf-8", "replace"))
)
def test_text(text: str, bot: Chatbot) -> None:
    for tokenizer in TOKENIZERS.values():
        other = dataclasses.replace(bot, tokenizer=tokenizer)
        survives("text", lambda other=other: (other.reply(text), other.unknown_words(text)))
        assert all(word == printable(word) for word in tokenizer.tokenize(text))
