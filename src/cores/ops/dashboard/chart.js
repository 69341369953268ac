// Candles of one symbol, asked of the clients' port like by any other client, drawn by Lightweight
// Charts. Learns from the event `state` where that port is and what it demands.
"use strict";

const CANDLES_MAX = 1000;
const HISTORY = 120;
const TABLE_ROWS = 10;
const RETRY_MS = [1000, 2000, 5000, 10000];
const UNIT_MINUTES = { m: 1, h: 60, d: 1440 };
/** The server makes longer candles of its minutes, of a day at most. */
const DERIVED_MINUTES = 1440;
/** Candles this long or longer are asked of the exchange: those of one day are too few for a chart. */
const OWN_MINUTES = 60;
/** A symbol that everybody knows, of every market that has one. */
const KNOWN = {
  "binance spot": "BTCUSDT", "binance usdm": "BTCUSDT", "binance coinm": "BTCUSD_PERP",
  "okx spot": "BTC-USDT", "okx swap": "BTC-USDT-SWAP",
  "bybit spot": "BTCUSDT", "bybit linear": "BTCUSDT", "bybit inverse": "BTCUSD",
  "gateio spot": "BTC_USDT", "gateio um": "BTC_USDT", "gateio cm": "BTC_USD",
  "hyperliquid spot": "PURR/USDC", "hyperliquid usdm": "BTC", "hyperliquid coinm": "BTC",
};
/** What a close means that gives no reason. Source: RFC 6455, 7.4.1, and the README's close codes. */
const CLOSED_BECAUSE = {
  1000: "the server has ended it", 1001: "the server is going down", 1006: "it broke, or nobody answers",
  1008: "the server does not allow it", 1011: "the server failed", 1013: "this page read too slowly",
};

const library = window.LightweightCharts;
const drawing = library.createChart(byId("chart"), {
  autoSize: true,
  // Its own logo wants a style that the policy forbids; the footer names its authors.
  layout: { attributionLogo: false },
  timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 3 },
  localization: { locale: "en" },
});
const series = drawing.addSeries(library.CandlestickSeries, {});
const volumes = drawing.addSeries(library.HistogramSeries, {
  priceFormat: { type: "volume" }, priceLineVisible: false, lastValueVisible: false,
}, 1);
drawing.panes()[1].setStretchFactor(0.3);

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
let retryTimer = 0;
/** Nothing is asked until something else is chosen: what was chosen is refused, or nothing is. */
let isHalted = false;
/** A market was chosen by hand. */
let isChosen = false;
/** What the server said last that was wrong. */
let complaint = "";

function paint() {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  const [up, down, line] = ["up", "down", "line"].map(color);
  drawing.applyOptions({
    layout: { background: { color: color("card") }, textColor: color("text"), panes: { separatorColor: line } },
    grid: { vertLines: { color: line }, horzLines: { color: line } },
    timeScale: { borderColor: line },
    rightPriceScale: { borderColor: line },
  });
  series.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false });
  volumeColors = [`${up}80`, `${down}80`];
  drawAll();
}

function say(text, kind = "") {
  write(byId("feed"), text, `state ${kind}`);
  document.body.classList.toggle("silent", kind !== "good");
}

const bar = (quote) => ({
  time: quote.open_time / 1000, open: quote.open, high: quote.high, low: quote.low, close: quote.close,
});
let volumeColors = [];
const volume = (quote) => ({
  time: quote.open_time / 1000, value: quote.volume, color: volumeColors[quote.close < quote.open ? 1 : 0],
});
const inOrder = () => [...candles.values()].sort((a, b) => a.open_time - b.open_time);

function drawAll() {
  series.setData(inOrder().map(bar));
  volumes.setData(inOrder().map(volume));
}

