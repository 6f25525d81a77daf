"""One case of nostr-sdk against a relay: nostr_client.py CASE URL [CONTENTS]. Exits 0 on success."""

import asyncio
import json
import sys
from datetime import timedelta

from nostr_sdk import (
    ClientBuilder,
    EventBuilder,
    Filter,
    Keys,
    Kind,
    RelayUrl,
    ReqTarget,
    SignerAuthenticator,
    Tag,
    Timestamp,
    UnwrappedGift,
    nip17_make_private_msg,
    uniffi_set_event_loop,
)

DEADLINE_S = 30


async def connect(url, keys=None):
    builder = ClientBuilder()
    if keys:
        builder = builder.authenticator(SignerAuthenticator(keys))
    client = builder.build()
    await client.add_relay(RelayUrl.parse(url))
    connected = await client.try_connect(timedelta(seconds=DEADLINE_S))
    assert not connected.failed, connected
    return client


def note(keys, content="", kind=1, created_at=None, tags=()):
    builder = EventBuilder(Kind(kind), content).tags(list(tags))
    if created_at:
        builder = builder.custom_created_at(Timestamp.from_secs(created_at))
    return builder.finalize(keys)


async def send(client, event):
    sent = await client.send_event(event)
    assert sent.success and not sent.failed, sent
    return sent


async def fetch(client, filter):
    return await client.fetch_events(ReqTarget.auto([filter]), timedelta(seconds=DEADLINE_S))


async def received(notifications, wanted):
    """The first notification for which `wanted` returns something; that."""
    while True:
        notification = await notifications.next()
        assert notification is not None and not notification.is_shutdown()
        found = wanted(notification)
        if found:
            return found


def event_of(notification):
    return notification.event if notification.is_new_event() else None


def is_eose(notification):
    return notification.is_message() and notification.message.as_json().startswith('["EOSE"')


async def exchange(url):
    """Events are stored, fetched newest first, and delivered to a subscription."""
    keys = Keys.generate()
    writer, reader = await connect(url), await connect(url)
    now = Timestamp.now().as_secs()
    ages = [30, 10, 20]
    for age in ages:
        await send(writer, note(keys, f"{age}", created_at=now - age))
    feed = Filter().author(keys.public_key())
    contents = [event.content() for event in await fetch(reader, feed)]
    assert contents == ["10", "20", "30"], contents
    notifications = reader.notifications()
    subscribed = await reader.subscribe(ReqTarget.auto([feed.limit(0)]))
    assert subscribed.success and not subscribed.failed, subscribed
    await received(notifications, is_eose)
    live = note(keys, "live")
    await send(writer, live)
    event = await received(notifications, event_of)
    assert event.id() == live.id() and event.verify(), event
    await reader.unsubscribe(subscribed.id)
    refused = await writer.send_event(note(keys, "two hours early", created_at=now + 7200))
    assert not refused.success and "invalid:" in str(refused.failed), refused


async def contents(url, texts):
    """Ids that nostr-sdk computes are accepted, and contents come back unchanged."""
    keys = Keys.generate()
    client = await connect(url)
    events = [note(keys, text, tags=[Tag.parse(["x", "", text])]) for text in json.loads(texts)]
    for event in events:
        await send(client, event)
    found = {event.id(): event for event in await fetch(client, Filter().author(keys.public_key()))}
    assert len(found) == len(events), (len(found), len(events))
    for event in events:
        assert found[event.id()].content() == event.content()
        assert found[event.id()].verify()


async def gift_wraps(url):
    """A gift wrap reaches its recipient, for whom the client answers AUTH by itself, and nobody else."""
    sender, recipient, stranger = Keys.generate(), Keys.generate(), Keys.generate()
    await send(await connect(url), nip17_make_private_msg(sender, recipient.public_key(), "secret"))
    wraps = Filter().kind(Kind(1059)).pubkey(recipient.public_key())
    [wrap] = await fetch(await connect(url, recipient), wraps)
    gift = UnwrappedGift.from_gift_wrap(recipient, wrap)
    assert gift.rumor().content() == "secret" and gift.sender() == sender.public_key()
    for keys in (None, stranger):
        client = await connect(url, keys)
        try:
            assert await fetch(client, wraps) == []
        except Exception as error:
            assert "restricted" in str(error) or "auth" in str(error).lower(), error


async def main(case, *arguments):
    uniffi_set_event_loop(asyncio.get_running_loop())
    await asyncio.wait_for(globals()[case](*arguments), DEADLINE_S)


asyncio.run(main(*sys.argv[1:]))
