//! Scans, counts and collections: slices, limits, catch-up, HyperLogLog, search.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::random::random_scan;
use super::*;

#[test]
fn ids_with_equal_first_eight_bytes_are_different_events() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let drafts: Vec<Draft> = [3, 1, 2]
        .map(|last| {
            let mut draft = Draft::new(5, 1, 1, NOW).tag("t", "x");
            draft.head.id[31] = last;
            draft
        })
        .into();
    commit(&mut writer, &drafts);
    let ids: Vec<EventId> = drafts.iter().map(|draft| draft.head.id).collect();
    for filters in [r#"{"kinds":[1]}"#, r##"{"#t":["x"]}"##, "{}", r#"{"kinds":[1,2],"limit":3}"#] {
        assert_eq!(request(&store, &[filters], Visibility::all()), ids, "{filters}");
    }
    let by_id = format!(r#"{{"ids":["{}"]}}"#, hex_of(&ids[1]));
    assert_eq!(request(&store, &[&by_id], Visibility::all()), [ids[1]]);
    assert_consistent(&store);
}

fn numbered(writer: &mut Writer, count: u64) {
    let drafts: Vec<Draft> =
        (0..count).map(|number| Draft::new(number, 1, 1, NOW - number)).collect();
    commit(writer, &drafts);
}

fn end_of(store: &Store, json: &[&str], limits: ScanLimits) -> (usize, Completeness) {
    let filters: Arc<[Filter]> = json.iter().map(|json| filter(json)).collect();
    let (records, end) =
        scan_with(store, Scan::new(filters, limits, Visibility::all()), Budget::default);
    (records.len(), end.completeness)
}

