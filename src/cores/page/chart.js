// Candles of one symbol, asked of the clients' port like by any other client, drawn by Lightweight
// Charts. Learns from the event `state` where that port is and what it demands.
"use strict";

const CANDLES_MAX = 1000;
const HISTORY = 120;
const TABLE_ROWS = 10;
const RETRY_MS = [1000, 2000, 5000, 10000];
/** The same after a symbol was refused: most are mistyped, and each attempt asks the exchange. */
const REFUSED_RETRY_MS = [30_000, 60_000, 300_000];
const INTERVAL_MS = { m: 60_000, h: 3_600_000 };

const library = window.LightweightCharts;
const drawing = library.createChart(byId("chart"), {
  autoSize: true,
  // Its own logo wants a style that the policy forbids; the footer names its authors.
  layout: { attributionLogo: false },
  timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 3 },
  localization: { locale: "en" },
});
const series = drawing.addSeries(library.CandlestickSeries, {});

/** What is shown: its candles by open time in ms, as the last message about each had them. */
let candles = new Map();
/** Whose they are. */
let shown = "";
/** Whether the exchange's sessions are. */
let isFed = true;
let port = null;
let socket = null;
/** Lives in this variable only. */
let token = "";
let retries = 0;
/** Refusals of what is chosen, in a row. */
let refusals = 0;
let retryTimer = 0;

function paint() {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  const [up, down, line] = ["up", "down", "line"].map(color);
  drawing.applyOptions({
    layout: { background: { color: color("card") }, textColor: color("text") },
    grid: { vertLines: { color: line }, horzLines: { color: line } },
    timeScale: { borderColor: line },
    rightPriceScale: { borderColor: line },
  });
  series.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false });
}

function say(text, kind = "") {
  write(byId("feed"), text, `state ${kind}`);
  document.body.classList.toggle("silent", kind !== "good");
}

const bar = (quote) => ({
  time: quote.open_time / 1000, open: quote.open, high: quote.high, low: quote.low, close: quote.close,
});
const inOrder = () => [...candles.values()].sort((a, b) => a.open_time - b.open_time);

/** A candle new or restated. Only the newest can be drawn by itself. */
function put(quote) {
  const newest = Math.max(...candles.keys());
  candles.set(quote.open_time, quote);
  if (quote.open_time >= newest && candles.size <= CANDLES_MAX) {
    series.update(bar(quote));
  } else {
    candles = new Map(inOrder().slice(-CANDLES_MAX / 2).map((one) => [one.open_time, one]));
    series.setData(inOrder().map(bar));
  }
}

/** As many digits as any price has had. */
function fitDigits(quote) {
  const digits = (value) => (String(value).split(".")[1] ?? "").length;
  const precision = Math.min(12, Math.max(...[quote.open, quote.high, quote.low, quote.close].map(digits)));
  if (precision > series.options().priceFormat.precision || candles.size === 0) {
    series.applyOptions({ priceFormat: { type: "price", precision, minMove: 10 ** -precision } });
  }
}

const hour = (ms) => new Date(ms).toISOString().slice(11, 16);
const words = (quote) =>
  `${hour(quote.open_time)} open ${quote.open}, high ${quote.high}, low ${quote.low}, close ${quote.close}, volume ${quote.volume}`;

function describe(quote) {
  write(byId("legend"), `${quote.symbol} ${quote.interval} ${words(quote)}`);
  const name = `Candles of ${quote.symbol} at ${quote.exchange} ${quote.contract_type}, ${quote.interval}`;
  // Once a candle: whoever listens is not told every tick.
  const label = `${name}; newest begun at ${hour(quote.open_time)}`;
  if (byId("chart").getAttribute("aria-label") !== label) byId("chart").setAttribute("aria-label", label);
  fill("newest", inOrder().slice(-TABLE_ROWS).reverse().map((one) => ({ cells: tableRow(one) })));
}

function tableRow(one) {
  const length = parseInt(one.interval, 10) * INTERVAL_MS[one.interval.at(-1)];
  const lag = Date.parse(one.current_time) - one.open_time - length;
  const told = one.is_closed_candle && one.source === "ws" && lag < length ? `${lag} ms` : "–";
  const state = one.is_closed_candle ? `closed by ${one.final_by}` : "running";
  return [hour(one.open_time), ...[one.open, one.high, one.low, one.close, one.volume].map(String), state, told];
}

function clear() {
  candles.clear();
  series.setData([]);
  fill("newest", []);
  write(byId("legend"), "\u00a0");
  byId("chart").setAttribute("aria-label", "No candles yet");
}

/** Why the clients' port would not let this page in. */
function obstacle() {
  if (port.origins.length && !port.origins.includes("*") && !port.origins.includes(location.origin.toLowerCase())) {
    return `the clients' port lets in pages of ${port.origins.join(", ")} only: name ${location.origin} in CONNECTOR_WSS_ORIGINS`;
  }
  return port.token && !token ? "the clients' port demands a token: enter one" : "";
}

const scheme = () => (port.tls ? "wss" : "ws");

/** Asks anew for what is chosen. What is drawn of it stays until then. */
function connect() {
  clearTimeout(retryTimer);
  if (socket) socket.onclose = socket.onmessage = null;
  socket?.close();
  socket = null;
  const why = obstacle();
  if (why) return say(why, "warn");
  const url = `${scheme()}://${location.hostname}:${port.port}/`;
  say(`connecting to ${url}`);
  const [exchange, contract_type] = byId("market").value.split(" ");
  const asked = { exchange, contract_type, symbol: byId("symbol").value.trim(), interval: byId("interval").value };
  const opened = (socket = new WebSocket(url));
  const send = (request) => opened.send(JSON.stringify(request));
  opened.onopen = () => {
    if (token) send({ op: "auth", token });
    // What is streamed there, to choose from.
    send({ op: "subscribe", id: "names", exchange, contract_type, symbols: ["*"], closed_only: true });
  };
  opened.onmessage = ({ data }) => takeMessage(JSON.parse(data), asked, send);
  opened.onclose = ({ code, reason }) => lost(code, reason);
}

