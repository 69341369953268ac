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
page.on("console", (message) => {
  console.error(message.text());
  if (/content security policy/i.test(message.text())) refused.push(message.text());
});
page.on("pageerror", (error) => refused.push(String(error)));
page.on("request", (request) => {
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

async function takesPictures() {
  for (const [name, colorScheme, width] of [["light", "light", 1280], ["dark", "dark", 1280], ["phone", "light", 390], ["phone-dark", "dark", 390]]) {
    await page.setViewportSize({ width, height: 844 });
    await page.emulateMedia({ colorScheme });
    await page.waitForTimeout(500);
    await picture(name);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (overflow > 0) throw new Error(`${name}: ${overflow} px wider than the screen`);
  }
  holds("light, dark and on a phone it is no wider than the screen");
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
}

async function takesKeys() {
  await page.locator("#symbol").fill("ETHUSDT");
  await page.keyboard.press("Enter");
  await page.locator("#legend", { hasText: "ETHUSDT" }).waitFor();
  holds("another symbol is chosen by keyboard");
  await page.locator("#chart").focus();
  for (const key of ["ArrowLeft", "+", "-", "Home", "End"]) await page.keyboard.press(key);
  await live();
}

async function exchanges(simulatorPid, simulator, spot, serverPid) {
  await row("binance spot", "live").waitFor();
  await row("okx swap", "live").waitFor();
  holds("exchanges have their rows");
  await page.locator("#hops tbody tr", { hasText: "total" }).filter({ hasText: "≤" }).waitFor();
  holds("hops have percentiles");
  await showsCandles();
  await takesPictures();
  await takesKeys();

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
  await { exchanges, token: demandsToken, origin: isOfAnotherOrigin }[mode](...rest);
  if (refused.length || foreign.length) throw new Error(`${refused} ${foreign}`);
  holds(`nothing was refused by the policy, or asked of anybody else (${mode})`);
  console.log("done");
} finally {
  await browser.close();
}
