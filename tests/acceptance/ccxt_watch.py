"""An independent client judges the simulator: ccxt's watchOHLCV, pointed at its URLs, must see the
candles that the simulator calls true.

usage: ccxt_watch.py sim.env"""
import asyncio
import json
import sys
import urllib.parse
import urllib.request

import ccxt.pro

# id, our name, contract type, symbol, market id, ccxt's hosts and whose URL takes their place.
CASES = [
    ("binance", "binance", "spot", "BTC/USDT", "BTCUSDT",
     {"https://api.binance.com": "REST", "wss://stream.binance.com:9443": "WS"}, ["spot"]),
    ("okx", "okx", "spot", "BTC/USDT", "BTC-USDT",
     {"https://{hostname}": "REST", "wss://ws.okx.com:443": "WS"}, ["spot"]),
    ("okx", "okx", "swap", "BTC/USD:BTC", "BTC-USD-SWAP",
     {"https://{hostname}": "REST", "wss://ws.okx.com:443": "WS"}, ["swap"]),
    ("bybit", "bybit", "spot", "BTC/USDT", "BTCUSDT",
     {"https://api.{hostname}": "REST", "wss://stream.{hostname}": "WS"}, ["spot"]),
    ("bybit", "bybit", "linear", "BTC/USDT:USDT", "BTCUSDT",
     {"https://api.{hostname}": "REST", "wss://stream.{hostname}": "WS"}, ["linear"]),
    ("gate", "gateio", "spot", "BTC/USDT", "BTC_USDT",
     {"https://api.gateio.ws": "REST", "wss://api.gateio.ws": "WS"}, ["spot"]),
    ("hyperliquid", "hyperliquid", "usdm", "BTC/USDC:USDC", "BTC",
     {"https://api.{hostname}": "REST", "wss://api.hyperliquid.xyz": "WS"}, ["swap"]),
]
CLOSED = 3
PATIENCE_S = 60


def moved(urls, hosts):
    if isinstance(urls, dict):
        return {key: moved(value, hosts) for key, value in urls.items()}
    for host, base in hosts.items():
        if isinstance(urls, str) and urls.startswith(host):
            return base + urls[len(host):]
    return urls


async def watch(case, env):
    name, exchange, contract_type, symbol, market_id, hosts, types = case
    prefix = f"CONNECTOR_{exchange}_{contract_type}".upper()
    hosts = {host: env[f"{prefix}_{kind}_URL"] for host, kind in hosts.items()}
    options = {"fetchMarkets": {"types": types}, "defaultType": types[0], "fetchCurrencies": False}
    client = getattr(ccxt.pro, name)({"options": options, "enableRateLimit": False})
    client.has["fetchCurrencies"] = False
    client.urls["api"] = moved(client.urls["api"], hosts)
    seen = {}
    try:
        await client.load_markets()
        market = client.market(symbol)
        # At Hyperliquid ccxt's id is the coin's number.
        assert market_id in (market["id"], market["info"].get("name")), market
        while len(seen) < CLOSED + 2:
            for row in await client.watch_ohlcv(symbol, "1m"):
                seen[row[0]] = row[1:]
    finally:
        await client.close()
    # The first may have begun before we did, the last still runs.
    times = sorted(seen)[1:-1]
    query = urllib.parse.urlencode({
        "exchange": exchange, "contract_type": contract_type, "symbol": market_id,
        "from": times[0], "to": times[-1],
    })
    base = env[f"{prefix}_REST_URL"]
    answer = await asyncio.to_thread(lambda: urllib.request.urlopen(f"{base}/truth?{query}").read())
    truth = {row["open_time"]: row for row in json.loads(answer)}
    for at in times:
        true = truth[at]
        prices = [float(true[key]) for key in ("open", "high", "low", "close")]
        assert seen[at][:4] == prices, (at, seen[at], true)
        # ccxt takes the base volume where we take the exchange's own field: Gate's spot counts the
        # quote currency, OKX's swaps contracts.
        if (exchange, contract_type) not in (("gateio", "spot"), ("okx", "swap")):
            assert seen[at][4] == float(true["volume"]), (at, seen[at], true)
    return f"{name} {contract_type} {symbol}: {len(times)} candles are the truth"


async def main(env_path):
    env = dict(line.split("=", 1) for line in open(env_path).read().split() if "=" in line)
    failed = False
    results = await asyncio.gather(
        *(asyncio.wait_for(watch(case, env), PATIENCE_S) for case in CASES), return_exceptions=True)
    for case, result in zip(CASES, results):
        if isinstance(result, BaseException):
            failed = True
            result = f"FAILED {case[0]} {case[2]}: {type(result).__name__} {result}"
        print(result)
    sys.exit(failed)


asyncio.run(main(sys.argv[1]))
