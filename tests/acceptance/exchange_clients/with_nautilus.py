"""nautilus_trader: the data clients of Binance and OKX in a trading node, and the two halves of
that of Bybit; instruments, bars on request and bars that are subscribed to.

BybitDataClientConfig has one address, `base_url_http`, and gives it to the WebSocket client too. No
address is right for both, so its HTTP and WebSocket clients are used by themselves.

usage: with_nautilus.py sim.env"""
import asyncio
import importlib.metadata
import os
import sys
from datetime import datetime, timedelta, timezone

from nautilus_trader.adapters.binance import BinanceAccountType, BinanceDataClientConfig
from nautilus_trader.adapters.binance import BinanceLiveDataClientFactory
from nautilus_trader.adapters.okx import OKXDataClientConfig, OKXLiveDataClientFactory
from nautilus_trader.config import InstrumentProviderConfig, LoggingConfig, TradingNodeConfig
from nautilus_trader.core import nautilus_pyo3
from nautilus_trader.core.nautilus_pyo3 import BybitEnvironment, BybitHttpClient, BybitProductType
from nautilus_trader.core.nautilus_pyo3 import BybitWebSocketClient, OKXInstrumentType
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import Bar, BarType, capsule_to_data
from nautilus_trader.model.identifiers import ClientId
from nautilus_trader.trading.strategy import Strategy

from common import CLOSED, MINUTE_MS, PATIENCE_S, Place, closed_only, compare, environment
from common import now_ms

MINUTES = 200


def all_instruments():
    return InstrumentProviderConfig(load_all=True)


def binance(kind):
    def config(place):
        return BinanceDataClientConfig(
            account_type=kind, base_url_http=place.rest, base_url_ws=place.ws,
            instrument_provider=all_instruments())
    return config, BinanceLiveDataClientFactory


def okx(kind):
    def config(place):
        return OKXDataClientConfig(
            instrument_types=(kind,), base_url_http=place.rest,
            base_url_ws=f"{place.ws}/ws/v5/public", instrument_provider=all_instruments())
    return config, OKXLiveDataClientFactory


# Our exchange and contract type, the exchange's symbol, nautilus_trader's, and its client.
NODE = [
    ("binance", "spot", "BTCUSDT", "BTCUSDT.BINANCE", binance(BinanceAccountType.SPOT)),
    ("binance", "usdm", "BTCUSDT", "BTCUSDT-PERP.BINANCE",
     binance(BinanceAccountType.USDT_FUTURES)),
    ("binance", "coinm", "BTCUSD_PERP", "BTCUSD-PERP.BINANCE",
     binance(BinanceAccountType.COIN_FUTURES)),
    ("okx", "spot", "BTC-USDT", "BTC-USDT.OKX", okx(OKXInstrumentType.SPOT)),
    ("okx", "swap", "BTC-USDT-SWAP", "BTC-USDT-SWAP.OKX", okx(OKXInstrumentType.SWAP)),
    ("okx", "futures", "BTC-USDT-261225", "BTC-USDT-261225.OKX", okx(OKXInstrumentType.FUTURES)),
]
BYBIT = [
    ("bybit", "spot", "BTCUSDT", "BTCUSDT-SPOT.BYBIT", BybitProductType.SPOT),
    ("bybit", "linear", "BTCUSDT", "BTCUSDT-LINEAR.BYBIT", BybitProductType.LINEAR),
    ("bybit", "inverse", "BTCUSD", "BTCUSD-INVERSE.BYBIT", BybitProductType.INVERSE),
]
CASES = NODE + BYBIT


def bar_type_of(case):
    return f"{case[3]}-1-MINUTE-LAST-EXTERNAL"


def client_of(case):
    return f"{case[0]}_{case[1]}".upper()


class Bars(Strategy):
    """Keeps the bars of every case. For those of the node it asks, and subscribes to the next."""

    def __init__(self):
        super().__init__()
        self.asked = {case[3]: {} for case in CASES}
        self.pushed = {case[3]: {} for case in CASES}
        # Before anything was asked for.
        self.asked_ms = now_ms()

    def on_start(self):
        since = self.clock.utc_now() - timedelta(minutes=MINUTES)
        for case in NODE:
            bar_type = BarType.from_str(bar_type_of(case))
            client = ClientId(client_of(case))
            self.subscribe_bars(bar_type, client_id=client)
            self.request_bars(bar_type, start=since, client_id=client)

    def on_bar(self, bar):
        keep(self.pushed, bar)

    def on_historical_data(self, data):
        keep(self.asked, data)


