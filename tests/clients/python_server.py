"""An echo of the PyPI package `websockets` on a free port, which it prints; it ends with its standard input."""

import asyncio
import sys

import websockets


async def echo(client):
    async for message in client:
        if message == "close":
            await client.close(4002, "asked to")
        else:
            await client.send(message)


def choose(_, offered):
    return "chat.v2" if "chat.v2" in offered else None


async def main():
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None, select_subprotocol=choose) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
