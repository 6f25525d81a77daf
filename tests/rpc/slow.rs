//! Subscribers that do not read: closed, or sent less, as their route says. Others are not delayed.

use serde_json::{Value, json};
use weir::reactor::settings::{RouteSettings, SlowPolicy};
use weir::services::rpc::{Notice, RpcSettings};

use super::scripted::{Stage, call, json as next, raw};
use crate::support::Client;

const HEADS: u64 = 300;

/// Announces more heads than the kernel and a queue hold; the quick client reads each before the next.
fn announce_heads(stage: &Stage, quick: &mut Client) {
    for number in 0..HEADS {
        stage.notify(move || {
            let head = json!({"number": number, "extraData": "x".repeat(64 * 1024)});
            Notice::Head(raw(&head))
        });
        assert_eq!(block_number(&next(quick)), number);
    }
}

fn stage(slow_policy: SlowPolicy) -> (Stage, Client, Client) {
    let route = RouteSettings::default().slow_policy(slow_policy);
    // Small replies, so that the outbox has the size of the route's settings.
    let settings = RpcSettings::default().response_bytes_max(10_000);
    let stage = Stage::with_route(settings, route);
    let mut slow = Client::narrow(stage.server.address, "/");
    let mut quick = stage.client();
    for client in [&mut slow, &mut quick] {
        assert!(call(client, "eth_subscribe", &json!(["newHeads"]))["result"].is_string());
    }
    (stage, slow, quick)
}

fn block_number(notification: &Value) -> u64 {
    notification["params"]["result"]["number"].as_u64().unwrap()
}

#[test]
fn a_subscriber_that_does_not_read_is_closed_with_1013() {
    let (stage, mut slow, mut quick) = stage(SlowPolicy::Close);
    announce_heads(&stage, &mut quick);
    assert_eq!(slow.expect_close(), (1013, "slow consumer".to_owned()));
    slow.close(1013, "");
    drop((slow, quick));
    assert_eq!(stage.server.stop_clean().ended_slow, 1);
}

#[test]
fn with_slow_drop_notifications_are_dropped_and_counted() {
    let (stage, mut slow, mut quick) = stage(SlowPolicy::Drop);
    announce_heads(&stage, &mut quick);
    // The subscriber gets some notifications, in order, and all new ones once it has caught up.
    let (mut last, mut count, mut number) = (None, 0, HEADS);
    while last < Some(HEADS) {
        stage.notify(move || Notice::Head(raw(&json!({ "number": number }))));
        assert_eq!(block_number(&next(&mut quick)), number);
        number += 1;
        let number = Some(block_number(&next(&mut slow)));
        assert!(last < number);
        last = number;
        count += 1;
    }
    assert!(count < HEADS, "{count}");
    assert_eq!(call(&mut quick, "now", &json!([]))["result"], json!([]));
    drop((slow, quick));
    let metrics = stage.server.stop_clean();
    assert!(metrics.messages_refused >= HEADS - count, "{metrics}");
    assert_eq!(metrics.ended_slow, 0);
}