def keep(bars, bar):
    """A bar carries the time of its close, which at Binance is the last ms of its minute. At OKX it
    carries the time of its open."""
    instrument = str(bar.bar_type.instrument_id)
    at = -(-bar.ts_event // 1_000_000 // MINUTE_MS) * MINUTE_MS
    opened = at if instrument.endswith(".OKX") else at - MINUTE_MS
    prices = bar.open, bar.high, bar.low, bar.close, bar.volume
    bars[instrument][opened] = [str(price) for price in prices]


async def bybit(case, place, bars):
    """What its data client does with its two halves: instruments to both, then the bars."""
    kind = case[4]
    bar_type = nautilus_pyo3.BarType.from_str(bar_type_of(case))
    http = BybitHttpClient(base_url=place.rest)
    socket = BybitWebSocketClient.new_public(
        kind, BybitEnvironment.MAINNET, url=f"{place.ws}/v5/public/{place.contract_type}")
    for instrument in await http.request_instruments(kind, None, None):
        http.cache_instrument(instrument)
        socket.cache_instrument(instrument)
    socket.set_bars_timestamp_on_close(True)

    def on_message(message):
        if nautilus_pyo3.is_pycapsule(message):
            keep(bars.pushed, capsule_to_data(message))

    await socket.connect(loop_=asyncio.get_running_loop(), callback=on_message)
    await socket.wait_until_active(timeout_secs=10.0)
    await socket.subscribe_bars(bar_type)
    since = datetime.now(timezone.utc) - timedelta(minutes=MINUTES)
    found = await http.request_bars(
        product_type=kind, bar_type=bar_type, start=since, limit=MINUTES, timestamp_on_close=True)
    for bar in Bar.from_pyo3_list(found):
        keep(bars.asked, bar)
    await until_complete([case], bars)
    await socket.close()


async def until_complete(cases, bars):
    for _ in range(PATIENCE_S * 10):
        if all(len(bars.pushed[case[3]]) >= CLOSED for case in cases):
            break
        await asyncio.sleep(0.1)


async def node(places, bars):
    clients = {client_of(case): case[4][0](place) for case, place in zip(NODE, places)}
    live = TradingNode(config=TradingNodeConfig(
        logging=LoggingConfig(log_level="WARNING"), data_clients=clients,
        timeout_connection=20.0, timeout_disconnection=5.0))
    live.trader.add_strategy(bars)
    for case in NODE:
        live.add_data_client_factory(client_of(case), case[4][1])
    live.build()
    running = asyncio.create_task(live.run_async())
    await until_complete(NODE, bars)
    await live.stop_async()
    running.cancel()


async def judge(case, place, bars):
    # OKX's answers end with the candle that runs.
    asked = closed_only(bars.asked[case[3]], bars.asked_ms)
    # The first may be older than the start, the last younger than `asked_ms`.
    assert len(asked) >= MINUTES - 3, f"{len(asked)} bars of {MINUTES} by request"
    pushed = bars.pushed[case[3]]
    assert len(pushed) >= CLOSED, f"{len(pushed)} bars were pushed"
    asked = await compare(place, case[2], asked)
    pushed = await compare(place, case[2], pushed)
    return f"{asked} by REST, {pushed} pushed equal to the truth"


async def main():
    env = environment()
    # Its HTTP client of OKX demands a key in any case; public questions are not signed with it.
    os.environ.update(OKX_API_KEY="none", OKX_API_SECRET="none", OKX_API_PASSPHRASE="none")
    places = [Place(env, case[0], case[1]) for case in CASES]
    bars = Bars()
    halves = [bybit(case, place, bars) for case, place in zip(BYBIT, places[len(NODE):])]
    ran = await asyncio.gather(node(places, bars), *halves, return_exceptions=True)
    failed = [f"{type(one).__name__} {one}" for one in ran if isinstance(one, BaseException)]
    print(*failed, sep="\n")
    judged = [judge(case, place, bars) for case, place in zip(CASES, places)]
    results = await asyncio.gather(*judged, return_exceptions=True)
    version = importlib.metadata.version("nautilus_trader")
    for case, result in zip(CASES, results):
        if isinstance(result, BaseException):
            failed.append(result)
            result = f"FAILED: {type(result).__name__} {str(result)[:400]}"
        print(f"nautilus_trader {version} {case[0]} {case[1]} {case[3]}: {result}", flush=True)
    return bool(failed)


sys.exit(asyncio.run(main()))