/** A candle new or restated. Only the newest can be drawn by itself. */
function put(quote) {
  const newest = Math.max(...candles.keys());
  candles.set(quote.open_time, quote);
  if (quote.open_time >= newest && candles.size <= CANDLES_MAX) {
    series.update(bar(quote));
    volumes.update(volume(quote));
  } else {
    candles = new Map(inOrder().slice(-CANDLES_MAX / 2).map((one) => [one.open_time, one]));
    drawAll();
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

const minutes = (interval) => parseInt(interval, 10) * UNIT_MINUTES[interval.at(-1)];
/** When its window began, with the day where a chart has several. */
const opened = (quote) =>
  new Date(quote.open_time).toISOString().slice(minutes(quote.interval) < OWN_MINUTES ? 11 : 5, 16).replace("T", " ");
const words = (quote) =>
  `${opened(quote)} open ${quote.open}, high ${quote.high}, low ${quote.low}, close ${quote.close}, volume ${quote.volume} (${quote.volume_unit})`;

function describe(quote) {
  write(byId("legend"), `${quote.symbol} ${quote.interval} ${words(quote)}`);
  const name = `Candles of ${quote.symbol} at ${quote.exchange} ${quote.contract_type}, ${quote.interval}`;
  // Once a candle: whoever listens is not told every tick.
  const label = `${name}; newest begun at ${opened(quote)}`;
  if (byId("chart").getAttribute("aria-label") !== label) byId("chart").setAttribute("aria-label", label);
  fill("newest", inOrder().slice(-TABLE_ROWS).reverse().map((one) => ({ cells: tableRow(one) })));
}

function tableRow(one) {
  const length = minutes(one.interval) * 60_000;
  const lag = Date.parse(one.current_time) - one.open_time - length;
  const sent = one.is_closed_candle && one.source !== "rest" && lag < length ? `${lag} ms` : "–";
  const state = one.is_closed_candle ? `closed by ${one.final_by}` : "open";
  return [opened(one), ...[one.open, one.high, one.low, one.close, one.volume].map(String), state, sent];
}

function clear() {
  candles.clear();
  drawAll();
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

function leave() {
  clearTimeout(retryTimer);
  if (socket) socket.onclose = socket.onmessage = null;
  socket?.close();
  socket = null;
  complaint = "";
}

/** Asks no more until something else is chosen, and shows nothing that was not asked for. */
function halt(why, kind) {
  leave();
  isHalted = true;
  say(why, kind);
  clear();
  showEmpty();
}

function showEmpty() {
  const known = KNOWN[byId("market").value];
  byId("empty").hidden = !isHalted;
  byId("symbol").placeholder = known ?? "";
  byId("known").hidden = !known || byId("symbol").value === known;
  write(byId("known"), `Show ${known}`);
}

/** Asks anew for what is chosen. What is drawn of it stays until then. */
function connect() {
  leave();
  const why = obstacle();
  if (why) return halt(why, "warn");
  isHalted = false;
  showEmpty();
  const url = `${scheme()}://${location.hostname}:${port.port}/`;
  say(`connecting to ${url}`);
  const [exchange, contract_type] = byId("market").value.split(" ");
  const interval = byId("interval").value;
  const asked = { exchange, contract_type, symbol: byId("symbol").value.trim(), interval };
  if (minutes(interval) >= OWN_MINUTES) asked.source = "exchange";
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

const nameOf = (asked) => `${asked.symbol} at ${asked.exchange} ${asked.contract_type}`;

function takeMessage(message, asked, send) {
  const { type, id } = message;
  if (id === "names") return takeNames(type === "subscribed" ? message.symbols : [], asked, send);
  if (type === "subscribed" && id === "candles") {
    [asked.symbol] = message.symbols;
    const now = `${nameOf(asked)} ${asked.interval}`;
    if (shown !== now) clear();
    shown = now;
    return say(`${nameOf(asked)}: waiting for its first candle`);
  }
  if (type === "error") return takeError(message, asked, send);
  if (message.symbol !== asked.symbol || message.interval !== asked.interval) return;
  if (type === "history") {
    asked.missing = message.missing;
    return drawing.timeScale().fitContent();
  }
  if (type === "quote" || type === "correction") {
    retries = 0;
    fitDigits(message);
    put(message);
    if (message.open_time === Math.max(...candles.keys())) {
      describe(message);
      const missing = asked.missing ? `; ${asked.missing} older candles could not be had` : "";
      if (isFed) say(`${nameOf(asked)}: live${missing}`, "good");
    }
  }
}

/** What the server will refuse again is not asked again; of other errors a close follows. */
function takeError({ id, code, message, exchange_message }, asked, send) {
  if (code === "interval_not_offered" && asked.source) {
    delete asked.source;
    return askCandles(asked, send);
  }
  complaint = exchange_message ? `${message} (the exchange says: ${exchange_message})` : message;
  if (code === "unauthorized" || code === "token_revoked") {
    token = "";
    halt(`the clients' port does not take this token: ${message}`, "bad");
  } else if (id === "candles" || code === "symbol_rejected") {
    halt(complaint, "bad");
  }
}

/** The list is had; its stream was of no other use. */
function takeNames(symbols, asked, send) {
  const { exchange, contract_type } = asked;
  byId("symbols").replaceChildren(...symbols.map((name) => new Option(name, name)));
  if (symbols.length) send({ op: "unsubscribe", exchange, contract_type, symbols: ["*"] });
  if (!asked.symbol && symbols.length) byId("symbol").value = asked.symbol = symbols[0];
  if (!asked.symbol) return halt(`nothing of ${exchange} ${contract_type} is streamed yet`, "warn");
  askCandles(asked, send);
}

/** With as much of the past as the server gives of this interval. */
function askCandles({ symbol, ...asked }, send) {
  const derived = asked.source ? HISTORY : DERIVED_MINUTES / minutes(asked.interval);
  const history = Math.floor(Math.min(HISTORY, port.history_candles, derived));
  send({ op: "subscribe", id: "candles", ...asked, symbols: [symbol], history });
}

function lost(code, reason) {
  const seconds = RETRY_MS[Math.min(retries, RETRY_MS.length - 1)] / 1000;
  retries += 1;
  const why = complaint || reason || CLOSED_BECAUSE[code] || "it was closed";
  const certificate = port.tls && retries > 1 ? `; if this browser does not know its certificate, open https://${location.hostname}:${port.port}/health once` : "";
  say(`no connection to the clients' port: ${why}; next try in ${seconds} s${certificate}`, "bad");
  retryTimer = setTimeout(connect, seconds * 1000);
}

/** Markets with streams first. What is chosen stays chosen. Returns whether they have changed. */
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
  if (select.options.length && select.dataset.streamed === key) return false;
  const chosen = isChosen || !isHalted ? select.value : "";
  select.dataset.streamed = key;
  const groups = [["streamed", streamed], ["not subscribed", exchanges.filter((one) => !isStreamed(one))]];
  select.replaceChildren(...groups.filter(([, ones]) => ones.length).map(([label, ones]) => group(label, ones)));
  if (chosen) select.value = chosen;
  return true;
}

document.addEventListener("state", ({ detail: state }) => {
  const isOffer = offerMarkets(state.exchanges);
  const isNew = JSON.stringify(port) !== JSON.stringify(state.clients_port);
  port = state.clients_port;
  byId("entry").hidden = !port.token;
  if (isNew || (isOffer && isHalted && !byId("symbol").value)) connect();
  const market = state.exchanges.find((one) => marketName(one) === byId("market").value);
  isFed = market.healthy;
  if (!isFed && socket?.readyState === WebSocket.OPEN) {
    say(`${marketName(market)} is lost: what is drawn is as it was then`, "bad");
  }
});

/** Something else is chosen: it is asked for at once. */
function choose() {
  retries = 0;
  if (port) connect();
}

byId("choice").addEventListener("submit", (event) => {
  event.preventDefault();
  choose();
});
byId("market").addEventListener("change", () => {
  isChosen = true;
  byId("symbol").value = "";
  choose();
});
byId("known").addEventListener("click", () => {
  byId("symbol").value = KNOWN[byId("market").value];
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
