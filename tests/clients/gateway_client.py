"""web3.py through a gateway: gateway_client.py URL ANVIL CONTRACT TOPIC. Exits 0 on success."""

import asyncio
import sys

from web3 import AsyncHTTPProvider, AsyncWeb3, WebSocketProvider

DEADLINE_S = 40


async def run(url, anvil, contract, topic):
    direct = AsyncWeb3(AsyncHTTPProvider(anvil))
    account = (await direct.eth.accounts)[0]

    async def ping():
        to = AsyncWeb3.to_checksum_address(contract)
        transaction = {"from": account, "to": to, "gas": 0x100000}
        sent = await direct.eth.send_transaction(transaction)
        await direct.provider.make_request("anvil_mine", ["0x1"])
        return await direct.eth.get_transaction_receipt(sent)

    async with AsyncWeb3(WebSocketProvider(url)) as client:
        assert await client.eth.block_number == await direct.eth.block_number
        async with client.batch_requests() as batch:
            batch.add(client.eth.get_block(0))
            batch.add(client.eth.get_block("latest"))
            first, last = await batch.async_execute()
        assert (first["number"], last["number"]) == (0, await direct.eth.block_number)
        for _ in range(2):
            heads = await client.eth.subscribe("newHeads")
            logs = await client.eth.subscribe("logs", {"address": contract, "topics": [topic]})
            receipt = await ping()
            seen = {}
            async for message in client.socket.process_subscriptions():
                seen.setdefault(message["subscription"], message["result"])
                if len(seen) == 2:
                    break
            assert seen[heads]["hash"] == receipt["blockHash"], seen
            assert seen[logs]["transactionHash"] == receipt["transactionHash"], seen
            assert await client.eth.unsubscribe(heads)
            assert await client.eth.unsubscribe(logs)
    await direct.provider.disconnect()


asyncio.run(asyncio.wait_for(run(*sys.argv[1:]), DEADLINE_S))
