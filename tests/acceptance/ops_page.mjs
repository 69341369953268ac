// Looks at the page on the ops port in Chromium, as 27-page.sh asks: `holds: …` for each claim.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";

const [, , modules, executablePath, url, mode, ...rest] = process.argv;
const { chromium } = createRequire(modules + "/")("playwright-core");
const quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"];
const browser = await chromium.launch({ executablePath, args: quiet });
const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
const page = await context.newPage();
page.setDefaultTimeout(30_000);

const holds = (claim) => console.log(`holds: ${claim}`);
const refused = [];
const foreign = [];
/** While the server is there, a page that works has nothing to complain of. */
let isServed = true;
let sockets = 0;
let requests = 0;
page.on("websocket", () => (sockets += 1));
page.on("console", (message) => {
  if (!/readback/.test(message.text())) console.error(message.text());
  const isError = isServed && message.type() === "error";
  if (isError || /content security policy/i.test(message.text())) refused.push(message.text());
});
page.on("pageerror", (error) => refused.push(String(error)));
page.on("request", (request) => {
  requests += 1;
  if (!request.url().startsWith(url) && !request.url().startsWith("data:")) foreign.push(request.url());
});

const picture = (name) => page.screenshot({ path: `${modules}/page-${name}.png`, fullPage: true });
const row = (name, state) => page.locator("#exchanges tbody tr", { hasText: name }).filter({ hasText: state });
const live = () => page.locator("#feed.good", { hasText: "live" }).waitFor();

/** Pixels of the chart in the colours of candles. */
const drawn = () =>
  page.evaluate(() => {
    const style = getComputedStyle(document.documentElement);
    const colors = ["--up", "--down"].map((name) => parseInt(style.getPropertyValue(name).trim().slice(1), 16));
    let found = 0;
    for (const canvas of document.querySelectorAll("#chart canvas")) {
      if (!canvas.width || !canvas.height) continue;
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      for (let at = 0; at < data.length; at += 4) {
        if (colors.includes((data[at] << 16) | (data[at + 1] << 8) | data[at + 2])) found += 1;
      }
    }
    return found;
  });

const legend = () => page.locator("#legend").innerText();

async function showsCandles() {
  await live();
  const before = await legend();
  await page.waitForFunction((text) => document.getElementById("legend").innerText !== text, before);
  holds(`the chart's newest candle is live: ${await legend()}`);
  const pixels = await drawn();
  if (pixels < 200) throw new Error(`${pixels} pixels of candles`);
  holds("candles are drawn");
}

/** Whether anything is wider than the place it has: the page, or one of its tables. */
const cutOff = () =>
  page.evaluate(() => {
    const places = [document.documentElement, ...document.querySelectorAll(".scroll")];
    const isCut = (one) => one.scrollWidth > one.clientWidth;
    return places.filter(isCut).map((one) => `${one.firstElementChild.id || "page"}: ${one.scrollWidth} > ${one.clientWidth}`);
  });

async function takesPictures(name) {
  await page.locator("#candles-title ~ details summary").click();
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const width of [400, 1280, 1400, 1920]) {
      await page.setViewportSize({ width, height: 900 });
      await page.waitForTimeout(500);
      await picture(`${name}-${width}-${colorScheme}`);
      const cut = await cutOff();
      if (cut.length) throw new Error(`${name} ${width} ${colorScheme}: ${cut}`);
    }
  }
  await page.locator("#candles-title ~ details summary").click();
  holds(`at 400, 1280, 1400 and 1920 px, light and dark, no table is cut off (${name})`);
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
}

async function choosesSymbol(symbol) {
  await page.locator("#symbol").fill(symbol);
  await page.keyboard.press("Enter");
}

async function takesTypo() {
  await choosesSymbol("BTCUSTD");
  await page.locator("#feed.bad", { hasText: "did you mean BTCUSDT" }).waitFor();
  await picture("typo");
  const before = [sockets, requests];
  await page.waitForTimeout(5000);
  if (sockets > before[0]) throw new Error(`a rejected symbol is asked for again: ${sockets - before[0]} connections`);
  if (requests > before[1] + 7) throw new Error(`${requests - before[1]} requests in five seconds`);
  if (await drawn()) throw new Error("candles of another symbol are left");
  await choosesSymbol("BTCUSDT");
  await showsCandles();
  holds("a rejected symbol is said with the reason, and not asked for again");
}

async function takesIntervals() {
  const intervals = await page.locator("#interval option").evaluateAll((all) => all.map((one) => one.value));
  for (const interval of intervals) {
    await page.locator("#interval").selectOption(interval);
    await page.locator("#legend", { hasText: `BTCUSDT ${interval} ` }).waitFor();
    await live();
    // A day of minutes is 48 candles of 30m; longer ones are the exchange's own.
    await page.waitForFunction(() => candles.size >= 48).catch(async () => {
      const count = await page.evaluate(() => candles.size);
      throw new Error(`${interval}: ${count} candles; ${await page.locator("#feed").innerText()}`);
    });
  }
  await picture("interval-1d");
  await page.locator("#interval").selectOption("1m");
  await page.locator("#legend", { hasText: "BTCUSDT 1m " }).waitFor();
  holds(`every interval has its candles: ${intervals.join(" ")}`);
}

