"""The C++ client answers as Python does, bears any input, and opens no file that its manifest does not describe."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
import torch

from chatbot.chat.bot import Chatbot
from chatbot.config.settings import DecodingConfig
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.deployment.manifest import read_manifest
from chatbot.deployment.torchscript import export, load_bundle
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import printable

CPP = Path(__file__).parent.parent / "cpp"
COMPILER = shutil.which(os.environ.get("CXX", "c++"))
HOSTILE = "\x1b]0;pwned\x07\x1b[2J\x9b31m"
MEGABYTES = 1 << 20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None or shutil.which("make") is None, reason="no C++ compiler, or no make"),
]

# the two headers that need no torch, each as a filter
PROBE = """
#include <iostream>
#include <iterator>
#include <sstream>
#include "manifest.h"
#include "sha256.h"
int main(int count, char** words) {
  std::istreambuf_iterator<char> in(std::cin), end;
  const std::string data(in, end);
  if (count > 1) {
    std::cout << json_value(data, std::vector<std::string>(words + 1, words + count));
    return 0;
  }
  std::istringstream one(data), two(data);
  std::cout << sha256::digest(one) << ' ' << sha256::digest(two, sha256::portable);
}
"""


@pytest.fixture(scope="module")
def bundle(trained: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cpp") / "export"
    export(trained.load_chosen(), folder)
    return folder / "chatbot.pt"


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built as `make cpp` builds it, outside the checkout."""
    build = tmp_path_factory.mktemp("build")
    made = subprocess.run(
        ["make", "-C", CPP, f"PYTHON={sys.executable}", f"BUILD={build}"], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert "warning" not in made.stderr
    return build / "chatbot"


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probe.cpp").write_text(PROBE)
    program = folder / "probe"
    subprocess.run([COMPILER, "-std=c++20", "-O1", "-I", CPP, folder / "probe.cpp", "-o", program], check=True)
    return lambda data, *keys: subprocess.run(
        [program, *keys], input=data, capture_output=True, check=True
    ).stdout.decode()


def run(client: Path, *words: str | Path, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([client, *words], input=text, capture_output=True)


def answers(client: Path, bundle: Path, *lines: bytes) -> list[str]:
    """The reply to each line, where all went well and nothing was said besides."""
    done = run(client, bundle, text=b"".join(line + b"\n" for line in lines))
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().split("\n")[:-1]


def refused(done: subprocess.CompletedProcess[bytes]) -> str:
    """The one line with which a mistake ends."""
    assert (done.returncode, done.stdout) == (2, b"")
    line = done.stderr.decode()
    assert line.startswith("chatbot: ")
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    return line


def peak(client: Path, bundle: Path, text: bytes) -> int:
    """Most resident bytes of a run."""
    process = subprocess.Popen([client, bundle], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin
    process.stdin.write(text)
    process.stdin.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    assert status == 0
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_the_client_stays_a_page() -> None:
    assert len((CPP / "chatbot.cpp").read_text().splitlines()) < 175


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 65535, 65536, 65537, 131072, 200_000])
def test_both_ways_to_a_sha256_are_hashlibs(probe: Callable[..., str], size: int) -> None:
    data = bytes(i * i % 251 for i in range(size))
    assert probe(data).split() == [hashlib.sha256(data).hexdigest()] * 2


def test_a_value_is_found_by_its_keys_and_not_by_what_a_text_quotes(probe: Callable[..., str]) -> None:
    deceit = '{"files": {"a": {"sha256": "bad"}}}'
    value = {"said": deceit, "list": [{"files": {"a": {"sha256": "no"}}}, "files", {"a": 1}], 'q"': "\\"}
    value |= {"files": {"b": {"sha256": "b"}, "a": {"bytes": 12, "sha256": "good", "more": None}}, "format": 1}
    for indent in (None, 1):
        data = json.dumps(value, indent=indent).encode()
        assert probe(data, "files", "a", "sha256") == '"good"'
        assert probe(data, "files", "a", "bytes") == "12"
        assert probe(data, "format") == "1"
        assert probe(data, "sha256") == probe(data, "files") == probe(data, "list", "files", "a", "sha256") == ""
        for cut in range(0, len(data), 29):
            assert probe(data[:cut], "files", "b", "sha256") in ("", '"b"')
    assert probe(b'{"a": 1, "a": 2}', "a") == "2"
    assert [probe(data, "a") for data in (b"}]}", b'"', b'{"a', b'{"a"', b'{"a":', b'{"a\\', b"\0\xff")] == [""] * 7


def test_every_golden_reply_is_given(client: Path, bundle: Path) -> None:
    golden = [row for row in read_manifest(bundle.parent)["golden"] if "\n" not in row.text]
    assert len(golden) > 16
    assert any(row.reply for row in golden)
    assert answers(client, bundle, *(row.text.encode() for row in golden)) == [row.reply for row in golden]


def test_words_are_written_in_the_forms_of_the_vocabulary(client: Path, trained: RunDirectory, tmp_path: Path) -> None:
    checkpoint = trained.load_chosen()
    tokens = checkpoint.vocabulary.tokens
    forms = {token: token.upper() for token in tokens[4::2] if token.upper() != token}
    decoding = DecodingConfig(no_repeat_ngram=1, min_length=6)  # so many different words
    config = dataclasses.replace(checkpoint.config, decoding=decoding)
    loud = dataclasses.replace(checkpoint, config=config, vocabulary=Vocabulary(tokens, forms))
    export(loud, tmp_path / "export")
    texts = ["hello", "What's your name?", "How are you?", "tell me a joke"]
    said = answers(client, tmp_path / "export" / "chatbot.pt", *(text.encode() for text in texts))
    assert said == Chatbot.from_model(loud.build_model(), loud.config, loud.vocabulary).reply_batch(texts)
    assert said != Chatbot.load(trained.path).reply_batch(texts, decoding=decoding)


def test_the_last_line_needs_no_end_and_quit_ends(client: Path, bundle: Path) -> None:
    reply = load_bundle(bundle).module.reply("hello").encode() + b"\n"
    assert run(client, bundle, text=b"hello").stdout == reply
    assert run(client, bundle.parent, text=b"hello\r\n").stdout == reply  # the folder will do
    for word in (b"quit", b" Q\r", b"/QUIT"):
        assert run(client, bundle, text=b"hello\n" + word + b"\nhello\n").stdout == reply
    assert run(client, bundle).stdout == b""
    assert len(answers(client, bundle, b"quit it", b"qq")) == 2


def test_in_a_terminal_the_lines_are_a_conversation(client: Path, trained: RunDirectory, tmp_path: Path) -> None:
    checkpoint = trained.load_chosen()
    words = Vocabulary([*checkpoint.vocabulary.tokens[:4], "<sep>", *checkpoint.vocabulary.tokens[5:]])
    way = DecodingConfig(method="sample", temperature=3.0, seed=5, min_length=4)  # so hot that turns and seeds show
    corpus = dataclasses.replace(checkpoint.config.corpus, context=2)
    config = dataclasses.replace(checkpoint.config, corpus=corpus, decoding=way)
    checkpoint = dataclasses.replace(checkpoint, config=config, vocabulary=words)
    export(checkpoint, tmp_path / "export")
    talk = Chatbot.from_model(checkpoint.build_model(), config, words).conversation()
    typed = ["hello", "hello", "how are you?", "", "hello", "/reset", "hello"]
    expected = list[str]()
    for line in typed:
        expected += [talk.say(line)] if line != "/reset" else [talk.reset() or ""]
    assert len({expected[place] for place in (0, 1, 4)}) == 3
    assert expected[-1] == expected[0]
    terminal = pexpect.spawn(str(client), [str(tmp_path / "export")], encoding="utf-8", timeout=120, echo=False)
    for line, reply in zip(typed, expected, strict=True):
        terminal.expect_exact("> ")
        terminal.sendline(line)
        if line != "/reset":
            terminal.expect_exact(reply + "\r\n")
    terminal.expect_exact("> ")
    terminal.sendline("quit")
    terminal.expect(pexpect.EOF)
    assert terminal.wait() == 0


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_best_replies_are_pythons_with_their_scores(client: Path, bundle: Path, threads: str) -> None:
    module = load_bundle(bundle).module
    texts = ["hello", "", "What's your name?"]
    done = run(client, "--threads", threads, bundle, "--nbest", "4", text="\n".join(texts).encode())
    assert done.returncode == 0
    expected: list[str] = []
    for text in texts:
        expected += [f"{score:.4f}\t{reply}" for reply, score in module.reply_nbest(text, 4)] + [""]
    assert done.stdout.decode().split("\n")[:-1] == expected
    assert len(expected) > 2 * 2 + 3


def test_any_bytes_get_the_answer_that_python_gives_to_their_reading(client: Path, bundle: Path) -> None:
    module = load_bundle(bundle).module
    lines = [
        b"hel\0lo \0",
        b"\xff\xfe hello \xc3",
        b"\xed\xa0\x80 how \xf4\x90\x80\x80",
        b"\r\x0b\x0c",
        HOSTILE.encode(),
    ]
    lines += [bytes(range(256)).replace(b"\n", b""), b"\x1b[31mhello\x1b[0m " + HOSTILE.encode("latin-1")]
    assert answers(client, bundle, *lines) == [module.reply(line.decode("utf-8", "replace")) for line in lines]


def test_every_plane_of_unicode_is_read_as_python_reads_it(client: Path, bundle: Path) -> None:
    module = load_bundle(bundle).module
    planes = ["".join(map(chr, range(start, start + 0x10000, 37))) for start in range(0, 0x110000, 0x10000)]
    lines = [plane.encode("utf-8", "surrogatepass").replace(b"\n", b" ") + b" how are you?" for plane in planes]
    assert answers(client, bundle, *lines) == [module.reply(line.decode("utf-8", "replace")) for line in lines]


def test_a_line_of_any_length_is_answered_in_bounded_memory(client: Path, bundle: Path) -> None:
    module = load_bundle(bundle).module
    long = b"xq " * (10 * MEGABYTES // 3) + b"how are you " * 50
    found = answers(client, bundle, long, b"hello", "é".encode() * (5 * MEGABYTES) + b" how are you")
    assert found[0] == module.reply("how are you " * 50)
    assert found[2] == module.reply("e" * MEGABYTES + " how are you")
    assert answers(client, bundle, b"\0" * 20 * MEGABYTES) == [""]
    assert peak(client, bundle, b"a " * 40 * MEGABYTES + b"\n") < peak(client, bundle, b"hello\n") + 20 * MEGABYTES


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_replies_show_no_control_characters(client: Path, bundle: Path, tmp_path: Path) -> None:
    class Sly(torch.nn.Module):
        def reply(self, text: str) -> str:
            return text

        def metadata(self) -> str:
            return '{"bundle_format": 3}'

    for method in (Sly.reply, Sly.metadata):
        torch.jit.export(method)
    sly = tmp_path / "sly.pt"
    torch.jit.save(torch.jit.script(Sly()), sly)
    assert answers(client, sly, "\x1b[2J\x07 \x9b31m é ü\t\x7f".encode()) == ["\\x1b[2J\\x07 \\x9b31m é ü\\t\\x7f"]


def test_a_file_that_is_not_what_its_manifest_says_is_not_opened(client: Path, bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle.parent, tmp_path / "export"))
    copy, manifest = folder / "chatbot.pt", folder / "manifest.json"
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    assert "SHA-256" in refused(run(client, copy, text=b"hello\n"))
    shutil.copy(bundle, copy)
    assert run(client, copy, text=b"hello\n").returncode == 0
    shutil.move(copy, folder / "other.pt")
    assert "SHA-256" in refused(run(client, folder / "other.pt"))
    shutil.move(folder / "other.pt", copy)
    whole = manifest.read_text()
    for damaged in ("", "{", "[]", whole[:40], "\0" * 100, whole.replace('"format": 1', '"format": 2', 1)):
        manifest.write_text(damaged)
        assert "manifest" in refused(run(client, copy, text=b"hello\n"))
    with manifest.open("r+") as large:
        large.truncate(9 * MEGABYTES)
    assert "manifest" in refused(run(client, copy, text=b"hello\n"))
    manifest.unlink()  # the file alone, as where it was sent by itself
    assert run(client, copy, text=b"hello\n").returncode == 0


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_file_that_is_none_ends_in_one_line(client: Path, bundle: Path, tmp_path: Path) -> None:
    data = bundle.read_bytes()
    file = tmp_path / "chatbot.pt"
    for damaged in (b"", b"PK\3\4", data[:1000], data[: len(data) // 2], bytes(1000), b"\x1b[2J" * 100):
        file.write_bytes(damaged)
        assert "export again" in refused(run(client, file, text=b"hello\n"))
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), file)
    assert "damaged" in refused(run(client, file, text=b"hello\n"))
    (tmp_path / "folder").mkdir()
    for missing in (
        "none.pt",
        "folder",
        "\x1b[31mnone\n.pt",
        "\u202enone\u2028\x9b.pt",
        "\udc9b\udce2\udc80.pt",
        "\u00e9\U0001f600",
    ):
        said = refused(run(client, tmp_path / missing, text=b"hello\n"))
        assert f"cannot read {printable(str(tmp_path / missing))}" in said


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--nbest", "3"),
        ("FILE", "--nbest"),
        ("FILE", "--nbest", "0"),
        ("FILE", "--nbest", "1001"),
        ("FILE", "--nbest", "-1"),
        ("FILE", "--nbest", "3x"),
        ("FILE", "--threads", "99999999999999999999"),
        ("FILE", "--threads", ""),
        ("FILE", "FILE"),
        ("FILE", "--help"),
        ("",),
    ],
)
def test_wrong_words_on_the_command_line_show_the_usage(client: Path, bundle: Path, words: tuple[str, ...]) -> None:
    given = [str(bundle) if word == "FILE" else word for word in words]
    assert "usage: chatbot FILE" in refused(run(client, *given, text=b"hello\n"))


