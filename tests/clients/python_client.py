"""One case of one Python client: python_client.py (websockets|aiohttp) CASE URL [compressed]. Exits 0 on success."""

import asyncio
import sys

import aiohttp
import websockets

DEADLINE_S = 10
MESSAGE_MAX = 1024 * 1024
TEXTS = ("grüße 👋 e\u0301", "")
BYTES = (bytes(range(256)) * 800, b"")
RECORDS = [f'{{"id":{i},"side":"buy","says":"grüße"}}' * 25 for i in range(50)]


class Websockets:
    """Cases for the PyPI package `websockets`."""

    async def run(self, case, url, compressed):
        async with websockets.connect(url, max_size=None, proxy=None) as client:
            assert len(client.protocol.extensions) == compressed, client.protocol.extensions
            await getattr(self, case)(client)

    async def echo(self, client):
        for message in TEXTS + BYTES:
            await client.send(message)
            assert await client.recv() == message
        await client.send(["fra", "gm", "ents"])
        assert await client.recv() == "fragments"

    async def deflate(self, client):
        for message in RECORDS:
            await client.send(message)
            assert await client.recv() == message
        await client.send(RECORDS)
        assert await client.recv() == "".join(RECORDS)

    async def ping(self, client):
        for payload in (b"", b"12345678", b"x" * 125):
            await (await client.ping(payload))

    async def close(self, client):
        await client.close(4001, "done")
        assert (client.close_code, client.close_reason) == (4001, "done"), client.close_code

    async def too_large(self, client):
        try:
            await client.send(b"x" * (MESSAGE_MAX + 1024))
            await client.recv()
        except websockets.ConnectionClosed as closed:
            assert closed.rcvd and closed.rcvd.code == 1009, closed
        else:
            raise AssertionError("accepted")

    async def too_many(self, client):
        try:
            for _ in range(1000):
                await client.send("x")
                await client.recv()
        except websockets.ConnectionClosed as closed:
            assert closed.rcvd and (closed.rcvd.code, closed.rcvd.reason) == (1008, "too many messages"), closed
        else:
            raise AssertionError("accepted")


class Aiohttp:
    """Cases for the PyPI package `aiohttp`."""

    async def run(self, case, url, compressed):
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(url, compress=15, max_msg_size=0, autoping=case != "ping") as client:
                assert (client.compress > 0) == compressed, client.compress
                await getattr(self, case)(client)

    async def echo(self, client):
        for text in TEXTS:
            await client.send_str(text)
            assert await client.receive_str() == text
        for message in BYTES:
            await client.send_bytes(message)
            assert await client.receive_bytes() == message

    async def deflate(self, client):
        for message in RECORDS:
            await client.send_str(message)
            assert await client.receive_str() == message

    async def ping(self, client):
        for payload in (b"", b"12345678", b"x" * 125):
            await client.ping(payload)
            pong = await client.receive()
            assert (pong.type, pong.data) == (aiohttp.WSMsgType.PONG, payload), pong

    async def close(self, client):
        await client.close(code=4001, message=b"done")
        assert client.close_code == 4001, client.close_code

    async def too_large(self, client):
        await client.send_bytes(b"x" * (MESSAGE_MAX + 1024))
        end = await client.receive()
        assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, 1009), end


def main(library, case, url, *compressed):
    client = {"websockets": Websockets, "aiohttp": Aiohttp}[library]()
    asyncio.run(asyncio.wait_for(client.run(case, url, compressed == ("compressed",)), DEADLINE_S))


if __name__ == "__main__":
    main(*sys.argv[1:])
