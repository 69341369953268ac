"""python-binance: klines by REST and by BinanceSocketManager, spot and USD-M.

usage: with_python_binance.py sim.env"""
import importlib.metadata

from binance import AsyncClient, BinanceSocketManager

from common import CLOSED, Place, Watched, closed_only, compare, environment, now_ms, rows_of
from common import run

SYMBOL = "BTCUSDT"
ROWS = 500


async def watched(socket):
    found = Watched()
    async with socket as stream:
        while len(found.candles) < CLOSED:
            push = await stream.recv()
            candle = push.get("data", push)["k"]
            found.pushed(candle["x"], candle["t"], *(candle[key] for key in "ohlcv"))
        return await found.complete()


async def asked_for(place, klines):
    """How many rows of REST are the truth."""
    now = now_ms()
    rows = await klines(
        symbol=SYMBOL, interval=AsyncClient.KLINE_INTERVAL_1MINUTE, limit=ROWS)
    return await compare(place, SYMBOL, closed_only(rows_of(rows), now))


async def spot(place):
    # The library's own addresses, as its documentation lets one set them.
    AsyncClient.API_URL = f"{place.rest}/api"
    client = await AsyncClient.create()
    try:
        manager = BinanceSocketManager(client)
        manager.STREAM_URL = f"{place.ws}/"
        asked = await asked_for(place, client.get_klines)
        pushed = await compare(place, SYMBOL, await watched(manager.kline_socket(SYMBOL, "1m")))
    finally:
        await client.close_connection()
    return f"{asked} by REST, {pushed} pushed equal to the truth"


async def usdm(place, spot_place):
    client = AsyncClient()
    client.API_URL = f"{spot_place.rest}/api"
    client.FUTURES_URL = f"{place.rest}/fapi"
    try:
        manager = BinanceSocketManager(client)
        # The library appends the route, /market.
        manager.FSTREAM_URL = f"{place.ws.removesuffix('market')}"
        asked = await asked_for(place, client.futures_klines)
        socket = manager.kline_futures_socket(SYMBOL, "1m")
        pushed = await compare(place, SYMBOL, await watched(socket))
    finally:
        await client.close_connection()
    return f"{asked} by REST, {pushed} pushed equal to the truth"


env = environment()
places = Place(env, "binance", "spot"), Place(env, "binance", "usdm")
run(f"python-binance {importlib.metadata.version('python-binance')}", [
    ("binance spot BTCUSDT", spot(places[0])),
    ("binance usdm BTCUSDT", usdm(places[1], places[0])),
])
