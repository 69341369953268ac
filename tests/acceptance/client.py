"""Subscribes and prints every message as one line of JSON; ends with the server's close code."""
import asyncio
import sys

import websockets


async def main(url, request):
    async with websockets.connect(url) as socket:
        await socket.send(request)
        try:
            async for message in socket:
                print(message, flush=True)
        except websockets.ConnectionClosed:
            pass
    print(f"closed {socket.close_code}", flush=True)


asyncio.run(main(*sys.argv[1:3]))
