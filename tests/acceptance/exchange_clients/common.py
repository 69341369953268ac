"""What the real clients share: where the simulated exchanges are, what is true there, and how a
client's candles are compared with that."""
import asyncio
import json
import sys
import time
import urllib.parse
import urllib.request

MINUTE_MS = 60_000
# Closed candles that a stream has to bring: a minute's end is passed twice.
CLOSED = 2
# Two minutes, and what a client needs to start, close and ask again.
PATIENCE_S = 160
# The latest closing push comes 2 s after its minute (Binance's futures, Gate).
LATE_S = 4
PRICES = ("open", "high", "low", "close")


class Place:
    """One market of a simulated exchange."""

    def __init__(self, env, exchange, contract_type):
        prefix = f"CONNECTOR_{exchange}_{contract_type}".upper()
        self.exchange, self.contract_type = exchange, contract_type
        self.rest, self.ws = env[f"{prefix}_REST_URL"], env[f"{prefix}_WS_URL"]

    async def truth(self, symbol, first, last):
        """The true candles that open in first..=last, by open time."""
        query = urllib.parse.urlencode({"symbol": symbol, "from": first, "to": last})
        ask = urllib.request.urlopen
        answer = await asyncio.to_thread(lambda: ask(f"{self.rest}/truth?{query}").read())
        return {row["open_time"]: row for row in json.loads(answer)}


def environment():
    """What connector-sim printed, into the file that is the first argument."""
    with open(sys.argv[1]) as lines:
        return dict(line.strip().split("=", 1) for line in lines if "=" in line)


def now_ms():
    return time.time_ns() // 1_000_000


def rows_of(rows):
    """Rows of REST (open time, four prices, volume) by open time."""
    found = {int(row[0]): tuple(row[1:6]) for row in rows}
    assert len(found) == len(rows), "a candle came twice"
    return found


async def compare(place, symbol, candles, volume="volume"):
    """All `candles`, by open time, are the truth, and none is missing between them. `volume` is the
    truth's field that this client shows; None: it shows none."""
    times = sorted(candles)
    assert times, "no candle came"
    expected = list(range(times[0], times[-1] + 1, MINUTE_MS))
    assert times == expected, f"candles are missing: {sorted(set(expected) - set(times))[:5]}"
    truth = await place.truth(symbol, times[0], times[-1])
    for at in times:
        fields = PRICES if volume is None else (*PRICES, volume)
        true = [float(truth[at][field]) for field in fields]
        seen = [float(value) for value in candles[at][:len(true)]]
        assert seen == true, f"{at}: {seen} is not {true}"
    return len(times)


def closed_only(candles, asked_ms):
    """Without the candles of minutes that still ran when they were asked for."""
    return {at: candle for at, candle in candles.items() if at + MINUTE_MS <= asked_ms}


class Watched:
    """Closed candles as a stream brings them, from whatever thread."""

    def __init__(self):
        self.candles = {}
        self.running = 0

    def closed(self, at, *candle):
        self.candles[int(at)] = candle

    def pushed(self, is_closed, at, *candle):
        if is_closed:
            self.closed(at, *candle)
        else:
            self.running += 1

    async def complete(self):
        """Waits until a minute's end was passed twice."""
        end = time.monotonic() + PATIENCE_S
        while len(self.candles) < CLOSED:
            assert time.monotonic() < end, f"{len(self.candles)} closed candles came in time"
            await asyncio.sleep(0.1)
        assert self.running > 0, "no running candle came"
        return self.candles


def run(client, parts):
    """Runs all parts ((what, coroutine) each) at once, and prints a line for each. Exits with 1 if
    one failed. A coroutine's result is the text of what was equal to the truth."""

    async def all_parts():
        limited = [asyncio.wait_for(part, PATIENCE_S + 20) for _, part in parts]
        return await asyncio.gather(*limited, return_exceptions=True)

    results = asyncio.run(all_parts())
    failed = False
    for (what, _), result in zip(parts, results):
        if isinstance(result, BaseException):
            failed = True
            result = f"FAILED: {type(result).__name__} {str(result)[:400]}"
        print(f"{client} {what}: {result}")
    sys.stdout.flush()
    sys.exit(failed)
