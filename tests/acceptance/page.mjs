// Serves page.html over https and opens it in a Chromium that trusts what HOME's certificate store
// does. Prints the messages that it shows and, once its socket is closed, its candle.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { createRequire } from "node:module";

const [, , modules, executablePath, origin, certificates, url, request] = process.argv;
const { chromium } = createRequire(modules + "/")("playwright-core");
const { hostname, port } = new URL(origin);
const credentials = {
  cert: readFileSync(`${certificates}/chain.pem`),
  key: readFileSync(`${certificates}/leaf.key`),
};
const page = readFileSync(new URL("page.html", import.meta.url));
const server = createServer(credentials, (_, response) => {
  response.setHeader("Content-Type", "text/html");
  response.end(page);
});
await new Promise((listening) => server.listen(port, hostname, listening));

const quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"];
const browser = await chromium.launch({ executablePath, args: quiet });
try {
  const tab = await browser.newPage();
  tab.on("console", (message) => console.error(message.text()));
  await tab.goto(`${origin}/?${new URLSearchParams({ url, request })}`);
  await tab.getByText(/closed \d+/).waitFor();
  await tab.screenshot({ path: `${modules}/page-${hostname}.png` });
  console.log(await tab.locator("#messages").innerText());
  console.log(await tab.locator("p").innerText());
} finally {
  await browser.close();
  server.close();
}
