"""Subscribes to every exchange and contract type of the simulator, two symbols each, and compares
what comes with the simulator's own truth: closed candles digit by digit, running ones for sense.

usage: client_all.py ws://HOST:PORT sim.env"""
import asyncio
import json
import sys
import urllib.parse
import urllib.request
from decimal import Decimal

import websockets

MARKETS = {
    ("binance", "spot"): ["BTCUSDT", "ETHUSDT"],
    ("binance", "usdm"): ["BTCUSDT", "ETHUSDT"],
    ("binance", "coinm"): ["BTCUSD_PERP", "ETHUSD_PERP"],
    ("okx", "spot"): ["BTC-USDT", "ETH-USDT"],
    ("okx", "swap"): ["BTC-USDT-SWAP", "BTC-USD-SWAP"],
    ("okx", "futures"): ["BTC-USD-261225", "ETH-USD-261225"],
    ("bybit", "spot"): ["BTCUSDT", "ETHUSDT"],
    ("bybit", "linear"): ["BTCUSDT", "ETHUSDT"],
    ("bybit", "inverse"): ["BTCUSD", "ETHUSD"],
    ("gateio", "spot"): ["BTC_USDT", "ETH_USDT"],
    ("gateio", "um"): ["BTC_USDT", "ETH_USDT"],
    ("gateio", "cm"): ["BTC_USD", "ETH_USD"],
    ("hyperliquid", "spot"): ["PURR/USDC", "@107"],
    ("hyperliquid", "usdm"): ["BTC", "kPEPE"],
    ("hyperliquid", "coinm"): ["BTC", "ETH"],
}
CLOSED_EACH = 3
PATIENCE_S = 90
FIELDS = ["open", "high", "low", "close", "volume", "quote_volume", "contract_volume"]


async def collect(url):
    closed, opened, errors = {}, {}, []
    wanted = {(*market, symbol) for market, symbols in MARKETS.items() for symbol in symbols}
    async with websockets.connect(url, max_size=None) as socket:
        for (exchange, contract_type), symbols in MARKETS.items():
            request = {"exchange": exchange, "contract_type": contract_type, "symbols": symbols}
            await socket.send(json.dumps(request))
        async def run():
            async for text in socket:
                message = json.loads(text, parse_float=Decimal, parse_int=Decimal)
                kind = message["type"]
                if kind == "error":
                    errors.append(text)
                if kind != "quote":
                    continue
                key = (message["exchange"], message["contract_type"], message["symbol"])
                if message["is_closed_candle"]:
                    closed.setdefault(key, []).append(message)
                else:
                    opened.setdefault(key, []).append(message)
                if all(len(closed.get(key, [])) >= CLOSED_EACH for key in wanted):
                    return
        try:
            await asyncio.wait_for(run(), PATIENCE_S)
        except asyncio.TimeoutError:
            pass
    return wanted, closed, opened, errors


def truth(base, key, from_ms, to_ms):
    exchange, contract_type, symbol = key
    query = urllib.parse.urlencode({
        "exchange": exchange, "contract_type": contract_type, "symbol": symbol,
        "from": int(from_ms), "to": int(to_ms),
    })
    with urllib.request.urlopen(f"{base}/truth?{query}") as answer:
        return {row["open_time"]: row for row in json.load(answer)}


def main(url, env_path):
    env = dict(line.split("=", 1) for line in open(env_path).read().split() if "=" in line)
    wanted, closed, opened, errors = asyncio.run(collect(url))
    problems = list(errors)
    compared = 0
    for key in sorted(wanted):
        rows, running = closed.get(key, []), opened.get(key, [])
        name = " ".join(key)
        if len(rows) < CLOSED_EACH or not running:
            problems.append(f"{name}: {len(rows)} closed and {len(running)} running candles")
            continue
        base = env[f"CONNECTOR_{key[0]}_{key[1]}_REST_URL".upper()]
        times = [int(row["open_time"]) for row in rows]
        if times != sorted(set(times)):
            problems.append(f"{name}: closed candles doubled or out of order: {times}")
        told = truth(base, key, times[0], times[-1])
        for row in rows:
            true = told.get(int(row["open_time"]))
            for field in FIELDS if true else []:
                # A row of Gate's inverse contracts has no base amount.
                if field == "volume" and key[:2] == ("gateio", "cm") and row["volume_unit"] == "contracts":
                    continue
                # quote_volume is there where the exchange pushes it (Binance coinm does not).
                if field in true and field in row and Decimal(true[field]) != row[field]:
                    problems.append(f"{name}: {field} {row[field]} is not {true[field]}: {row}")
            if true is None or true["trade_num"] != row["trade_num"]:
                problems.append(f"{name}: not the truth: {row}, {true}")
            compared += 1
        for row in running:
            prices = [row[field] for field in ("open", "close")]
            if not row["low"] <= min(prices) <= max(prices) <= row["high"]:
                problems.append(f"{name}: impossible: {row}")
    by = sorted({(key[0], row["final_by"]) for key, rows in closed.items() for row in rows})
    print(f"{len(wanted)} series, {compared} closed candles compared; final by {by}")
    print("\n".join(problems[:20]))
    sys.exit(1 if problems else 0)


main(*sys.argv[1:3])
