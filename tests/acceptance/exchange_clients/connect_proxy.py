"""A proxy (CONNECT) on loopback that leads the hosts of an exchange to the simulated one, for
clients that take a proxy and no address. Prints its own address, then serves until it is ended.

usage: connect_proxy.py HOST=PORT…"""
import asyncio
import sys


async def pour(reader, writer):
    try:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(ports, reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
    port = ports.get(target.removesuffix(":443"))
    if method != "CONNECT" or port is None:
        print(f"refused {method} {target}", file=sys.stderr, flush=True)
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        return writer.close()
    upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await asyncio.gather(pour(reader, upstream_writer), pour(upstream_reader, writer))


async def main():
    pairs = (pair.split("=") for pair in sys.argv[1:])
    ports = {host: int(port) for host, port in pairs}
    server = await asyncio.start_server(lambda *ends: serve(ports, *ends), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


asyncio.run(main())
