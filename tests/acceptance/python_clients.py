"""The test clients of the Python connector, one for each market, and its batch client: each sends one
request in that program's spelling and reads with `async for`.

usage: python_clients.py markets|batch ws://HOST:PORT"""
import asyncio
import json
import sys

import orjson
import websockets

# Exchange, contract type and symbol as those clients write them, and the contract type in the quotes.
CLIENTS = [
    ("binance", "spot", "BTCUSDT", "spot"),
    ("binance", "um", "BTCUSDT", "usdm"),
    ("binance", "cm", "BTCUSD_PERP", "coinm"),
    ("okx", "spot", "BTC-USDT", "spot"),
    ("okx", "um", "BTC-USDT-SWAP", "um"),
    ("okx", "swap_coinm", "BTC-USD-261225", "swap_coinm"),
    ("bybit", "spot", "BTCUSDT", "spot"),
    ("bybit", "um", "BTCUSDT", "linear"),
    ("bybit", "inverse", "BTCUSD", "inverse"),
    ("gateio", "spot", "BTC_USDT", "spot"),
    ("gateio", "um", "BTC_USDT", "um"),
    ("gateio", "cm", "BTC_USD", "cm"),
    ("hyperliquid", "spot", "PURR-USDC", "spot"),
    ("hyperliquid", "usdm", "BTC-USDC-SWAP", "usdm"),
    ("hyperliquid", "coinm", "BTC-USD-SWAP", "coinm"),
]
# The one that sends what orjson makes: bytes, and so a binary message.
SENDS_BYTES = ("gateio", "um")
# The fields of a quote there, with their types, in their order.
FIELDS = {
    "type": str, "current_time": str, "timestamp": str, "exchange": str, "symbol": str,
    "contract_type": str, "open": (int, float), "high": (int, float), "low": (int, float),
    "close": (int, float), "volume": (int, float), "trade_num": int, "is_closed_candle": bool,
}
QUOTES = 3
PATIENCE_S = 60


async def one(url, exchange, contract_type, symbol, told_type):
    """Returns what is wrong, if anything."""
    request = {"exchange": exchange, "contract_type": contract_type, "symbols": [symbol], "limit": QUOTES}
    encode = orjson.dumps if (exchange, contract_type) == SENDS_BYTES else json.dumps
    quotes = []
    async with websockets.connect(url) as socket:
        await socket.send(encode(request))
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "error":
                return message["system_message"]
            if message["type"] == "subscribed":
                told = [message[name] for name in ("exchange", "contract_type", "symbols", "limit")]
                if told != [exchange, told_type, [symbol], QUOTES]:
                    return f"subscribed: {told}"
            if message["type"] == "quote":
                quotes.append(message)
    if len(quotes) != QUOTES or socket.close_code != 1000:
        return f"{len(quotes)} quotes, closed with {socket.close_code}"
    for quote in quotes:
        if list(quote)[: len(FIELDS)] != list(FIELDS):
            return f"fields: {list(quote)}"
        wrong = [name for name, kind in FIELDS.items() if not isinstance(quote[name], kind)]
        if wrong:
            return f"types of {wrong}: {quote}"
        if [quote[name] for name in ("exchange", "contract_type", "symbol")] != [exchange, told_type, symbol]:
            return f"names: {quote}"
        if exchange == "gateio" and quote["volume_unit"] != "base":
            return f"volume is not the base amount: {quote}"
    return None


async def markets(url):
    results = await asyncio.gather(*(one(url, *client) for client in CLIENTS))
    return [f"{client}: {wrong}" for client, wrong in zip(CLIENTS, results) if wrong]


# Exchange, contract type and the name of the symbol with a number.
BATCHES = [
    ("binance", "um", "SIM{:04}USDT"),
    ("okx", "linear", "SIM{:04}-USDT-SWAP"),
    ("gateio", "spot", "SIM{:04}_USDT"),
    ("hyperliquid", "usdm", "SIM{:04}-USDC-SWAP"),
]
REQUESTS = 2
SYMBOLS_EACH = 150


async def batch(url):
    """Hundreds of symbols a request, and the end at the first error."""
    missing = {}
    for exchange, contract_type, name in BATCHES:
        symbols = [name.format(number) for number in range(1, REQUESTS * SYMBOLS_EACH + 1)]
        missing[exchange] = set(symbols)
        async with websockets.connect(url, max_size=None) as socket:
            for start in range(0, len(symbols), SYMBOLS_EACH):
                part = symbols[start : start + SYMBOLS_EACH]
                request = {"exchange": exchange, "contract_type": contract_type, "symbols": part}
                await socket.send(json.dumps(request))
            async for text in socket:
                message = json.loads(text)
                if message["type"] == "error":
                    return [f"{exchange}: {message['system_message']}"]
                if message["type"] == "quote":
                    missing[exchange].discard(message["symbol"])
                if not missing[exchange]:
                    break
        if missing[exchange]:
            return [f"{exchange}: no quote of {sorted(missing[exchange])[:5]}"]
    return []


async def main(what, url):
    run = {"markets": markets, "batch": batch}[what]
    try:
        wrong = await asyncio.wait_for(run(url), PATIENCE_S)
    except asyncio.TimeoutError:
        wrong = [f"not served within {PATIENCE_S} s"]
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)


asyncio.run(main(*sys.argv[1:3]))
