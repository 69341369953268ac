"""pybit: candles by HTTP and by WebSocket at Bybit's spot, linear and inverse.

pybit knows the hosts of Bybit alone, so it is led to the simulated exchange as to the real one, by
the proxy in https_proxy, whose authority is in SSL_CERT_FILE.

usage: with_pybit.py sim.env"""
import asyncio
import importlib.metadata
import os

from pybit.unified_trading import HTTP, WebSocket

from common import Place, Watched, closed_only, compare, environment, now_ms, rows_of, run

SYMBOLS = {"spot": "BTCUSDT", "linear": "BTCUSDT", "inverse": "BTCUSD"}
ROWS = 500


async def judge(place, symbol):
    category = place.contract_type
    client = HTTP()
    # It trusts certifi's authorities alone.
    client.client.verify = os.environ["SSL_CERT_FILE"]
    now = now_ms()
    answer = await asyncio.to_thread(
        client.get_kline, category=category, symbol=symbol, interval=1, limit=ROWS)
    asked = await compare(place, symbol, closed_only(rows_of(answer["result"]["list"]), now))
    found = Watched()

    def on_message(message):
        for candle in message["data"]:
            prices = (candle[key] for key in ("open", "high", "low", "close", "volume"))
            found.pushed(candle["confirm"], candle["start"], *prices)

    socket = await asyncio.to_thread(WebSocket, testnet=False, channel_type=category)
    try:
        socket.kline_stream(interval=1, symbol=symbol, callback=on_message)
        pushed = await compare(place, symbol, await found.complete())
    finally:
        socket.exit()
    return f"{asked} by REST, {pushed} pushed equal to the truth"


env = environment()
run(f"pybit {importlib.metadata.version('pybit')}", [
    (f"bybit {category} {symbol}", judge(Place(env, "bybit", category), symbol))
    for category, symbol in SYMBOLS.items()
])