def test_a_reply_that_cannot_be_written_is_a_mistake(client: Path, bundle: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([client, bundle], input=b"hello\n", stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (2, b"chatbot: cannot write the reply\n")


def test_a_terminal_gets_a_prompt_and_each_reply_at_once(client: Path, bundle: Path) -> None:
    pexpect = pytest.importorskip("pexpect")
    reply = load_bundle(bundle).module.reply("hello")
    with pexpect.spawn(str(client), [str(bundle)], encoding="utf-8", timeout=60, echo=False) as terminal:
        for _ in range(2):
            terminal.expect_exact("> ")
            terminal.sendline("hello")
            terminal.expect_exact(reply)
        terminal.expect_exact("> ")
        terminal.sendline("quit")
        terminal.expect(pexpect.EOF)
    assert terminal.exitstatus == 0


def test_it_answers_in_seven_languages(client: Path, polyglot: RunDirectory, tmp_path: Path) -> None:
    export(polyglot.load_chosen(), tmp_path)
    bot, files = Chatbot.load(polyglot.path), sorted((Path(__file__).parent / "languages").glob("*.tsv"))
    pairs = [line.split("\t") for file in files for line in file.read_text("utf-8").splitlines()]
    prompts = [prompt for prompt, _ in pairs] + ["¿Como estass?", "Wie gehts", "Приветт", "как деле?"]
    said = answers(client, tmp_path / "chatbot.pt", *(prompt.encode() for prompt in prompts))
    assert said == bot.reply_batch(prompts)
    assert sum(one.lower() == reply.lower() for one, (_, reply) in zip(said, pairs, strict=False)) >= 0.97 * len(pairs)
