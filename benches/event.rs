//! An event of a Nostr relay: parsed, hashed and verified.
//!
//! The floor is libsecp256k1's verification alone, with a key that is parsed already. A duplicate costs
//! everything but that.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use secp256k1::{Keypair, SecretKey, XOnlyPublicKey, schnorr};
use sha2::{Digest, Sha256};
use weir::services::nostr::event::{Event, EventId, PublicKey, Signature};
use weir::services::nostr::parse::EventLimits;
use weir::services::nostr::refusal::Refusal;
use weir::services::nostr::signature::KeyCache;
use weir::services::nostr::verify::{Known, Lists, Verdict, Verifier, VerifySettings};

/// Bytes of JSON, as in `weir-load nostr`.
const EVENT_BYTES: usize = 648;
const NOW: u64 = 1_700_000_000;

/// A store that is empty, or has one event.
struct Store(Option<(EventId, Signature)>);

impl Known for Store {
    fn signature(&self, id: &EventId) -> Option<Signature> {
        self.0.filter(|(stored, _)| stored == id).map(|(_, sig)| sig)
    }

    fn is_vanished(&self, _: &PublicKey, _: u64) -> bool {
        false
    }
}

impl Lists for Store {
    fn refusal(&self, _: &Event) -> Option<Refusal> {
        None
    }
}

pub(crate) fn all(criterion: &mut Criterion) {
    let (json, key) = signed();
    let rest = format!("{json}]");
    let limits = EventLimits::default();
    let event = Event::parse(&json, &limits).expect("a valid event");
    let settings = VerifySettings::default();
    let mut keys = KeyCache::default();
    let mut check = |store: &Store, rest: &str| {
        let (known, lists) = (store, store);
        Verifier { settings: &settings, known, lists, keys: &mut keys, now: NOW }
            .check_message(rest)
    };
    let empty = Store(None);
    assert!(matches!(check(&empty, &rest), Verdict::Accept(_)));
    bench(criterion, "event check", "weir", || drop(black_box(check(&empty, black_box(&rest)))));
    let full = Store(Some((*event.id(), *event.sig())));
    assert!(matches!(check(&full, &rest), Verdict::Duplicate(_)));
    bench(criterion, "event duplicate", "weir", || {
        drop(black_box(check(&full, black_box(&rest))));
    });
    bench(criterion, "event parse", "weir", || {
        drop(black_box(Event::parse(black_box(&json), &limits)));
    });
    bench(criterion, "event hash", "weir", || assert!(black_box(&event).has_valid_id()));
    let mut out = Vec::new();
    bench(criterion, "event write", "weir", || {
        out.clear();
        black_box(&event).write_json(&mut out);
    });
    let sig = schnorr::Signature::from_byte_array(*event.sig());
    bench(criterion, "event signature", "libsecp256k1", || {
        assert!(schnorr::verify(black_box(&sig), event.id(), &key).is_ok());
    });
}

fn bench(criterion: &mut Criterion, group: &str, contender: &str, mut run: impl FnMut()) {
    let mut group = criterion.benchmark_group(group);
    group
        .bench_function(BenchmarkId::new(contender, EVENT_BYTES), |bencher| bencher.iter(&mut run));
}

/// An event of [`EVENT_BYTES`] with an `e` and a `p` tag, and its author's key.
fn signed() -> (String, XOnlyPublicKey) {
    let secret = SecretKey::from_secret_bytes([7; 32]).expect("a secret key");
    let pair = Keypair::from_secret_key(&secret);
    let (key, _) = XOnlyPublicKey::from_keypair(&pair);
    let pubkey = hex(&key.to_byte_array());
    let tags = format!("[[\"e\",\"{pubkey}\",\"\",\"root\"],[\"p\",\"{pubkey}\"]]");
    let event = |content: &str| {
        let hashed = format!("[0,\"{pubkey}\",{NOW},1,{tags},\"{content}\"]");
        let id: [u8; 32] = Sha256::digest(hashed).into();
        let sig = schnorr::sign_no_aux_rand(&id, &pair).to_byte_array();
        format!(
            "{{\"id\":\"{}\",\"pubkey\":\"{pubkey}\",\"created_at\":{NOW},\"kind\":1,\"tags\":{tags},\
             \"content\":\"{content}\",\"sig\":\"{}\"}}",
            hex(&id),
            hex(&sig)
        )
    };
    let content = weir_benches::input::ascii(EVENT_BYTES - event("").len());
    let json = event(&content);
    assert_eq!(json.len(), EVENT_BYTES);
    (json, key)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
