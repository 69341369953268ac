"""python-binance: klines by REST and by BinanceSocketManager, spot and USD-M.

usage: with_python_binance.py sim.env"""
import importlib.metadata

from binance import AsyncClient, BinanceSocketManager

from common import Place, Watched, closed_only, compare, environment, rows_of, run

SYMBOL = "BTCUSDT"
ROWS = 500


async def watched(socket):
    found = Watched()
    async with socket as stream:
        while len(found.candles) < 2:
            candle = (await stream.recv())
            candle = candle.get("data", candle)["k"]
            found.pushed(candle["x"], candle["t"], *(candle[key] for key in "ohlcv"))
        return await found.complete()


async def spot(place):
    # The library's own addresses, as its documentation lets one set them.
    AsyncClient.API_URL = f"{place.rest}/api"
    client = await AsyncClient.create()
    try:
        manager = BinanceSocketManager(client)
        manager.STREAM_URL = f"{place.ws}/"
        asked = closed_only(rows_of(await client.get_klines(
            symbol=SYMBOL, interval=AsyncClient.KLINE_INTERVAL_1MINUTE, limit=ROWS)))
        asked = await compare(place, SYMBOL, asked)
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
        asked = closed_only(rows_of(await client.futures_klines(
            symbol=SYMBOL, interval=AsyncClient.KLINE_INTERVAL_1MINUTE, limit=ROWS)))
        asked = await compare(place, SYMBOL, asked)
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