function takeMessage(message, asked, send) {
  const { type, id } = message;
  if (id === "names") return takeNames(type === "subscribed" ? message.symbols : [], asked, send);
  if (type === "subscribed" && id === "candles") {
    [asked.symbol] = message.symbols;
    const now = Object.values(asked).join(" ");
    if (shown !== now) clear();
    shown = now;
    return say(`${asked.symbol} at ${asked.exchange} ${asked.contract_type}: waiting for its first candle`);
  }
  if (type === "error") {
    refusals += 1;
    return say([message.message, message.exchange_message].filter(Boolean).join(": "), "bad");
  }
  if (message.symbol !== asked.symbol || message.interval !== asked.interval) return;
  if (type === "quote" || type === "correction") {
    retries = refusals = 0;
    fitDigits(message);
    put(message);
    if (message.open_time === Math.max(...candles.keys())) {
      describe(message);
      if (isFed) say(`${asked.symbol} at ${asked.exchange} ${asked.contract_type}: live`, "good");
    }
  }
}

const retryMs = () => {
  const [waits, count] = refusals ? [REFUSED_RETRY_MS, refusals - 1] : [RETRY_MS, retries];
  return waits[Math.min(count, waits.length - 1)];
};

/** The list is had; its stream was of no other use. */
function takeNames(symbols, asked, send) {
  const { exchange, contract_type, interval } = asked;
  byId("symbols").replaceChildren(...symbols.map((name) => new Option(name, name)));
  if (symbols.length) send({ op: "unsubscribe", exchange, contract_type, symbols: ["*"] });
  if (!asked.symbol && symbols.length) byId("symbol").value = asked.symbol = symbols[0];
  if (!asked.symbol) return say("nothing is streamed here: enter a symbol", "warn");
  send({ op: "subscribe", id: "candles", exchange, contract_type, symbols: [asked.symbol], interval, history: HISTORY });
}

function lost(code, reason) {
  const seconds = retryMs() / 1000;
  retries += 1;
  if (code === 1008 && port.token && /token|unauthorized/i.test(reason)) {
    token = "";
    return say(`the clients' port does not take this token: ${reason}`, "bad");
  }
  const certificate = port.tls && retries > 1 ? `; if this browser does not know its certificate, open https://${location.hostname}:${port.port}/health once` : "";
  // What was refused is shown still.
  if (!refusals) say(`no connection to the clients' port (${reason || code}); next try in ${seconds} s${certificate}`, "bad");
  retryTimer = setTimeout(connect, seconds * 1000);
}

/** Markets with streams first. What is chosen stays chosen. */
function offerMarkets(exchanges) {
  const group = (label, ones) => {
    const group = document.createElement("optgroup");
    group.label = label;
    group.append(...ones.map((one) => new Option(marketName(one), marketName(one))));
    return group;
  };
  const isStreamed = (one) => one.instruments > 0;
  const streamed = exchanges.filter(isStreamed);
  const select = byId("market");
  const key = streamed.map(marketName).join();
  if (select.options.length && select.dataset.streamed === key) return;
  const chosen = select.value;
  select.dataset.streamed = key;
  const groups = [["streamed", streamed], ["not subscribed", exchanges.filter((one) => !isStreamed(one))]];
  select.replaceChildren(...groups.filter(([, ones]) => ones.length).map(([label, ones]) => group(label, ones)));
  if (chosen) select.value = chosen;
}

document.addEventListener("state", ({ detail: state }) => {
  offerMarkets(state.exchanges);
  const isNew = JSON.stringify(port) !== JSON.stringify(state.clients_port);
  port = state.clients_port;
  byId("entry").hidden = !port.token;
  if (isNew) connect();
  const market = state.exchanges.find((one) => marketName(one) === byId("market").value);
  isFed = market.healthy;
  if (!isFed && socket?.readyState === WebSocket.OPEN) {
    say(`${marketName(market)} is lost: what is drawn is as it was then`, "bad");
  }
});

/** Something else is chosen: it is asked for at once. */
function choose() {
  refusals = 0;
  if (port) connect();
}

byId("choice").addEventListener("submit", (event) => {
  event.preventDefault();
  choose();
});
byId("market").addEventListener("change", () => {
  byId("symbol").value = "";
  choose();
});
byId("interval").addEventListener("change", choose);
byId("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  byId("token").value = "";
  if (port) connect();
});

byId("chart").addEventListener("keydown", (event) => {
  const scale = drawing.timeScale();
  const zoom = (factor) => scale.applyOptions({ barSpacing: scale.options().barSpacing * factor });
  const act = {
    ArrowLeft: () => scale.scrollToPosition(scale.scrollPosition() - 5, false),
    ArrowRight: () => scale.scrollToPosition(scale.scrollPosition() + 5, false),
    "+": () => zoom(1.25),
    "-": () => zoom(0.8),
    Home: () => scale.fitContent(),
    End: () => scale.scrollToRealTime(),
  }[event.key];
  if (act) event.preventDefault(), act();
});
drawing.subscribeCrosshairMove(({ time }) => {
  const quote = time ? candles.get(time * 1000) : inOrder().at(-1);
  if (quote) write(byId("legend"), `${quote.symbol} ${quote.interval} ${words(quote)}`);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
paint();
