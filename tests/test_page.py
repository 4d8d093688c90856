"""The page in a real browser: a person talks, looks at attention, reloads, loses the server and finds it again."""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright import sync_api as playwright
from serving import running

from chatbot.chat.bot import Chatbot
from chatbot.config.settings import DecodingConfig
from chatbot.runs.directory import RunDirectory

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium (Debian: apt-get install chromium)")
SECONDS = 60_000  # milliseconds that the browser waits for what must come; a busy machine is slow
HOSTILE = [
    "<img src=x onerror=window.hit=1>",
    "<script>window.hit=1</script>",
    "</div><svg onload=window.hit=1>",
    "javascript:window.hit=1 \u202e{{7*7}} ${window.hit=1}",
]


@pytest.fixture(scope="module")
def bot(trained: RunDirectory) -> Chatbot:
    return Chatbot.load(trained.path)


@pytest.fixture(scope="module")
def url(bot: Chatbot) -> Iterator[str]:
    with running(bot) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    # a container's root has no sandbox for it; only this repository's own pages are opened
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def opened(browser: Any, url: str) -> Iterator[Any]:
    """A page of its own, opened; at the end it has asked no other host for anything, and had no errors."""
    yield from page_at(browser, url)


def page_at(browser: Any, url: str, **context: Any) -> Iterator[Any]:
    with browser.new_context(**context) as of:
        page = of.new_page()
        page.set_default_timeout(SECONDS)
        playwright.expect.set_options(timeout=SECONDS)
        asked, errors = list[str](), list[str]()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        playwright.expect(page.locator("#state")).to_have_text("ready")
        yield page
        assert not errors
        assert [one for one in asked if not one.startswith((url, f"blob:{url}"))] == []
        assert page.evaluate("window.hit") is None


def say(page: Any, text: str) -> None:
    page.get_by_role("textbox").fill(text)
    page.keyboard.press("Enter")
    playwright.expect(page.get_by_role("button", name="Send")).to_be_visible()


def bubbles(page: Any) -> list[str]:
    return page.locator("#log .bubble").all_inner_texts()


def test_a_person_talks_and_words_come_as_they_are_found(opened: Any, bot: Chatbot) -> None:
    opened.evaluate(
        """() => { window.seen = new Set(); new MutationObserver(() => {
            const last = document.querySelector('#log .bot:last-of-type .bubble');
            if (last) window.seen.add(last.textContent); }).observe(document.getElementById('log'),
            {subtree: true, childList: true, characterData: true}); }"""
    )
    prompts = ("tell me a joke qxzvw", "what is your name qxzvw?", "how are you qxzvw?", "good night qxzvw")
    text = max(prompts, key=lambda text: len(list(bot.stream(text))))
    say(opened, text)
    assert bubbles(opened) == [text, bot.reply(text)]
    pieces = list(bot.stream(text))
    seen = opened.evaluate("[...window.seen]")
    assert len(pieces) > 2
    assert set(seen) <= {"".join(pieces[:end]) for end in range(len(pieces) + 1)}
    assert opened.locator("mark").all_inner_texts() == ["qxzvw"]
    playwright.expect(opened.get_by_text("I never learnt: qxzvw")).to_be_visible()
    # this bot reads no turns before; the page says so
    playwright.expect(opened.locator("#reads")).to_contain_text("reads your last message only")
    playwright.expect(opened.locator(".horizon")).to_have_count(1)


def test_the_words_of_a_stream_are_shown_before_its_end(opened: Any) -> None:
    opened.evaluate(
        """() => { const end = new TextEncoder(); window.fetch = async () => new Response(new ReadableStream({
            start(to) { window.feed = (event) => to.enqueue(end.encode(`data: ${JSON.stringify(event)}\\n\\n`)); }
        })); }"""
    )
    opened.get_by_role("textbox").fill("hello")
    opened.keyboard.press("Enter")
    playwright.expect(opened.get_by_role("button", name="Stop")).to_be_visible()
    opened.evaluate("window.feed({piece: 'one'})")
    playwright.expect(opened.locator("#log .bot .bubble")).to_have_text("one")
    opened.evaluate("window.feed({piece: ' <b>two</b>'})")
    playwright.expect(opened.locator("#log .bot .bubble")).to_have_text("one <b>two</b>")
    opened.evaluate("window.feed({reply: 'one <b>two</b>', unknown: [], attention: null})")
    playwright.expect(opened.get_by_role("button", name="Send")).to_be_visible()


