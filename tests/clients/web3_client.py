"""One case of PyPI web3 against a node: web3_client.py CASE WS_URL HTTP_URL. Exits 0 on success."""

import asyncio
import sys

from web3 import AsyncWeb3, Web3
from web3.providers import HTTPProvider, WebSocketProvider

DEADLINE_S = 20
CHAIN_ID = 0x849
ADDRESS = Web3.to_checksum_address("0x00000000000000000000000000000000000000ab")


async def http(_, url):
    """Calls and a batch by HTTP POST."""
    web3 = Web3(HTTPProvider(url))
    assert web3.is_connected()
    assert web3.eth.chain_id == CHAIN_ID
    number = web3.eth.block_number
    block = web3.eth.get_block(number)
    assert web3.eth.get_block(number - 1).hash == block.parentHash
    with web3.batch_requests() as batch:
        for each in range(3):
            batch.add(web3.eth.get_block(each))
        answers = batch.execute()
    assert [answer.number for answer in answers] == [0, 1, 2]


async def websocket(url, _):
    """Calls and a batch over a WebSocket, in binary frames."""
    async with AsyncWeb3(WebSocketProvider(url)) as web3:
        assert await web3.eth.chain_id == CHAIN_ID
        block = await web3.eth.get_block("latest", True)
        assert (await web3.eth.get_block(block.number - 1)).hash == block.parentHash
        async with web3.batch_requests() as batch:
            for each in range(3):
                batch.add(web3.eth.get_block(each))
            answers = await batch.async_execute()
        assert [answer.number for answer in answers] == [0, 1, 2]


async def subscriptions(url, http_url):
    """Subscribes, hears, unsubscribes, and does it all again."""
    node = Web3(HTTPProvider(http_url))

    def order(method, *params):
        return node.manager.request_blocking(method, list(params))

    async with AsyncWeb3(WebSocketProvider(url)) as web3:
        for _ in range(2):
            heads = await web3.eth.subscribe("newHeads")
            logs = await web3.eth.subscribe("logs", {"address": ADDRESS})
            pending = await web3.eth.subscribe("newPendingTransactions", True)
            sent = order("weir_emit", [{"address": ADDRESS}])
            order("weir_mine", 1)
            heard = {}
            async for message in web3.socket.process_subscriptions():
                heard[message["subscription"]] = message["result"]
                if len(heard) == 3:
                    break
            hashes = (heard[logs].transactionHash, heard[pending].hash)
            assert [each.to_0x_hex() for each in hashes] == [sent, sent], (hashes, sent)
            assert heard[heads].hash == heard[logs].blockHash
            for each in (heads, logs, pending):
                assert await web3.eth.unsubscribe(each) is True


if __name__ == "__main__":
    case, *urls = sys.argv[1:]
    asyncio.run(asyncio.wait_for(globals()[case](*urls), DEADLINE_S))
