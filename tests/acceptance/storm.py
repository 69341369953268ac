"""Clients that stay and clients that come and go, while the server at URL gives way to another.

storm.py URL STAYING SECONDS: prints one JSON object, and ends with 1 where somebody was refused, did
not come back, or missed a closed candle.
"""
import asyncio
import json
import sys
import time

import websockets
from websockets.exceptions import ConnectionClosed

MINUTE_MS = 60_000
VISITORS = 8
BTC = {"exchange": "binance", "contract_type": "spot", "symbols": ["BTCUSDT"]}
seen = {"visits": 0, "told_to_move": 0, "refused": [], "moved": 0, "resumed": 0, "longest_absence_ms": 0.0}


def connect(url):
    return websockets.connect(url, compression=None, open_timeout=20, close_timeout=5)


async def visit(url):
    """Connects, wants one quote, goes."""
    async with connect(url) as client:
        try:
            await client.send(json.dumps(BTC | {"limit": 1}))
            async for text in client:
                if '"type":"quote"' in text:
                    return "visits"
        except ConnectionClosed:
            pass
        if client.close_code == 1001:
            return "told_to_move"
        raise RuntimeError(f"closed with {client.close_code}")


async def visitor(url, end):
    while time.monotonic() < end:
        try:
            seen[await visit(url)] += 1
        except Exception as error:  # whatever it is, a client was not served
            seen["refused"].append(f"visitor: {error!r}")


async def read_past(client, newest):
    """Every closed candle after `newest`, without a hole, up to the running one."""
    async for text in client:
        message = json.loads(text)
        assert message["type"] not in ("gap", "error"), message
        if message["type"] == "quote" and message["is_closed_candle"]:
            assert message["open_time"] == newest + MINUTE_MS, (newest, message)
            newest = message["open_time"]
        elif message["type"] == "quote":
            return newest
    raise RuntimeError(f"closed with {client.close_code}")


async def stay(url, since, end, ready):
    """Resumes after each close, as if it had missed the latest three candles."""
    newest, left = since, None
    try:
        while True:
            async with connect(url) as client:
                await client.send(json.dumps(BTC | {"since": newest}))
                newest = await read_past(client, newest)
                if left is None:
                    ready.release()
                else:
                    seen["resumed"] += 1
                    absence = (time.monotonic() - left) * 1000
                    seen["longest_absence_ms"] = round(max(seen["longest_absence_ms"], absence), 1)
                try:
                    while time.monotonic() < end:
                        message = json.loads(await asyncio.wait_for(client.recv(), end - time.monotonic()))
                        if message["type"] == "quote" and message["is_closed_candle"]:
                            newest = message["open_time"]
                    return
                except TimeoutError:
                    return
                except ConnectionClosed:
                    assert client.close_code == 1001, client.close_code
                    seen["moved"] += 1
                    left, newest = time.monotonic(), newest - 3 * MINUTE_MS
    except Exception as error:
        seen["refused"].append(f"staying: {error!r}")


async def main():
    url, staying, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    async with connect(url) as client:
        await client.send(json.dumps(BTC))
        async for text in client:
            message = json.loads(text)
            if message["type"] == "quote":
                break
    since = message["open_time"] - 10 * MINUTE_MS
    ready, end = asyncio.Semaphore(0), time.monotonic() + seconds + staying / 500
    tasks = [asyncio.create_task(stay(url, since, end, ready)) for _ in range(staying)]
    for _ in range(staying):
        await ready.acquire()
    print("ready", flush=True)
    tasks += [asyncio.create_task(visitor(url, end)) for _ in range(VISITORS)]
    await asyncio.gather(*tasks)
    refused = seen["refused"]
    print(json.dumps(seen | {"refused": len(refused), "first_refusals": refused[:3]}))
    sys.exit(bool(refused) or seen["moved"] < staying or seen["resumed"] < seen["moved"])


asyncio.run(main())