def test_attention_is_a_picture_on_a_click(opened: Any, bot: Chatbot) -> None:
    say(opened, "how are you?")
    look = opened.get_by_role("button", name="Attention")
    look.click()
    read, said, weights = bot.attend("how are you?")
    table = opened.get_by_role("region", name="Attention of the reply")
    assert table.locator("th[scope=col]").all_inner_texts() == read
    assert table.locator("th[scope=row]").all_inner_texts() == [word.replace("<eos>", "(end)") for word in said]
    shown = [float(text or 0) for text in table.locator("tbody td").all_inner_texts()]
    assert shown == pytest.approx([100 * weight for weight in weights.flatten().tolist()], abs=1)
    colours = {cell.evaluate("e => getComputedStyle(e).backgroundColor") for cell in table.locator("tbody td").all()}
    assert len(colours) > 1, "the cells are coloured by their weights, which the page's own policy must allow"
    look.click()
    playwright.expect(table).to_have_count(0)


def test_the_conversation_stays_when_the_page_is_loaded_again(opened: Any) -> None:
    say(opened, "hello")
    say(opened, "good night")
    before = bubbles(opened)
    opened.reload()
    playwright.expect(opened.locator("#state")).to_have_text("ready")
    assert bubbles(opened) == before
    opened.get_by_role("button", name="New").click()
    assert bubbles(opened) == []
    opened.reload()
    playwright.expect(opened.locator("#state")).to_have_text("ready")
    assert bubbles(opened) == []


def test_the_server_is_lost_and_found_again(browser: Any, bot: Chatbot) -> None:
    with running(bot) as address:
        pages = page_at(browser, address)
        page = next(pages)
        say(page, "hello")
    say(page, "good night")
    playwright.expect(page.locator(".failed .bubble")).to_contain_text("The server does not answer.")
    playwright.expect(page.locator("#state")).to_have_class("gone")
    with running(bot, port=int(address.rpartition(":")[2])):
        playwright.expect(page.locator("#state")).to_have_text("ready")
        page.get_by_role("button", name="Try again").click()
        playwright.expect(page.locator("#log .bot .bubble").nth(1)).to_have_text(bot.reply("good night", ["hello"]))
        assert next(pages, None) is None


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_said_is_text_and_never_html(opened: Any, text: str) -> None:
    say(opened, text)
    assert bubbles(opened)[0] == text
    # and a reply, its words and its attention, should a bot ever say such
    attention = {"read": [text], "said": [text], "weights": [[1]]}
    event = json.dumps({"reply": text, "unknown": [text], "attention": attention})
    opened.route("**/reply", lambda route: route.fulfill(body=f"data: {event}\n\n", content_type="text/event-stream"))
    say(opened, "hello")
    assert bubbles(opened)[3] == text
    opened.get_by_role("button", name="Attention").last.click()
    assert opened.locator("#log img, #log script, #log svg").count() == 0


def test_the_keyboard_is_enough(opened: Any, bot: Chatbot) -> None:
    opened.keyboard.type("hello")  # the text has the focus from the start
    opened.keyboard.press("Shift+Enter")
    opened.keyboard.type("there")
    opened.keyboard.press("Enter")
    playwright.expect(opened.get_by_role("button", name="Send")).to_be_visible()
    assert bubbles(opened) == ["hello\nthere", bot.reply("hello\nthere")]
    seen = list[str]()
    for _ in range(12):
        opened.keyboard.press("Tab")
        seen.append(
            opened.evaluate("document.activeElement.innerText || document.activeElement.getAttribute('aria-label')")
        )
    assert {"New", "Decoding", "More", "Attention", "Send"} <= set(seen)
    opened.locator("#decoding summary").focus()
    opened.keyboard.press("Enter")
    playwright.expect(opened.get_by_role("radio", name="Greedy always")).to_be_visible()
    opened.keyboard.press("Escape")
    playwright.expect(opened.get_by_role("radio", name="Greedy always")).not_to_be_visible()


def test_what_a_screen_reader_is_told(opened: Any) -> None:
    say(opened, "hello")
    playwright.expect(opened.get_by_role("log", name="Conversation")).to_contain_text("You: hello")
    playwright.expect(opened.get_by_role("textbox", name="Your message")).to_be_visible()
    playwright.expect(opened.get_by_role("status")).to_have_text("ready")
    playwright.expect(opened.get_by_role("heading", level=1)).to_have_text("tiny")
    nameless = opened.evaluate(
        """[...document.querySelectorAll('button, summary, input')]
            .filter((one) => !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).map((one) => one.id)"""
    )
    assert nameless == []