#[test]
fn the_end_says_whether_more_events_match() {
    use Completeness::{Finished, Limited, More};
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    numbered(&mut writer, 60);
    let limits = ScanLimits { limit_default: 50, limit_max: 55, ..ScanLimits::default() };
    let none = r#"{"kinds":[2]}"#;
    assert_eq!(end_of(&store, &[r#"{"limit":10}"#], limits), (10, Limited));
    assert_eq!(end_of(&store, &["{}"], limits), (50, More));
    assert_eq!(end_of(&store, &[r#"{"limit":900}"#], limits), (55, More));
    assert_eq!(end_of(&store, &[none], limits), (0, Finished));
    let exact = ScanLimits { limit_default: 60, limit_max: 70, ..limits };
    assert_eq!(end_of(&store, &["{}"], exact), (60, Finished));
    assert_eq!(end_of(&store, &["{}", none], exact), (60, Finished));
    let few = ScanLimits { req_events_max: 20, ..exact };
    assert_eq!(end_of(&store, &["{}", none], few), (20, More));
    assert_eq!(end_of(&store, &[r#"{"limit":0}"#], limits), (0, Limited));
}

#[test]
fn a_scan_beyond_its_steps_fails() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    numbered(&mut writer, 2_000);
    let filters: Arc<[Filter]> = [filter(r##"{"authors":["0101010101010101010101010101010101010101010101010101010101010101"],"#t":["x"],"kinds":[1]}"##), filter(r#"{"since":1,"authors":["0101010101010101010101010101010101010101010101010101010101010101"]}"#)].into();
    let limits = ScanLimits {
        scan_steps_max: 3_000,
        limit_default: 5_000,
        limit_max: 5_000,
        ..ScanLimits::default()
    };
    let mut scan = Scan::new(filters, limits, Visibility::all());
    let mut slices = 0;
    let error = loop {
        let mut sink = |_: &Record| ControlFlow::Continue(());
        let budget = Budget { steps: 100, time: Duration::from_secs(60) };
        match scan.slice(&store, budget, NOW, &mut sink) {
            Ok(Slice::OutOfBudget) => slices += 1,
            Ok(end) => panic!("{end:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), "the query takes too long");
    assert!((10..31).contains(&slices), "{slices}");
}

#[test]
fn the_first_slice_makes_the_plan() {
    let directory = Directory::new();
    let (store, _writer) = directory.open();
    let kinds: Vec<String> = (0..1_000).map(|kind| kind.to_string()).collect();
    let filters: Arc<[Filter]> = [filter(&format!(r#"{{"kinds":[{}]}}"#, kinds.join(",")))].into();
    let mut scan = Scan::new(filters, ScanLimits::default(), Visibility::all());
    let before = scan.bytes();
    let mut sink = |_: &Record| ControlFlow::Continue(());
    let budget = Budget { steps: 100, time: Duration::from_secs(60) };
    assert_eq!(scan.slice(&store, budget, NOW, &mut sink).unwrap(), Slice::OutOfBudget);
    assert!(before < 1_000 && scan.bytes() > 100_000, "{before}, then {} bytes", scan.bytes());
}

#[test]
fn a_slice_without_time_ends_soon() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    numbered(&mut writer, 1_000);
    let filters: Arc<[Filter]> = [Filter::default()].into();
    let mut scan = Scan::new(filters, ScanLimits::default(), Visibility::all());
    let mut sent = 0;
    let mut sink = |_: &Record| {
        sent += 1;
        ControlFlow::Continue(())
    };
    let budget = Budget { steps: usize::MAX, time: Duration::ZERO };
    assert_eq!(scan.slice(&store, budget, NOW, &mut sink).unwrap(), Slice::OutOfBudget);
    assert!(sent < 20, "{sent}");
}

#[test]
fn a_scan_skips_what_goes_and_what_comes_between_its_slices() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    numbered(&mut writer, 100);
    let filters: Arc<[Filter]> = [Filter::default()].into();
    let mut scan = Scan::new(filters, ScanLimits::default(), Visibility::all());
    let mut got = Vec::new();
    let mut sink = |record: &Record| {
        got.push(record.head().id);
        if got.len() == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert_eq!(scan.slice(&store, generous(), NOW, &mut sink).unwrap(), Slice::Full);
    // One of them is read ahead already, the other one is not.
    let remove =
        Draft::new(900, 1, 5, NOW - 8).tag("e", &hex_of(&id(7))).tag("e", &hex_of(&id(80)));
    commit(&mut writer, &[remove, Draft::new(901, 1, 1, NOW - 9)]);
    let Slice::End(end) = scan.slice(&store, generous(), NOW, &mut sink).unwrap() else { panic!() };
    let expected: Vec<EventId> =
        (0..100).filter(|number| ![7, 80].contains(number)).map(id).collect();
    assert_eq!(got, expected);
    assert_eq!(end.last, 100);
    // The catch-up scan of section 5.3 returns what came later.
    let filters: Arc<[Filter]> = [filter(r#"{"kinds":[1]}"#)].into();
    let catch_up = Scan::since_serial(filters, end.last, Visibility::all());
    let (records, end) = scan_with(&store, catch_up, || Budget { steps: 1, ..Budget::default() });
    let ids: Vec<EventId> = records.iter().map(|record| record.head().id).collect();
    assert_eq!((ids, end.last), (vec![id(901)], 102));
}

#[test]
fn a_catch_up_scan_goes_on_behind_a_full_page() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    numbered(&mut writer, 50);
    let filters: Arc<[Filter]> = [Filter::default()].into();
    let mut random = StdRng::seed_from_u64(1);
    let serials =
        random_scan(&mut random, &store, Scan::since_serial(filters, 10, Visibility::all()));
    assert_eq!(serials, (11..=50).collect::<Vec<u64>>());
}

#[test]
fn parked_scans_free_what_they_read_ahead() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    numbered(&mut writer, 1_000);
    let filters: Arc<[Filter]> = [Filter::default()].into();
    let mut scan = Scan::new(filters, ScanLimits::default(), Visibility::all());
    let mut sent = 0;
    let mut sink = |_: &Record| {
        sent += 1;
        if sent == 200 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    scan.slice(&store, generous(), NOW, &mut sink).unwrap();
    let reading = scan.bytes();
    scan.park();
    assert!(scan.bytes() < 1_000 && scan.bytes() < reading / 4, "{} of {reading}", scan.bytes());
}

#[test]
fn a_collection_beyond_its_limit_fails() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    numbered(&mut writer, 20);
    let collect = |items_max| {
        Collect::new(Filter::default(), CollectLimits::items(items_max), Visibility::all())
            .slice(&store, generous(), NOW)
            .unwrap()
    };
    assert_eq!(collect(19), Collected::TooMany);
    let Collected::Items(items) = collect(20) else { panic!() };
    assert_eq!(items.len(), 20);
}

#[test]
fn steps_and_time_of_a_collection_that_find_nothing_are_limited() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let tagged = |number| Draft::new(number, 1, 1, NOW - number).tag("t", "a");
    commit(&mut writer, &(0..1_000).map(tagged).collect::<Vec<_>>());
    let collect = |json: &str, limits| {
        let mut collect = Collect::new(filter(json), limits, Visibility::all());
        let budget = Budget { steps: 100, time: Duration::from_secs(60) };
        for slice in 1.. {
            match collect.slice(&store, budget, NOW).unwrap() {
                Collected::OutOfBudget => {}
                Collected::Items(items) => return Ok(items.len()),
                Collected::TooMany => panic!("the limit is large"),
                Collected::TooLong => return Err(slice),
            }
        }
        unreachable!("a collection ends")
    };
    let unlimited = CollectLimits::items(1_000);
    let steps = CollectLimits { scan_steps_max: 1_500, ..unlimited };
    let time = CollectLimits { scan_time_max: Duration::ZERO, ..unlimited };
    // Each event is read for its second tag, 5 steps, and none of them matches.
    let nothing = r##"{"#t":["a"],"#u":["b","c"]}"##;
    assert_eq!(collect(nothing, unlimited), Ok(0));
    // Of 1,000 events that match, the steps are not counted.
    for found in ["{}", r#"{"kinds":[1]}"#] {
        assert_eq!(collect(found, steps), Ok(1_000), "{found}");
    }
    let slices = collect(nothing, steps).unwrap_err();
    assert!((10..20).contains(&slices), "{slices} slices of 100 steps");
    assert_eq!(collect(nothing, time), Err(1));
}

#[test]
fn a_count_beyond_its_steps_is_approximate() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    numbered(&mut writer, 1_000);
    let limits = CountLimits { count_max: 100, ..CountLimits::default() };
    let mut count = Count::new([Filter::default()].into(), limits, Visibility::all());
    let budget = Budget { steps: 30, time: Duration::from_secs(60) };
    let counted = loop {
        if let Some(counted) = count.slice(&store, budget, NOW).unwrap() {
            break counted;
        }
    };
    assert!(counted.is_approximate && counted.count < 200, "{counted:?}");
}

#[test]
fn the_six_filters_of_nip_45_have_a_hyperloglog() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let target = hex_of(&[0xab; 32]);
    let drafts: Vec<Draft> = (0..3_000_u64)
        .map(|number| {
            let mut draft = Draft::new(number, 0, 7, NOW).tag("e", &target);
            draft.head.pubkey = sha2::Digest::finalize(sha2::Digest::chain_update(
                <sha2::Sha256 as sha2::Digest>::new(),
                (number % 1_000).to_be_bytes(),
            ))
            .into();
            draft
        })
        .collect();
    commit(&mut writer, &drafts);
    let counted =
        count(&store, &[&format!(r##"{{"kinds":[7],"#e":["{target}"]}}"##)], Visibility::all());
    assert_eq!(counted.count, 3_000);
    // The estimate of 1,000 authors: the harmonic mean of the registers.
    let registers = counted.hyperloglog.unwrap();
    let sum: f64 = registers.iter().map(|value| 0.5_f64.powi(i32::from(*value))).sum();
    let estimate = 0.7182725932495458 * 256.0 * 256.0 / sum;
    assert!((800.0..1_200.0).contains(&estimate), "{estimate}");
    let others = [r##"{"kinds":[7],"#e":["x"],"since":1}"##, r#"{"kinds":[7]}"#, "{}"];
    for other in others {
        let other = other.replace('x', &target[..if other.contains("#e") { 64 } else { 0 }]);
        let counted = count(&store, &[&other], Visibility::all());
        assert_eq!(counted.hyperloglog, None, "{other}");
    }
}

/// Registers as NIP-45 defines them: offset from the digit at position 32, the byte there selects the
/// register, the leading zeros behind it plus 1 are its value.
#[test]
fn a_hyperloglog_register_is_the_byte_at_the_offset() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let mut target = [0; 32];
    target[16] = 0x3f;
    let mut draft = Draft::new(1, 0, 3, NOW).tag("p", &hex_of(&target));
    draft.head.pubkey[11] = 0xc8;
    draft.head.pubkey[13] = 0x10;
    commit(&mut writer, &[draft]);
    let json = format!(r##"{{"kinds":[3],"#p":["{}"]}}"##, hex_of(&target));
    let registers = count(&store, &[&json], Visibility::all()).hyperloglog.unwrap();
    let mut expected = [0; 256];
    expected[0xc8] = 8 + 3 + 1;
    assert_eq!(*registers, expected);
}

#[test]
fn a_search_finds_all_words_in_any_case() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let drafts: Vec<Draft> = ["Purple \"ostrich\"", "purple rain", "an OSTRICH in Purple", "rain"]
        .iter()
        .enumerate()
        .map(|(number, text)| Draft {
            content: (*text).to_owned(),
            ..Draft::new(number as u64, 1, 1, NOW - number as u64)
        })
        .collect();
    commit(&mut writer, &drafts);
    let search = |words: &str, limits: ScanLimits| {
        let mut filter = filter(r#"{"kinds":[1]}"#);
        filter.search = Some(words.into());
        let scan = Scan::new([filter].into(), limits, Visibility::all());
        let (records, _) = scan_with(&store, scan, generous);
        records.iter().map(|record| u64::from(record.head().id[7])).collect::<Vec<u64>>()
    };
    let limits = ScanLimits { search_events_max: 100, ..ScanLimits::default() };
    assert_eq!(search("purple ostrich", limits), [0, 2]);
    assert_eq!(search("rain", limits), [1, 3]);
    // Among the newest matches only.
    assert_eq!(search("rain", ScanLimits { search_events_max: 2, ..limits }), [1]);
}
