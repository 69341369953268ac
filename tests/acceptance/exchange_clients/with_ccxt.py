"""ccxt at every market of the simulated exchanges: loadMarkets, pages of fetchOHLCV with `since`,
and watchOHLCV past a minute's end.

usage: with_ccxt.py sim.env"""
import asyncio
import time

import ccxt.pro

from common import LATE_S, MINUTE_MS, PATIENCE_S, Place, closed_only, compare, environment, now_ms
from common import run

# The truth's fields that ccxt shows as the volume: of REST, and of a push.
BASE = ("volume", "volume")
# ccxt's id, our exchange and contract type, ccxt's symbol, the exchange's, what ccxt lists, and
# what its volume is.
CASES = [
    ("binance", "binance", "spot", "BTC/USDT", "BTCUSDT", "spot", BASE),
    ("binance", "binance", "usdm", "BTC/USDT:USDT", "BTCUSDT", "linear", BASE),
    ("binance", "binance", "coinm", "BTC/USD:BTC", "BTCUSD_PERP", "inverse",
     ("quote_volume", "volume")),
    ("okx", "okx", "spot", "BTC/USDT", "BTC-USDT", "spot", BASE),
    ("okx", "okx", "swap", "BTC/USD:BTC", "BTC-USD-SWAP", "swap", ("base_volume", "base_volume")),
    ("okx", "okx", "futures", "BTC/USDT:USDT-261225", "BTC-USDT-261225", "future",
     ("base_volume", "base_volume")),
    ("bybit", "bybit", "spot", "BTC/USDT", "BTCUSDT", "spot", BASE),
    ("bybit", "bybit", "linear", "BTC/USDT:USDT", "BTCUSDT", "linear", BASE),
    ("bybit", "bybit", "inverse", "BTC/USD:BTC", "BTCUSD", "inverse",
     ("base_volume", "base_volume")),
    ("gate", "gateio", "spot", "BTC/USDT", "BTC_USDT", "spot", ("volume", "quote_volume")),
    ("gate", "gateio", "um", "BTC/USDT:USDT", "BTC_USDT", "swap",
     ("contract_volume", "contract_volume")),
    ("gate", "gateio", "cm", "BTC/USD:BTC", "BTC_USD", "swap",
     ("contract_volume", "contract_volume")),
    ("hyperliquid", "hyperliquid", "spot", "HYPE/USDC", "@107", "spot", BASE),
    ("hyperliquid", "hyperliquid", "usdm", "BTC/USDC:USDC", "BTC", "swap", BASE),
    ("hyperliquid", "hyperliquid", "coinm", "BTC/USDC:USDC", "BTC", "swap", BASE),
]
# More than one page at every exchange but Hyperliquid, which gives 5,000 rows at once.
MINUTES = 700
PAGE = 250


def hosts(place):
    """What stands in place of the hosts that ccxt knows."""
    rest, ws = place.rest, place.rest.replace("http", "ws")
    return {
        "https://api.binance.com": rest, "https://fapi.binance.com": rest,
        "https://dapi.binance.com": rest, "wss://stream.binance.com:9443": ws,
        "wss://fstream.binance.com": ws, "wss://dstream.binance.com": ws,
        "https://{hostname}": rest, "wss://ws.okx.com:443": ws,
        "https://api.{hostname}": rest, "wss://stream.{hostname}": ws,
        "https://api.gateio.ws": rest, "wss://api.gateio.ws": ws, "wss://fx-ws.gateio.ws": ws,
        "wss://api.hyperliquid.xyz": ws,
    }


def moved(urls, places):
    if isinstance(urls, dict):
        return {key: moved(value, places) for key, value in urls.items()}
    for host, base in places.items():
        if isinstance(urls, str) and urls.startswith(host):
            return base + urls[len(host):]
    return urls


def client_of(name, place, kind):
    urls = moved(getattr(ccxt.pro, name)().urls["api"], hosts(place))
    # Currencies are a signed request at Binance, and unknown to the simulated exchanges.
    options = {"fetchMarkets": {"types": [kind]}, "fetchCurrencies": False, "defaultType": kind}
    return getattr(ccxt.pro, name)({"urls": {"api": urls}, "options": options})


async def pages(client, symbol):
    """Everything since MINUTES ago, page by page, as ccxt's manual shows it."""
    since, candles = (now_ms() // MINUTE_MS - MINUTES) * MINUTE_MS, {}
    while since < now_ms() - MINUTE_MS:
        asked = now_ms()
        rows = await client.fetch_ohlcv(symbol, "1m", since, PAGE)
        assert rows and rows[0][0] == since, f"asked from {since}, got {rows[:1]}"
        candles.update((row[0], row[1:]) for row in rows)
        since = rows[-1][0] + MINUTE_MS
    closed = closed_only(candles, asked)
    assert len(closed) >= MINUTES, f"{len(closed)} candles of {MINUTES}"
    return closed


async def watched(client, symbol):
    """Candles of the stream, until a minute's end was passed twice and nothing can be late."""
    candles = {}
    end = time.monotonic() + PATIENCE_S
    over = (now_ms() // MINUTE_MS + 2) * MINUTE_MS + LATE_S * 1000
    while now_ms() < over:
        assert time.monotonic() < end
        for row in await client.watch_ohlcv(symbol, "1m"):
            candles[row[0]] = row[1:]
    return closed_only(candles, over)


async def judge(case, env):
    name, exchange, contract_type, symbol, market_id, kind, volume = case
    place = Place(env, exchange, contract_type)
    client = client_of(name, place, kind)
    try:
        await client.load_markets()
        market = client.market(symbol)
        # At Hyperliquid ccxt's id is the coin's number.
        assert market_id in (market["id"], market["info"].get("name")), market
        live = asyncio.create_task(watched(client, symbol))
        asked = await compare(place, market_id, await pages(client, symbol), volume[0])
        pushed = await compare(place, market_id, await live, volume[1])
    finally:
        await client.close()
    return f"{len(client.symbols)} markets, {asked} by REST, {pushed} pushed equal to the truth"


env = environment()
run(f"ccxt {ccxt.__version__}",
    [(f"{case[1]} {case[2]} {case[3]}", judge(case, env)) for case in CASES])
