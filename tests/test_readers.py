"""Sheets for readers: nobody can tell from one which system said what, and the marks come back to the right system."""

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from chatbot.chat.bot import Chatbot
from chatbot.config.presets import decoding_named
from chatbot.runs.directory import RunDirectory

ROOT = Path(__file__).parent.parent
READERS = ROOT / "bench" / "readers.py"
VISITS = ROOT / "bench" / "visits.py"


def readers(*words: object) -> str:
    command = [sys.executable, str(READERS), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("flags", [["--first", 30], ["--conversations", "--first", 12]], ids=["prompts", "talks"])
def test_marks_come_back_to_the_system_that_earned_them(
    flags: list[object], trained: RunDirectory, tmp_path: Path
) -> None:
    systems = {"sys1": "greedy", "sys2": "sample:temperature=2.0", "sys3": "greedy"}
    asked = [word for name, way in systems.items() for word in ("--system", f"{name}={trained.path}@{way}")]
    readers("sheet", tmp_path / "reading", *asked, *flags)
    sheet = (tmp_path / "reading" / "sheet-1.txt").read_text()
    assert not any(name in sheet for name in (*systems, str(trained.path)))
    bot = Chatbot.load(trained.path)
    said = {name: {"": 0} for name in systems}  # what each system really says, asked for here anew
    marks, number, turns, expected = [], 0, list[str](), dict.fromkeys(systems, 0)
    for line in sheet.split("Read each reply by itself, as the visitor would.\n")[1].splitlines():
        if before := re.match(r"    (bot|visitor): (.*)", line):
            turns.append(before[2])
        elif prompt := re.match(r"(\d+)\. > (.*)", line):
            number = int(prompt[1])
            ids = bot.prompt_ids(prompt[2], turns)
            for name, way in systems.items():
                said[name] = {bot.reply_batch([ids], decoding=decoding_named(way, bot.decoding))[0]: number}
            turns = []
        elif reply := re.match(r"([a-z])\) (.*)", line):
            mark = 2 if reply[2] in said["sys2"] else 0
            line = f"{mark} {line}"
            for name in systems:
                expected[name] += mark * (reply[2] in said[name])
        marks.append(line)
    assert expected["sys2"] == 2 * number
    (tmp_path / "reading" / "marks-1-ann.txt").write_text("\n".join(marks))
    table = readers("score", tmp_path / "reading", "--against", "sys1")
    rows = {row.split()[0]: row.split() for row in table.splitlines()[1:]}
    assert rows["sys2"][1] == "100%"
    assert rows["sys1"][1:] == rows["sys3"][1:]
    assert int(rows["sys1"][-1]) == number
    assert float(rows["sys1"][-2]) == pytest.approx(expected["sys1"] / number, abs=0.006)


class Echo(BaseHTTPRequestHandler):
    """A bot that says its path, how many turns it was given, and the last line."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = f"{self.path} {len(asked['history'])} {asked['text']}. {' '.join(asked['history'])}"
        body = json.dumps({"reply": reply}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_visitors_know_bots_by_letters_and_their_marks_come_back(tmp_path: Path) -> None:
    def visits(verb: str, *words: str) -> str:
        command = [sys.executable, str(VISITS), verb, str(tmp_path), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        systems = ["--system", f"one={address}/one", "--system", f"two={address}/two"]
        visits("begin", *systems, "--visitor", "anna", "--visitor", "ben")
        key = json.loads((tmp_path / "key.json").read_text())
        assert all(sorted(letters.values()) == ["one", "two"] for letters in key.values())
        for letter, system in key["anna"].items():
            assert visits("say", "anna", letter, "hi   there") == f"/{system}/reply 0 hi there. \n"
            first = f"/{system}/reply 0 hi there. "
            assert visits("say", "anna", letter, "and") == f"/{system}/reply 2 and. hi there {first}\n"
            path = tmp_path / f"anna-{letter}.txt"
            lines = path.read_text().splitlines()
            # marks do not stand in the way of going on, nor do they reach the bot
            assert [line[:2] for line in lines] == ["> ", "= "] * 2
            path.write_text(re.sub("(?m)^=", "2" if system == "one" else "-1", path.read_text()))
            assert visits("say", "anna", letter, "end").startswith(f"/{system}/reply 4 end. hi there {first} and /")
            assert visits("say", "anna", letter, "again", "--new") == f"/{system}/reply 0 again. \n"
            assert path.read_text().count("\n\n") == 1
            path.write_text(re.sub("(?m)^=", "0", path.read_text()))
        server.shutdown()
    rows = {row.split()[0]: row.split()[1:] for row in visits("score").splitlines()[1:]}
    assert rows["one"] == ["50%", "0%", "50%", "0%", "50%", "50%", "50%", "4"]
    assert rows["two"] == ["0%", "0%", "50%", "50%", "0%", "0%", "0%", "4"]


def test_the_everyday_prompts_stand_in_no_line_of_the_sample() -> None:
    def bare(text: str) -> str:
        return re.sub(r"[^a-z0-9 ]", "", text.lower()).strip()

    sample = {
        bare(line[2:])
        for path in (ROOT / "data" / "sample").glob("*.txt")
        for line in path.read_text().splitlines()
        if line.startswith("> ")
    }
    prompts = (ROOT / "bench" / "everyday" / "prompts.txt").read_text().splitlines()
    assert len({bare(prompt) for prompt in prompts} - sample) == len(prompts) >= 200
    for name in ("conversations", "more-conversations"):
        talks = (ROOT / "bench" / "everyday" / f"{name}.txt").read_text().strip().split("\n\n")
        assert len(talks) >= 60
        assert all(re.fullmatch(r"> .+\n[^>].+\n> .+", talk) for talk in talks)
