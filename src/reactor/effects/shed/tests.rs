use super::*;
use crate::protocol::SharedFrame;
use crate::reactor::api::settings::RouteSettings;
use crate::reactor::effects::testing::Rig;

fn rig() -> Rig {
    Rig::new(&RouteSettings::default())
}

/// Adds to what a connection has sent.
fn sends(rig: &mut Rig, id: ConnId, messages: u64, bytes: u64) {
    let traffic = &mut rig.conn(id).traffic;
    traffic.messages_in += messages;
    traffic.bytes_in += bytes;
}

#[test]
fn by_delay_connections_rank_by_messages_and_bytes_since_the_last_sample() {
    const KIB: u64 = 1024;
    let mut rig = rig();
    let [many, large, little, before] = [(); 4].map(|()| rig.open("/low"));
    let (normal, high) = (rig.open("/normal"), rig.open("/high"));
    sends(&mut rig, before, 1_000_000, 1_000_000 * KIB);
    rig.core().collect_candidates(VISITS_PER_SAMPLE);
    // A message is work as are 1,024 bytes.
    sends(&mut rig, many, 20, 20);
    sends(&mut rig, large, 1, 30 * KIB);
    sends(&mut rig, little, 3, 3);
    sends(&mut rig, before, 15, 15);
    sends(&mut rig, normal, 40, 40);
    sends(&mut rig, high, 0, 0);
    let ranked = rig.core().rank_candidates(Resource::Delay);
    let ranked: Vec<ConnId> = ranked.into_iter().map(|(_, _, id)| id).collect();
    // A quarter of the mean is 4.5 messages.
    assert_eq!(ranked, [large, many, before, normal]);
    assert_eq!(rig.core().rank_candidates(Resource::Memory), [], "they hold nothing");

    // The next sample counts from this one on.
    rig.core().collect_candidates(VISITS_PER_SAMPLE);
    sends(&mut rig, little, 1, 1);
    let ranked = rig.core().rank_candidates(Resource::Delay);
    assert_eq!(ranked.len(), 1);
    assert_eq!(ranked[0].2, little);
}

#[test]
fn high_priorities_count_for_the_mean_and_are_not_closed() {
    let mut rig = rig();
    let (low, high) = (rig.open("/low"), rig.open("/high"));
    let critical = rig.open("/critical");
    rig.core().collect_candidates(VISITS_PER_SAMPLE);
    sends(&mut rig, low, 10, 0);
    sends(&mut rig, high, 50, 0);
    sends(&mut rig, critical, 50, 0);
    let ranked = rig.core().rank_candidates(Resource::Delay);
    assert_eq!(ranked.into_iter().map(|(_, _, id)| id).collect::<Vec<_>>(), [low]);
    sends(&mut rig, high, 20, 0);
    assert_eq!(rig.core().rank_candidates(Resource::Delay), []);
}

#[test]
fn each_sample_looks_at_the_next_part_of_the_table() {
    let mut rig = rig();
    let ids = [(); 5].map(|()| rig.open("/low"));
    for part in [&ids[..2], &ids[2..4], &ids[4..], &ids[..2]] {
        rig.core().collect_candidates(2);
        let candidates = &rig.core().shedding.candidates;
        let candidates: Vec<ConnId> = candidates.iter().map(|candidate| candidate.id).collect();
        assert_eq!(candidates, part);
    }
}

#[test]
fn by_memory_the_queue_is_cut_and_by_delay_it_is_sent() {
    const TEXT: &str = "a queued message";
    const COUNT: u64 = 10;
    for (resource, is_cut) in [(Resource::Memory, true), (Resource::Delay, false)] {
        let mut rig = rig();
        let id = rig.open("/low");
        for _ in 0..COUNT {
            rig.send(id, TEXT);
        }
        rig.core().shed_one(id, resource);
        assert_eq!(rig.core().metrics.messages_dropped, if is_cut { COUNT } else { 0 });
        rig.core().flush(id);
        if !is_cut {
            let message = SharedFrame::message(TEXT.into()).as_bytes().to_vec();
            let messages = message.repeat(COUNT as usize);
            assert_eq!(rig.received(id, messages.len()), messages);
        }
        let head = rig.received(id, 4);
        assert_eq!((head[0], &head[2..]), (0x88, &1013u16.to_be_bytes()[..]), "{resource}");
        let text = rig.received(id, usize::from(head[1]) - 2);
        assert!(text.starts_with(b"server overloaded, retry in "), "{resource}");
    }
}