async function hasHovers() {
  const bare = await page.evaluate(() =>
    [...document.querySelectorAll(".scroll td, .scroll th, .figures > div")].filter((one) => !one.title).map((one) => one.textContent));
  if (bare.length) throw new Error(`no hover text: ${bare}`);
  const meanings = await page.locator("#meanings dt").count();
  if (meanings < 40) throw new Error(`${meanings} meanings`);
  holds("every figure says what it means");
}

async function takesKeys() {
  await choosesSymbol("ETHUSDT");
  await page.locator("#legend", { hasText: "ETHUSDT" }).waitFor();
  holds("another symbol is chosen by keyboard");
  await page.locator("#chart").focus();
  for (const key of ["ArrowLeft", "+", "-", "Home", "End"]) await page.keyboard.press(key);
  await live();
  await choosesSymbol("BTCUSDT");
  await page.locator("#legend", { hasText: "BTCUSDT" }).waitFor();
}

/** Nothing is streamed: the page says so, asks for nothing, and offers a symbol. */
async function isEmpty() {
  await page.locator("#feed", { hasText: "is streamed yet" }).waitFor();
  const before = sockets;
  await page.waitForTimeout(5000);
  if (sockets > before) throw new Error("an empty page asks again and again");
  await takesPictures("empty");
  await page.locator("#known").click();
  await showsCandles();
  holds("an empty page offers a symbol, and shows it");
}

async function isCrowded() {
  await row("binance spot", "400").waitFor();
  await showsCandles();
  const offered = await page.locator("#symbols option").count();
  if (offered !== 400) throw new Error(`${offered} symbols are offered`);
  await takesPictures("crowd");
}

async function exchanges(simulatorPid, simulator, spot, serverPid) {
  await row("binance spot", "live").waitFor();
  await row("okx swap", "live").waitFor();
  holds("exchanges have their rows");
  await page.locator("#hops tbody tr", { hasText: "total" }).filter({ hasText: "≤" }).waitFor();
  holds("hops have percentiles");
  await page.locator("#ledger dd.good", { hasText: "storing" }).waitFor();
  holds("the ledger shows that it stores");
  await showsCandles();
  await takesPictures("usual");
  await takesKeys();
  await takesTypo();
  await takesIntervals();
  await hasHovers();

  const killed = Date.now();
  process.kill(Number(simulatorPid), "SIGKILL");
  await row("binance spot", "lost").and(page.locator("tr.bad")).waitFor();
  holds(`a killed exchange is red after ${((Date.now() - killed) / 1000).toFixed(1)} s`);
  await row("okx swap", "live").waitFor();
  await page.locator("#feed.bad", { hasText: "binance spot is lost" }).waitFor();
  await picture("exchange-lost");
  const again = spawn(simulator, ["--spot-port", spot], { stdio: "ignore" });
  try {
    await row("binance spot", "live").waitFor();
    holds("the exchange is back");
    await live();
    await showsCandles();
  } finally {
    again.kill();
  }

  isServed = false;
  process.kill(Number(serverPid), "SIGKILL");
  await page.locator("body.stale #status.bad", { hasText: "does not answer" }).waitFor();
  await page.locator("#age", { hasText: "what is below is old" }).waitFor();
  if ((await drawn()) < 200) throw new Error("the candles are gone with the server");
  await picture("server-gone");
  holds("a server that is gone is said, and what is shown is greyed");
}

async function enter(token) {
  await page.locator("#token").fill(token);
  await page.keyboard.press("Enter");
}

async function demandsToken(right) {
  await page.locator("#feed", { hasText: "demands a token" }).waitFor();
  await picture("token");
  await enter("wrong");
  await page.locator("#feed.bad", { hasText: "does not take this token" }).waitFor();
  holds("a wrong token is refused in words");
  await enter(right);
  await showsCandles();
  const kept = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]);
  const isLeft = (await page.content()).includes(right) || (await page.locator("#token").inputValue());
  if (String(kept) !== "0,0," || isLeft) throw new Error(`the token is kept: ${kept} ${isLeft}`);
  await page.reload();
  await page.locator("#feed", { hasText: "demands a token" }).waitFor();
  holds("the right one is taken, and kept nowhere");
}

async function isOfAnotherOrigin() {
  await page.locator("#feed", { hasText: "CONNECTOR_WSS_ORIGINS" }).waitFor();
  holds("a page that the clients' port would not let in says what to set");
}

try {
  await page.goto(url);
  await { exchanges, token: demandsToken, origin: isOfAnotherOrigin, empty: isEmpty, crowd: isCrowded }[mode](...rest);
  if (refused.length || foreign.length) throw new Error(`${refused} ${foreign}`);
  holds(`no error on the console, nothing refused by the policy or asked of anybody else (${mode})`);
} finally {
  await browser.close();
}
console.log("done");
