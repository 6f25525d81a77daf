//! Each rule of the choice, by tables, and rendezvous hashing over many keys.

use super::super::hashing::hash;
use super::*;

/// An upstream that is up and has room, alone in its entry.
fn candidate(position: usize) -> Candidate {
    Candidate {
        id: UpstreamId { index: position, serial: 0 },
        position,
        name_hash: hash(format!("10.0.0.{position}:80").as_bytes()),
        weight: 1,
        is_backup: false,
        load: 0,
        has_room: true,
        is_up: true,
        is_up_but_for_breaker: true,
        is_avoided: false,
        is_tried: false,
        is_entry_tried: false,
    }
}

/// Upstreams by one letter for each: see [`marked`].
fn candidates(marks: &str) -> Vec<Candidate> {
    marks.chars().enumerate().map(|(position, mark)| marked(candidate(position), mark)).collect()
}

fn marked(mut it: Candidate, mark: char) -> Candidate {
    match mark {
        // Down by its breaker; by checks, removal or an operator.
        'o' => it.is_up = false,
        'd' => (it.is_up, it.is_up_but_for_breaker) = (false, false),
        'f' => it.has_room = false,
        'b' => it.is_backup = true,
        // A backup that is down.
        'c' => (it.is_backup, it.is_up, it.is_up_but_for_breaker) = (true, false, false),
        't' => (it.is_tried, it.is_entry_tried) = (true, true),
        // Another address of an entry that was tried.
        's' => it.is_entry_tried = true,
        'a' => it.is_avoided = true,
        'u' => {}
        other => panic!("no such mark: {other}"),
    }
    it
}

const ANY: Rules =
    Rules { choose: Choose::Priority, key_hash: None, sticky: None, is_tunnel: true, turn: 0 };

/// The position of the chosen one.
fn chosen(mut candidates: Vec<Candidate>, rules: Rules) -> Result<usize, Choice> {
    choose(&mut candidates, &rules).map(|chosen| chosen.position)
}

#[test]
fn priority_takes_the_first_that_is_up_and_has_room() {
    for (marks, expected) in [
        ("uu", Ok(0)),
        ("du", Ok(1)),
        ("ou", Ok(1)),
        ("fu", Ok(1)),
        ("dfou", Ok(3)),
        // The mark of backups is ignored.
        ("bu", Ok(0)),
        ("ff", Err(Choice::AllFull)),
        ("df", Err(Choice::AllFull)),
        ("dd", Err(Choice::NoneUp)),
    ] {
        assert_eq!(chosen(candidates(marks), ANY), expected, "{marks}");
    }
}

#[test]
fn a_pool_that_is_down_by_breakers_alone_is_used_as_if_they_were_closed() {
    for (marks, expected) in [
        ("oo", Ok(0)),
        ("do", Ok(1)),
        ("to", Err(Choice::NoneUp)),
        ("uo", Ok(0)),
        ("fo", Err(Choice::AllFull)),
    ] {
        assert_eq!(chosen(candidates(marks), ANY), expected, "{marks}");
    }
}

#[test]
fn backups_are_used_only_while_all_others_are_down() {
    for choose in [Choose::Least, Choose::Hash] {
        for (marks, expected) in [
            ("bu", Ok(1)),
            ("bd", Ok(0)),
            ("bo", Ok(0)),
            ("bf", Err(Choice::AllFull)),
            // What was tried for the request counts as down for it.
            ("bt", Ok(0)),
            ("cd", Err(Choice::NoneUp)),
        ] {
            let rules = Rules { choose, key_hash: Some(1), ..ANY };
            assert_eq!(chosen(candidates(marks), rules), expected, "{marks}");
        }
    }
}

#[test]
fn retries_take_the_next_entry_before_another_address_and_each_upstream_once() {
    for choose in [Choose::Priority, Choose::Least, Choose::Hash] {
        let rules = Rules { choose, key_hash: Some(1), ..ANY };
        for (marks, expected) in [
            ("tsu", Ok(2)),
            ("tst", Ok(1)),
            ("ttt", Err(Choice::NoneUp)),
            ("tsf", Ok(1)),
            ("tsd", Ok(1)),
        ] {
            assert_eq!(chosen(candidates(marks), rules), expected, "{marks}");
        }
    }
}

#[test]
fn an_avoided_upstream_gets_no_tunnel_while_another_is_up() {
    for (marks, tunnel, exchange) in
        [("au", Ok(1), Ok(0)), ("ad", Ok(0), Ok(0)), ("aa", Ok(0), Ok(0)), ("at", Ok(0), Ok(0))]
    {
        assert_eq!(chosen(candidates(marks), ANY), tunnel, "{marks}");
        let rules = Rules { is_tunnel: false, ..ANY };
        assert_eq!(chosen(candidates(marks), rules), exchange, "{marks}");
    }
}

