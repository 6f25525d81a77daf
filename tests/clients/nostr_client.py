"""One case of nostr-sdk against a relay: nostr_client.py CASE URL [NUMBER | CONTENTS]. Exits 0 on success."""

import asyncio
import json
import os
import sys
from datetime import timedelta

from nostr_sdk import (
    ClientBuilder,
    DatabaseEventStatus,
    EventBuilder,
    Filter,
    Keys,
    Kind,
    NostrDatabase,
    NostrDatabaseFeatures,
    RelayUrl,
    ReqTarget,
    SaveEventStatus,
    SignerAuthenticator,
    SyncDirection,
    SyncOptions,
    Tag,
    Timestamp,
    UnwrappedGift,
    nip17_make_private_msg,
    uniffi_set_event_loop,
)

DEADLINE_S = 30
SYNC_DEADLINE_S = 600
IN_FLIGHT = 64


class Memory(NostrDatabase):
    """The client's own events: the local side of a synchronisation."""

    def __init__(self, events=()):
        self.events = {event.id(): event for event in events}

    def backend(self):
        return "memory"

    def features(self):
        return NostrDatabaseFeatures(
            persistent=False, event_expiration=False, full_text_search=False, request_to_vanish=False
        )

    async def save_event(self, event):
        self.events[event.id()] = event
        return SaveEventStatus.success()

    async def check_id(self, event_id):
        saved = event_id in self.events
        return DatabaseEventStatus.SAVED if saved else DatabaseEventStatus.NOT_EXISTENT

    async def event_by_id(self, event_id):
        return self.events.get(event_id)

    async def count(self, filter):
        return len(await self.query(filter))

    async def query(self, filter):
        return [event for event in self.events.values() if filter.match_event(event)]

    async def delete_events(self, filter):
        for event in await self.query(filter):
            del self.events[event.id()]

    async def wipe(self):
        self.events.clear()


async def connect(url, keys=None, database=None):
    builder = ClientBuilder()
    if keys:
        builder = builder.authenticator(SignerAuthenticator(keys))
    if database:
        builder = builder.database(database)
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


async def send_all(client, events):
    """Sends with a bounded number of events in flight."""
    left = iter(events)

    async def worker():
        for event in left:
            await send(client, event)

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


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


async def sync(url, count):
    """Both sides have `count` events; 1 % of them (at least one, if there are any) are missing on the other side."""
    count = int(count)
    keys = Keys.generate()
    differing = (count + 99) // 100
    base = Timestamp.now().as_secs() - count - differing
    events = [note(keys, f"{i}", created_at=base + i) for i in range(count + differing)]
    here, there = events[differing:], events[:count]
    writer = await connect(url)
    await send_all(writer, there)
    local = Memory(here)
    client = await connect(url, database=local)
    filter = Filter().author(keys.public_key())
    summary = await client.sync(filter, opts=SyncOptions().direction(SyncDirection.BOTH))
    assert not summary.failed, summary
    report = summary.report
    assert len(report.sent) == differing and len(report.received) == differing, report
    assert len(local.events) == len(events), len(local.events)
    # A second synchronisation finds no difference.
    report = (await client.sync(filter, opts=SyncOptions().direction(SyncDirection.BOTH))).report
    assert not (report.sent or report.received or report.local or report.remote), report


async def main(case, *arguments):
    uniffi_set_event_loop(asyncio.get_running_loop())
    deadline = SYNC_DEADLINE_S if case == "sync" else DEADLINE_S
    await asyncio.wait_for(globals()[case](*arguments), deadline)


asyncio.run(main(*sys.argv[1:]))
# Threads of the library still hold objects of this interpreter, which must not end before them.
os._exit(0)
