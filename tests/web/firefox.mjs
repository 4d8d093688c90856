/**
 * Talk to a page in Firefox. Arguments: the browser's program, the page's address, sentences. To stdout one JSON value:
 * `{state, replies, different}`, what the page says of itself, its replies, and how many golden ones are not Python's.
 */

import puppeteer from "puppeteer-core";

const [executablePath, url, ...sentences] = process.argv.slice(2);
const browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true, protocolTimeout: 300_000 });
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  await page.goto(url);
  await page.waitForSelector("#state.ready, #state.gone");
  const replies = [];
  for (const [number, sentence] of sentences.entries()) {
    await page.type("#text", sentence);
    await page.keyboard.press("Enter");
    const newest = Array(number + 1).fill("li.bot").join(" ~ ");
    await page.waitForSelector(`${newest} .notes`);
    replies.push(await page.$eval(`${newest} .bubble`, (bubble) => bubble.textContent));
  }
  const state = await page.$eval("#state", (element) => element.textContent);
  const { different } = await page.evaluate(async (address) => {
    const { createEngine } = await import(new URL("engine.js", address).href);
    return createEngine().check();
  }, url);
  process.stdout.write(JSON.stringify({ state, replies, different: different.length }));
} finally {
  await browser.close();
}
