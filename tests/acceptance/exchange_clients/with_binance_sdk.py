"""Binance's own SDK for spot: klines by REST and by WebSocket, with UUIDs as request ids.

usage: with_binance_sdk.py sim.env"""
import asyncio
import importlib.metadata

from binance_sdk_spot.spot import ConfigurationRestAPI, ConfigurationWebSocketStreams, Spot
from binance_sdk_spot.rest_api.models import KlinesIntervalEnum
from binance_sdk_spot.websocket_streams.models import KlineIntervalEnum

from common import Place, Watched, closed_only, compare, environment, now_ms, rows_of, run

SYMBOL = "BTCUSDT"
ROWS = 500


async def spot(place):
    client = Spot(
        config_rest_api=ConfigurationRestAPI(base_path=place.rest),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=place.ws),
    )
    now = now_ms()
    answer = await asyncio.to_thread(
        client.rest_api.klines, SYMBOL, KlinesIntervalEnum.INTERVAL_1m, limit=ROWS)
    asked = await compare(place, SYMBOL, closed_only(rows_of(answer.data()), now))
    found = Watched()

    def on_message(push):
        candle = push.k
        found.pushed(candle.x, candle.t, candle.o, candle.h, candle.l, candle.c, candle.v)

    connection = await client.websocket_streams.create_connection()
    try:
        stream = await connection.kline(SYMBOL.lower(), KlineIntervalEnum.INTERVAL_1m)
        stream.on("message", on_message)
        pushed = await compare(place, SYMBOL, await found.complete())
        await stream.unsubscribe()
    finally:
        await connection.close_connection(close_session=True)
    return f"{asked} by REST, {pushed} pushed equal to the truth"


run(f"binance-sdk-spot {importlib.metadata.version('binance-sdk-spot')}",
    [("binance spot BTCUSDT", spot(Place(environment(), "binance", "spot")))])