#[test]
fn least_takes_the_fewest_by_weight_and_equals_in_turn() {
    let loads = |loads: &[(usize, u8)]| -> Vec<Candidate> {
        let load = |(position, &(load, weight)): (usize, &(usize, u8))| Candidate {
            load,
            weight,
            ..candidate(position)
        };
        loads.iter().enumerate().map(load).collect()
    };
    let rules = Rules { choose: Choose::Least, ..ANY };
    for (given, expected) in [
        (&[(3, 1), (2, 1), (4, 1)][..], 1),
        (&[(3, 1), (8, 3)], 1),
        (&[(3, 1), (9, 3)], 0),
        (&[(3, 1), (10, 3)], 0),
        (&[(0, 1), (0, 100)], 0),
        (&[(1, 1), (99, 100)], 1),
    ] {
        assert_eq!(chosen(loads(given), rules), Ok(expected), "{given:?}");
    }
    for (turn, expected) in [(0, 0), (1, 2), (2, 2), (3, 0)] {
        let equal = loads(&[(1, 1), (5, 1), (1, 1)]);
        assert_eq!(chosen(equal, Rules { turn, ..rules }), Ok(expected), "{turn}");
    }
}

#[test]
fn the_sticky_cookie_wins_over_the_policy_if_its_upstream_is_usable() {
    let sticky = Some(candidate(1).name_hash);
    for (marks, expected) in
        [("uu", 1), ("uf", 0), ("ud", 0), ("uo", 0), ("ut", 0), ("ua", 0), ("ub", 1), ("oo", 1)]
    {
        for choose in [Choose::Priority, Choose::Least, Choose::Hash] {
            let rules = Rules { choose, sticky, ..ANY };
            assert_eq!(chosen(candidates(marks), rules), Ok(expected), "{marks} {choose:?}");
        }
    }
    let unknown = Rules { sticky: Some(1), ..ANY };
    assert_eq!(chosen(candidates("uu"), unknown), Ok(0));
}

/// The upstream of each key.
fn by_key(candidates: &[Candidate], keys: u32) -> Vec<usize> {
    let upstream = |key: u32| {
        let key_hash = Some(hash(&key.to_be_bytes()));
        let rules = Rules { choose: Choose::Hash, key_hash, ..ANY };
        chosen(candidates.to_vec(), rules).unwrap()
    };
    (0..keys).map(upstream).collect()
}

const KEYS: u32 = 10_000;

#[test]
fn a_removed_upstream_moves_only_its_own_clients() {
    let all = candidates("uuuuuuuu");
    let before = by_key(&all, KEYS);
    for removed in 0..all.len() {
        let own = before.iter().filter(|at| **at == removed).count();
        assert!((1_000..1_500).contains(&own), "{own} of {KEYS} at {removed}");
        // Gone, down or full: the next best is used.
        let left: Vec<Candidate> =
            all.iter().filter(|it| it.position != removed).copied().collect();
        let mut down = all.clone();
        down[removed].is_up = false;
        let mut full = all.clone();
        full[removed].has_room = false;
        let after = by_key(&left, KEYS);
        assert_eq!(after, by_key(&down, KEYS));
        assert_eq!(after, by_key(&full, KEYS));
        let mut moved_to = [0; 8];
        for (before, after) in before.iter().zip(&after) {
            assert_ne!(*after, removed);
            if *before == removed {
                moved_to[*after] += 1;
            } else {
                assert_eq!(before, after, "a client of another upstream has moved");
            }
        }
        let spread = moved_to.iter().filter(|clients| **clients > own / 14).count();
        assert_eq!(spread, 7, "its clients spread: {moved_to:?}");
    }
}

#[test]
fn weights_divide_the_keys_in_proportion() {
    let mut all = candidates("uuu");
    all[0].weight = 2;
    let mut clients = [0; 3];
    by_key(&all, KEYS).into_iter().for_each(|at| clients[at] += 1);
    assert!((4_800..5_200).contains(&clients[0]), "{clients:?}");
    assert!((2_300..2_700).contains(&clients[1]), "{clients:?}");
}

#[test]
fn the_order_of_the_list_does_not_matter_to_a_hash() {
    let mut all = candidates("uuuu");
    let before = by_key(&all, 100);
    all.reverse();
    assert_eq!(by_key(&all, 100), before);
}

#[test]
fn hash_without_a_key_is_least() {
    let mut all = candidates("uu");
    all[0].load = 1;
    assert_eq!(chosen(all, Rules { choose: Choose::Hash, ..ANY }), Ok(1));
}