def test_the_menu_chooses_how_replies_are_found(opened: Any, bot: Chatbot) -> None:
    asked = list[dict[str, Any]]()
    opened.on("request", lambda request: request.method == "POST" and asked.append(request.post_data_json))
    opened.locator("#decoding summary").click()
    opened.get_by_role("radio", name="Beam").check()
    opened.get_by_role("slider", name="width").fill("7")
    opened.keyboard.press("Escape")
    say(opened, "hello")
    assert asked[0]["decoding"] == {"method": "beam", "beam_width": 7, "length_penalty": 1}
    opened.locator("#decoding summary").click()
    opened.get_by_role("radio", name="Sample").check()
    playwright.expect(opened.get_by_role("slider", name="width")).not_to_be_visible()
    opened.keyboard.press("Escape")
    say(opened, "hello")
    assert asked[1]["decoding"]["method"] == "sample"
    beam = DecodingConfig(method="beam", beam_width=7, length_penalty=1.0)
    # a network this small may find that silence is likeliest
    found = bot.reply("hello", decoding=beam) or "(it says nothing)"
    playwright.expect(opened.locator("#log .bot .bubble").first).to_have_text(found)


def test_only_what_the_bot_reads_is_sent(browser: Any, url: str, bot: Chatbot) -> None:
    """However long the conversation gets, a request stays small; this page's bot reads one turn, and the other none."""
    with running(dataclasses.replace(bot, context=1)) as other:
        for address in (url, other):
            for page in page_at(browser, address):
                asked = list[list[str]]()
                page.on(
                    "request", lambda one, to=asked: one.method == "POST" and to.append(one.post_data_json["history"])
                )
                for _ in range(3):
                    say(page, "hello")
                _, first, _, second, _, _ = bubbles(page)
                assert asked == ([[], [], []] if address == url else [[], [first], [second]])


def test_the_transcript_is_saved_as_chat_writes_it(opened: Any, bot: Chatbot) -> None:
    say(opened, "hello\n  there")
    opened.locator("#more summary").click()
    with opened.expect_download() as saved:
        opened.get_by_role("button", name="Download transcript").click()
    assert saved.value.suggested_filename == "tiny.txt"
    assert Path(saved.value.path()).read_text() == f"> hello there\n{bot.reply('hello there')}\n"


def test_a_key_is_asked_for(browser: Any, bot: Chatbot) -> None:
    with running(bot, key="open sesame") as address, browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.goto(address)
        page.get_by_label("Key", exact=True).fill("open sesame")
        page.get_by_role("button", name="Go on").click()
        playwright.expect(page.locator("#state")).to_have_text("ready")
        say(page, "hello")
        assert bubbles(page) == ["hello", bot.reply("hello")]


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_phones_and_screens_by_day_and_night(browser: Any, url: str, width: int, scheme: str) -> None:
    for page in page_at(browser, url, viewport={"width": width, "height": 720}, color_scheme=scheme):
        say(page, "how are you, my " + "very " * 30 + "l" + "o" * 200 + "ng friend?")
        page.get_by_role("button", name="Attention").click()
        for menu in ("#decoding", "#more"):
            page.locator(f"{menu} summary").click()
            box = page.locator(f"{menu} > :not(summary)").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (sum(ground) < 200) == (scheme == "dark")


def test_the_page_of_the_api(browser: Any, url: str) -> None:
    for page in page_at(browser, url):
        page.goto(f"{url}/docs")
        playwright.expect(page.get_by_role("heading", name="POST /reply")).to_be_visible()
        playwright.expect(page.get_by_text("the turns before it")).to_be_visible()


def test_the_picture_of_the_readme(browser: Any, tmp_path: Path) -> None:
    """CHATBOT_PICTURE names the file that is to be the README's; without it the picture is taken and thrown away."""
    run = RunDirectory(Path(__file__).parent.parent / "checkpoints" / "pretrained")
    picture = Path(os.environ.get("CHATBOT_PICTURE", tmp_path / "page.png"))
    with running(Chatbot.load(run.path), name="pretrained") as address:
        for page in page_at(browser, address, viewport={"width": 900, "height": 960}):
            say(page, "my dog died yesterday")
            page.get_by_role("button", name="Attention").click()
            say(page, "I grow zorblax in my garden")
            # not wait_for_function, which evaluates a string in the page, and its policy forbids that
            page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished))")
            page.screenshot(path=picture)
    assert picture.stat().st_size < 200_000
