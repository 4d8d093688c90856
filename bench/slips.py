"""Slips of the finger: how many replies are those to the right spelling, with unknown words mended and without.

    python bench/slips.py [RUN] [--prompts FILE] [--count 200] [--seed 1] [--json FILE]

RUN is a run directory or an export's folder (default: the bot in the box). The prompts are everyday ones that stand in
no corpus (bench/everyday/prompts.txt). Each gets one slip, in turn by the rules of SLIPS that fit it; the seed chooses
the word and the place. A slip may well make another word that the bot knows (form for from): then it stays.
"""

import argparse
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import results
import torch

from chatbot.chat.bot import Chatbot

PROMPTS = results.ROOT / "bench" / "everyday" / "prompts.txt"
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # of a keyboard
SHORT = {"you": "u", "are": "r", "please": "pls", "your": "ur", "thanks": "thx", "because": "cuz"}
BESIDE = {letter: row[max(0, at - 1) : at] + row[at + 1 : at + 2] for row in ROWS for at, letter in enumerate(row)}


def exchanged(word: str, rng: random.Random) -> str:
    """Two neighbours the wrong way round, behind the first letter."""
    at = rng.choice([at for at in range(1, len(word) - 1) if word[at] != word[at + 1]])
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def left_out(word: str, rng: random.Random) -> str:
    """A letter behind the first is missing."""
    at = rng.randrange(1, len(word))
    return word[:at] + word[at + 1 :]


def doubled(word: str, rng: random.Random) -> str:
    """A letter twice."""
    at = rng.randrange(len(word))
    return word[:at] + word[at] + word[at:]


def beside(word: str, rng: random.Random) -> str:
    """The key beside the right one, behind the first letter."""
    at = rng.randrange(1, len(word))
    return word[:at] + rng.choice(BESIDE[word[at].lower()]) + word[at + 1 :]


def drawn_out(word: str, rng: random.Random) -> str:
    """The last letter, many times."""
    return word + word[-1] * rng.randint(2, 4)


def loud(word: str, rng: random.Random) -> str:
    """Capitals."""
    return word.upper()


Rule = Callable[[str, random.Random], str]
# what each rule does, and the words that it is for; `exchanged` and so on want letters enough to exchange
SLIPS: dict[str, tuple[Rule, str]] = {
    "two letters exchanged": (exchanged, r"[A-Za-z](?=[a-z]*([a-z])(?!\1)[a-z])[a-z]{3,}"),
    "a letter left out": (left_out, r"[A-Za-z][a-z]{3,}"),
    "a letter doubled": (doubled, r"[A-Za-z][a-z]{3,}"),
    "the key beside": (beside, r"[A-Za-z][a-z]{3,}"),
    "a letter drawn out": (drawn_out, r"[A-Za-z][a-z]{2,}"),
    "written short": (lambda word, _: SHORT[word.lower()], "|".join(SHORT)),
    "an apostrophe left out": (lambda word, _: word.replace("'", ""), r"[A-Za-z]+'[a-z]+"),
    "capitals": (loud, r"[A-Za-z][a-z]{2,}"),
}


def slipped(text: str, rule: str, rng: random.Random) -> str | None:
    """A prompt with one slip by a rule; None where no word is for it."""
    slip, words = SLIPS[rule]
    found = list(re.finditer(rf"(?<![A-Za-z'])(?:{words})(?![A-Za-z'])", text, re.IGNORECASE))
    if not found:
        return None
    word = rng.choice(found)
    return text[: word.start()] + slip(word[0], rng) + text[word.end() :]


def slips(prompts: list[str], count: int, seed: int) -> list[tuple[str, str, str]]:
    """So many prompts, each with what it becomes and the rule: the rule that was used least of those that fit."""
    rng, used, made = random.Random(seed), Counter(dict.fromkeys(SLIPS, 0)), []
    for prompt in prompts:
        for rule, _ in sorted(used.items(), key=lambda item: item[1]):
            if len(made) < count and (text := slipped(prompt, rule, rng)) is not None and text != prompt:
                made.append((prompt, text, rule))
                used[rule] += 1
                break
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="measure what slips do to replies")
    parser.add_argument("run", nargs="?", type=Path, default=results.ROOT / "checkpoints" / "pretrained")
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="print each prompt whose reply is another")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    made = slips(arguments.prompts.read_text("utf-8").splitlines(), arguments.count, arguments.seed)
    rules = Counter(rule for _, _, rule in made)
    rows = []
    for mend in (True, False):
        bot = Chatbot.load(arguments.run, mend_words=mend)
        right, wrong = (bot.reply_batch([row[column] for row in made]) for column in (0, 1))
        same = Counter(rule for (_, _, rule), one, other in zip(made, right, wrong, strict=True) if one == other)
        rows.append({"mended": mend, "same": same.total(), "of": len(made), "by_rule": dict(same)})
        print(f"{'mended' if mend else 'as they are'}: {same.total()} of {len(made)} replies are the same")
        for rule, count in rules.items():
            print(f"    {rule:24}{same[rule]:4} of {count}")
        for (_, text, _), one, other in zip(made, right, wrong, strict=True) if arguments.show else ():
            if one != other:
                print(f"{text}\n    {' '.join(bot.words(text))}\n    {other}\n    {one}")
    mended, plain = (row["same"] / row["of"] for row in rows)
    what = "replies that are those to the right spelling (baseline: unknown words not mended)"
    found = {"count": len(made), "seed": arguments.seed, "rules": dict(rules), "rows": rows}
    results.write(arguments.json, "slips", **found, table=[results.line(what, "share", mended, plain)])


if __name__ == "__main__":
    main()
