// Asks /api/state once a second and shows it; tells the chart by an event `state`. What does not
// answer is said, and what is shown then is greyed and has an age.
"use strict";

const PERIOD_MS = 1000;
const PATIENCE_MS = 4000;
/** Without an answer for so long, what is shown is no news. */
const STALE_MS = 3000;
const RATE_S = 5;
const MINUTE_S = 60;
const CLOSES_S = 600;

const byId = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const count = (value) => whole.format(value);

/** States of the last minutes, oldest first, of one run of the server. */
const states = [];
let answered = 0;

/** The oldest state kept of the last so many seconds. */
function before(seconds) {
  const newest = states.at(-1).uptime_seconds;
  return states.find((state) => newest - state.uptime_seconds <= seconds + 0.5);
}

/** By how much what `read` finds has grown, a second. */
function rate(read) {
  const then = before(RATE_S);
  const now = states.at(-1);
  const elapsed = now.uptime_seconds - then.uptime_seconds;
  return elapsed > 0 ? (read(now) - read(then)) / elapsed : 0;
}

/** What was measured in the last so many seconds: [upper bound in ns, how many], cumulative. */
function measured(kind, at, seconds) {
  const then = before(seconds)[kind][at].cumulative;
  return states.at(-1)[kind][at].cumulative.map(([bound, total], i) => [bound, total - then[i][1]]);
}

function quantile(buckets, q) {
  const total = buckets.at(-1)[1];
  if (total === 0) return "–";
  const found = buckets.findIndex(([, upTo]) => upTo >= q * total);
  const bound = buckets[found][0];
  return bound === null ? `> ${duration(buckets.at(-2)[0])}` : `≤ ${duration(bound)}`;
}

function duration(ns) {
  for (const [unit, size] of [["s", 1e9], ["ms", 1e6], ["µs", 1e3]]) {
    if (ns >= size) return `${+(ns / size).toPrecision(3)} ${unit}`;
  }
  return `${ns} ns`;
}

