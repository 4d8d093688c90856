"""The program as a person meets it: verbs, exit codes, one line for a mistake, a REPL that nothing breaks."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from chatbot.__main__ import main
from chatbot.chat.bot import Chatbot
from chatbot.config.settings import Config, DecodingConfig
from chatbot.runs import directory
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory

HOSTILE = [
    "",
    "   ",
    "zzzzqq xxyyzz",
    "\U0001f600\U0001f389",
    "\x00\x01\x1b[2J\x1b]0;owned\x07",
    "\ud800 lone surrogate",
    "caf\u00e9 na\u00efve \u202e\u200b",
    "word " * 2000,
    "x" * 10_000,
    "...!!!???",
    "' \" \\ ` $(ls) %s {0} <unk> <eos> </s>",
]


def chatbot(*arguments: object, **options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "chatbot", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120, **options)  # type: ignore[call-overload]


def mistake(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Exit code 2, nothing on stdout, one line on stderr: returned."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("chatbot: ")
    return lines[0]


@pytest.mark.parametrize("verb", ["prepare", "train", "evaluate", "export", "chat"])
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    assert "--help" in capsys.readouterr().out


def test_from_corpus_to_reply_on_one_command_line(tmp_path: Path, tiny, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(tiny.to_dict()))
    places = ["--data-dir", str(tmp_path / "data")]
    runs = ["--checkpoints-dir", str(tmp_path / "checkpoints")]

    assert main(["prepare", "--config", str(settings), *places, "--json"]) == 0
    captured = capsys.readouterr()
    figures = json.loads(captured.out)
    assert {"pairs_read", "pairs_short", "words_counted", "words_kept", "words_total", "pairs_kept"} <= set(figures)
    assert figures["pairs_read"] >= 700

    assert main(["train", "--config", str(settings), "--device", "cpu", *places, *runs]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    run = RunDirectory(tmp_path / "checkpoints" / "sample")
    for word in ("held-out perplexity", "make chat RUN=sample", "make export RUN=sample"):
        assert word in captured.err
    assert captured.err.count("  > ") == 5

    assert main(["evaluate", "--json", *places, *runs]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert {"perplexity", "loss", "token_accuracy", "pairs", "tokens", "pairs_per_second", "split"} <= set(figures)
    assert main(["evaluate", "sample", "--split", "valid", "--json", *places, *runs]) == 0
    valid = json.loads(capsys.readouterr().out)
    assert valid["perplexity"] == pytest.approx(Checkpoint.load(run.best).perplexity, rel=1e-5)

    assert main(["export", "--json", *runs]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (run.export / "chatbot.pt").stat().st_size == figures["bytes"]["chatbot.pt"]

    # moved elsewhere, the run and the exported file answer alike
    moved = tmp_path / "elsewhere"
    shutil.move(run.path, moved)
    assert main(["chat", str(moved), "--prompt", "How are you?"]) == 0
    reply = capsys.readouterr().out
    assert reply.strip()
    for path in (moved / "export", moved / "export" / "chatbot.pt", moved / "best.pt"):
        assert main(["chat", str(path), "--prompt", "How are you?"]) == 0
        assert capsys.readouterr().out == reply


def test_a_trained_run_is_not_overwritten(trained: RunDirectory, data_dir: Path, capsys: pytest.CaptureFixture) -> None:
    before = trained.last.read_bytes()
    where = ["--data-dir", data_dir, "--checkpoints-dir", trained.path.parent]
    assert main(["train", "--corpus", "sample", "--run", "tiny", *map(str, where)]) == 2
    assert "--resume" in capsys.readouterr().err.splitlines()[-1]
    assert trained.last.read_bytes() == before


def test_resuming_changes_no_setting_but_how_long(trained: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    runs = ["--checkpoints-dir", trained.path.parent]
    assert "batch_size" in mistake(capsys, "train", "--resume", "--run", "tiny", "--batch-size", 3, *runs)


def test_resuming_takes_no_other_settings(trained: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    runs = ["--run", "tiny", "--checkpoints-dir", trained.path.parent]
    assert "--preset" in mistake(capsys, "train", "--resume", "--preset", "default", *runs)


def test_what_a_resumed_run_changes_is_written_to_its_settings(
    trained: RunDirectory, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(tmp_path / "tiny")
    shutil.copytree(trained.path, run.path)
    places = ["--data-dir", str(data_dir), "--checkpoints-dir", str(tmp_path), "--device", "cpu"]
    arguments = ["train", "--resume", "--run", "tiny", "--steps", "45", "--keep", "last", "--json"]
    assert main([*arguments, *places]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["step"], figures["reason"]) == (45, "steps")
    training = Config.load(run.config).training
    assert (training.steps, training.keep) == (45, "last")
    assert run.load_chosen().step == 45


def test_a_process_that_torchrun_begins_again_goes_on_from_the_checkpoint(
    trained: RunDirectory, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(tmp_path / "tiny")
    shutil.copytree(trained.path, run.path)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    places = ["--data-dir", str(data_dir), "--checkpoints-dir", str(tmp_path), "--device", "cpu"]
    assert main(["train", "--config", str(run.config), "--run", "tiny", *places]) == 0
    assert run.load_last().step == 40


def test_a_folder_of_the_runs_name_does_not_hide_the_run(
    trained: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny").mkdir()
    assert main(["chat", "tiny", "--prompt", "Hello.", "--checkpoints-dir", str(trained.path.parent)]) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("flags", "decoding", "more"),
    [
        (["--method", "beam", "--length-penalty", "0.7"], DecodingConfig(method="beam", length_penalty=0.7), []),
        (["--method", "sample", "--seed", "3"], DecodingConfig(method="sample", seed=3), ["--samples", "4"]),
    ],
)
def test_flags_say_how_a_reply_is_found(
    flags: list[str],
    decoding: DecodingConfig,
    more: list[str],
    trained: RunDirectory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["chat", str(trained.path), "--prompt", "How are you?", *flags]) == 0
    assert capsys.readouterr().out.strip() == Chatbot.load(trained.path, decoding=decoding).reply("How are you?")
    rerank = [*more, "--rerank", "tiny", "--checkpoints-dir", str(trained.path.parent)]
    assert main(["chat", str(trained.path), "--prompt", "Hello.", *flags, *rerank]) == 2
    assert "tiny cannot rerank: train it with --direction backward" in capsys.readouterr().err
    assert "width" in mistake(capsys, "chat", trained.path, *flags, "--beam-width", "0")
    assert "top-k belongs to the method sample" in mistake(capsys, "chat", trained.path, "--top-k", "5")
    assert "one reply to rerank" in mistake(capsys, "chat", trained.path, "--rerank", trained.path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--hidden-size", "abc"],
        ["chat", "--threads", "-1"],
        ["prepare", "--workers", "-1"],
        ["nonsense"],
        [],
    ],
)
def test_a_wrong_word_on_the_command_line_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_with_nothing_trained_it_says_what_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "BOX", tmp_path / "nowhere")
    for verb in ("chat", "evaluate", "export"):
        assert "make train" in mistake(capsys, verb, "--checkpoints-dir", tmp_path)


def test_mistakes_end_in_one_line(tmp_path: Path, trained: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    runs = ["--checkpoints-dir", tmp_path]
    assert "no-such" in mistake(capsys, "chat", "no-such", *runs)
    assert "no-such.pt" in mistake(capsys, "chat", "no-such.pt", *runs)
    assert "nonsense" in mistake(capsys, "chat", trained.path, "--device", "nonsense")
    assert "no-such-corpus" in mistake(capsys, "prepare", "--corpus", "no-such-corpus", "--data-dir", tmp_path)
    assert "no-such.json" in mistake(capsys, "prepare", "--config", "no-such.json")
    assert "hidden_size" in mistake(capsys, "train", "--hidden-size", "0", *runs)
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 no archive")
    assert "broken.pt" in mistake(capsys, "chat", tmp_path / "broken.pt")
    blocked = tmp_path / "a-file"
    blocked.write_text("in the way")
    assert "a-file" in mistake(capsys, "export", trained.path, "--out", blocked / "chatbot.pt")


def test_piped_lines_are_answered_line_by_line_and_nothing_else_is_printed(trained: RunDirectory) -> None:
    text = "\n".join(["Hello.", *HOSTILE]).encode("utf-8", "surrogatepass") + b"\n\xff\xfe bad bytes\nlast line"
    done = chatbot("chat", trained.path, input=text)
    assert (done.returncode, done.stderr) == (0, b"")
    replies = done.stdout.decode("ascii").splitlines()
    assert len(replies) == len(HOSTILE) + 3
    assert replies[0] == Chatbot.load(trained.path).reply("Hello.")
    assert replies[1] == replies[2] == ""


def test_a_reply_never_fails_and_is_plain_text(trained: RunDirectory) -> None:
    bot = Chatbot.load(trained.path)
    for line in HOSTILE:
        assert bot.reply(line).isprintable()
    assert bot.reply_batch(["Hello.", "", "How are you?"]) == [bot.reply("Hello."), "", bot.reply("How are you?")]


def test_a_model_trained_with_context_reads_the_last_turns(
    tiny: Config, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    from chatbot.corpus.preparation import prepare
    from chatbot.deployment.torchscript import export
    from chatbot.training.distributed import Group
    from chatbot.training.loop import train

    config = dataclasses.replace(tiny, corpus=dataclasses.replace(tiny.corpus, context=2))
    run = RunDirectory(tmp_path / "run")
    train(config, prepare(config.corpus, data_dir).folder, run, Group())
    export(run.load_chosen(), run.export)
    for path in (run.path, run.export):
        bot = Chatbot.load(path)
        encode, sep = bot.vocabulary.encode, [bot.vocabulary.sep_id]
        turns = ["I am left out.", "Hello!", "How are you?"]
        ids = encode(bot.words(turns[1])) + sep + encode(bot.words(turns[2])) + sep + encode(bot.words("I'm fine."))
        seen: list[list[int]] = []
        monkeypatch.setattr(Chatbot, "reply_batch", lambda bot, prompts, seen=seen, **how: seen.extend(prompts) or [""])
        bot.reply("I'm fine.", turns)
        bot.reply("I'm fine.")
        assert seen == [ids, encode(bot.words("I'm fine."))]


def test_quit_ends_a_pipe_early(trained: RunDirectory) -> None:
    done = chatbot("chat", trained.path, input=b"Hello.\nquit\nHello.\n")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("leave", ["quit", "q", "\x04"])
def test_a_conversation_in_a_terminal(leave: str, trained: RunDirectory) -> None:
    environment = {**os.environ, "TERM": "dumb"}
    arguments = ["-m", "chatbot", "chat", str(trained.path)]
    talk = pexpect.spawn(sys.executable, arguments, encoding="utf-8", timeout=60, env=environment)  # type: ignore[arg-type]
    talk.expect("Leave with quit")
    talk.expect("> ")
    talk.sendline("Hello.")
    talk.expect_exact(Chatbot.load(trained.path).reply("Hello."))
    talk.expect("> ")
    talk.sendline("zzzzqq")
    talk.expect_exact("I never learnt: zzzzqq")
    talk.expect("> ")
    talk.sendline("")
    talk.expect("> ")
    talk.sendintr()
    talk.expect("leaves")
    talk.expect("> ")
    talk.sendline("x" * 3000)
    talk.expect("> ")
    talk.sendline("\U0001f600")
    talk.expect_exact("(no word in that; try another)")
    talk.expect("> ")
    talk.send(leave if leave == "\x04" else leave + "\n")
    talk.expect(pexpect.EOF)
    talk.close()
    assert talk.exitstatus == 0


def test_the_python_api_needs_one_import() -> None:
    from chatbot import Chatbot as Public

    assert Public is Chatbot
    import chatbot as package

    with pytest.raises(AttributeError):
        _ = package.nothing


def test_help_comes_without_loading_torch() -> None:
    program = "import sys; from chatbot.__main__ import main\ntry: main(['train', '--help'])\nexcept SystemExit: pass\n"
    done = subprocess.run(
        [sys.executable, "-c", program + "assert 'torch' not in sys.modules"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_transcript_is_kept_of_prompts_and_pipes_too(
    trained: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.txt"
    assert main(["chat", str(trained.path), "--prompt", "Hello.", "--log", str(log)]) == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"How are\tyou?\n\nHello.")))
    assert main(["chat", str(trained.path), "--log", str(log)]) == 0
    first, second, empty, third = capsys.readouterr().out.split("\n")[:4]
    assert log.read_text() == f"> Hello.\n{first}\n> How are you?\n{second}\n> \n{empty}\n> Hello.\n{third}\n"
    out = tmp_path / "replies.tsv"
    for flag in ("--log", "--prompt"):
        line = mistake(capsys, "chat", trained.path, "--file", log, "--out", out, flag, tmp_path / "other")
        assert "leave out --log and --prompt" in line
    assert not out.exists()