function age(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.floor(s)} s`;
  return s < 7200 ? `${Math.floor(s / 60)} min` : `${Math.floor(s / 3600)} h`;
}

function size(bytes) {
  const [unit, bytesOfIt] = bytes < 1e9 ? ["MB", 1e6] : ["GB", 1e9];
  return `${(bytes / bytesOfIt).toFixed(1)} ${unit}`;
}

/** Writes only what has changed, so that a reader's place and selection stay. */
function write(element, text, className = "") {
  if (element.textContent !== text) element.textContent = text;
  if (element.className !== className) element.className = className;
}

/** One row a key; a cell is a text, or a text and a class. Its column says what it means. */
function fill(id, rows) {
  const body = byId(id).tBodies[0];
  const columns = byId(id).tHead.rows[0].cells;
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach(({ cells, className = "" }, at) => {
    const row = body.rows[at] ?? body.insertRow();
    if (row.className !== className) row.className = className;
    row.role = "row";
    while (row.cells.length > cells.length) row.deleteCell(-1);
    cells.forEach((cell, at) => {
      const [text, kind = ""] = [cell].flat();
      write(row.cells[at] ?? row.appendChild(newCell(columns[at], at)), text, kind);
    });
  });
}

/** Its roles are said because a narrow screen shows tables as blocks. */
function newCell({ title, textContent }, at) {
  const cell = document.createElement(at === 0 ? "th" : "td");
  if (at === 0) cell.scope = "row";
  cell.role = at === 0 ? "rowheader" : "cell";
  cell.dataset.label = textContent;
  cell.title = title;
  return cell;
}

const marketName = (exchange) => `${exchange.exchange} ${exchange.contract_type}`;

function showExchanges(state) {
  const now = Date.parse(state.timestamp);
  const isUsed = (one) => one.instruments > 0 || one.active_connections > 0 || !one.healthy;
  const rows = state.exchanges.flatMap((one, at) => (isUsed(one) ? [exchangeRow(one, at, now)] : []));
  fill("exchanges", rows.length ? rows : [{ cells: ["nothing is subscribed"] }]);
  const obstacles = state.exchanges.filter((one) => one.denied || one.waiting).map((one) => {
    const until = one.waiting && `a new session waits until ${one.waiting.until.slice(11, 19)} UTC: ${one.waiting.why}`;
    return `${marketName(one)}: ${[one.denied, until].filter(Boolean).join("; ")}`;
  });
  write(byId("obstacles"), obstacles.join(". "));
  const unused = state.exchanges.filter((one) => !isUsed(one)).map(marketName);
  write(byId("unused"), unused.length ? `Not subscribed: ${unused.join(", ")}.` : "");
}

function exchangeRow(one, at, now) {
  const heard = one.last_message_time ? `${age(now - Date.parse(one.last_message_time))} ago` : "never";
  const state = one.healthy ? ["● live", "good"] : ["✖ lost", "bad"];
  const breaker = { closed: ["closed", ""], open: ["open", "bad"], half_open: ["half-open", "warn"] };
  return {
    className: one.healthy ? "" : "bad",
    cells: [
      marketName(one),
      state,
      `${one.active_connections} of ${Math.max(one.wanted_connections, one.instruments > 0 ? 1 : 0)}`,
      heard,
      count(rate((s) => s.exchanges[at].total_quotes)),
      count(one.instruments),
      breaker[one.circuit_state],
      count(one.consecutive_failures),
      count(one.gaps),
      count(one.gap_candles),
      count(one.repaired),
      count(one.corrections),
      count(one.reconnections),
      count(one.total_errors),
    ],
  };
}

/** In the order of the page. */
function showClients({ clients }) {
  const figures = [
    clients.connected, clients.subscriptions, rate((s) => s.clients.sent_messages),
    rate((s) => s.clients.sent_bytes) / 1000, clients.accepted, clients.refused, clients.conflated,
    clients.slow_disconnects,
  ];
  figures.forEach((figure, at) => write(byId("clients").children[at].lastElementChild, count(figure)));
}

/** In the order of the page. */
function showLedger({ ledger, timestamp }) {
  const state = ledger.storing ? ["● storing", "good"] : ["✖ not storing", "bad"];
  const newest = ledger.newest_close && Date.parse(timestamp) - Date.parse(ledger.newest_close);
  const figures = [
    ledger.enabled ? state : ["off", ""],
    newest === null ? "none yet" : `${age(newest)} ago`,
    count(ledger.rows),
    size(ledger.bytes),
    `${count(ledger.queue_depth)} of ${count(ledger.queue_slots)}`,
    [count(ledger.errors), ledger.errors ? "warn" : ""],
    [count(ledger.not_stored), ledger.not_stored ? "bad" : ""],
  ];
  figures.forEach((figure, at) => {
    const [text, kind = ""] = [ledger.enabled || at === 0 ? figure : "–"].flat();
    write(byId("ledger").children[at].lastElementChild, text, kind);
  });
}

function showLatencies(state) {
  const row = (name, buckets, quantiles) => [
    name, ...quantiles.map((q) => quantile(buckets, q)), count(buckets.at(-1)[1]),
  ];
  const hops = state.hops.map(({ name }, at) =>
    ({ cells: row(name, measured("hops", at, MINUTE_S), [0.5, 0.9, 0.99, 0.999]) }));
  fill("hops", hops);
  const lags = state.receive_lags.map(({ name }, at) => {
    const closes = row("", measured("close_lags", at, CLOSES_S), [0.5, 0.99]).slice(1);
    return { cells: [...row(name, measured("receive_lags", at, MINUTE_S), [0.5, 0.9, 0.99]), ...closes] };
  }).filter(({ cells }) => cells[4] !== "0" || cells[7] !== "0");
  fill("lags", lags.length ? lags : [{ cells: ["nothing was measured"] }]);
}

function showCores(state) {
  fill("shards", state.shards.map((shard, at) => ({
    cells: [
      String(at), count(shard.sessions), `${count(shard.ring_depth)} of ${count(shard.ring_slots)}`,
      [count(shard.ring_full), shard.ring_full ? "warn" : ""],
      count(shard.closed_waiting), count(shard.open_waiting),
    ],
  })));
  fill("cores", state.cores.map((core, at) => ({
    className: core.healthy ? "" : "bad",
    cells: [
      core.name,
      core.healthy ? ["● alive", "good"] : ["✖ stuck", "bad"],
      `${age(core.heartbeat_age_seconds * 1000)} ago`,
      `${(rate((s) => s.cores[at].busy_ns) / 1e7).toFixed(1)} %`,
      count(rate((s) => s.cores[at].turns)),
      count(rate((s) => s.cores[at].parks)),
    ],
  })));
}

function showStatus(state) {
  const lost = state.exchanges.filter((one) => !one.healthy).map(marketName);
  const stuck = state.cores.filter((core) => !core.healthy).map((core) => core.name);
  const parts = [state.reason ?? "ready"];
  if (lost.length) parts.push(lost.join(", "));
  if (stuck.length) parts.push(`stuck: ${stuck.join(", ")}`);
  const isGood = !state.reason && !stuck.length;
  write(byId("status"), parts.join(": "), `state ${isGood ? "good" : "bad"}`);
  document.title = isGood ? "connector-wss" : `✖ ${state.reason ?? "stuck"} – connector-wss`;
}

/** Every state of the last minute, and before it one of each ten seconds. */
function keep(state) {
  const tens = (one) => Math.floor(one.uptime_seconds / 10);
  const old = states.splice(0);
  states.push(...old.filter((one, at) => {
    const passed = state.uptime_seconds - one.uptime_seconds;
    return passed <= MINUTE_S + 1 || (passed <= CLOSES_S + 10 && (at === 0 || tens(one) !== tens(old[at - 1])));
  }), state);
}

function take(state) {
  if (states.length && states.at(-1).uptime_seconds > state.uptime_seconds) states.length = 0;
  keep(state);
  answered = performance.now();
  write(byId("version"), state.version);
  showStatus(state);
  showExchanges(state);
  showClients(state);
  showLedger(state);
  showLatencies(state);
  showCores(state);
  document.dispatchEvent(new CustomEvent("state", { detail: state }));
}

function showAge() {
  const silence = performance.now() - answered;
  const isStale = silence > STALE_MS;
  document.body.classList.toggle("stale", isStale);
  if (isStale) {
    write(byId("status"), "the server does not answer", "state bad");
    document.title = "✖ no answer – connector-wss";
  }
  const newest = states.at(-1);
  if (!newest) return;
  const since = `${newest.timestamp.slice(11, 19)} UTC, ${age(silence)} ago`;
  const up = `up ${age(newest.uptime_seconds * 1000)}`;
  write(byId("age"), isStale ? `what is below is old: as of ${since}` : `as of ${since}; ${up}`);
}

async function ask() {
  const asked = performance.now();
  try {
    const answer = await fetch("api/state", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    take(await answer.json());
  } catch (error) {
    // Said by its age; here for whoever looks for the cause.
    console.warn(`/api/state: ${error}`);
  }
  setTimeout(ask, Math.max(100, PERIOD_MS - (performance.now() - asked)));
}

/** What a hover says, for those who cannot hover. */
function listMeanings() {
  const list = byId("meanings");
  for (const figure of document.querySelectorAll("main [title]")) {
    const [term, meaning] = [document.createElement("dt"), document.createElement("dd")];
    const place = figure.closest("section").querySelector("h2").textContent;
    term.textContent = `${place}: ${(figure.querySelector("dt") ?? figure).textContent.trim()}`;
    meaning.textContent = figure.title;
    list.append(term, meaning);
  }
}

listMeanings();
setInterval(showAge, 500);
ask();
