use super::*;

const SECOND: u64 = 1_000_000_000;

fn at(nanos: u64) -> Time {
    Time::from_nanos(nanos)
}

/// The next number of a sequence that looks random.
fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    *random >> 33
}

/// Tokens as exact fractions: `tokens` counts nanoseconds of refill, at `nanos` per token.
struct Model {
    nanos: u64,
    burst: u64,
    tokens: u64,
    filled: u64,
}

impl Model {
    fn take(&mut self, now: u64) -> bool {
        let full = self.nanos * self.burst;
        self.tokens = full.min(self.tokens + (now - self.filled));
        self.filled = now;
        let has_one = self.tokens >= self.nanos;
        self.tokens -= if has_one { self.nanos } else { 0 };
        has_one
    }
}

#[test]
fn a_bucket_equals_an_exact_count_of_tokens() {
    // Rates whose token is a whole number of nanoseconds.
    for (per_second, nanos, burst) in [
        (1.0, SECOND, 1),
        (10.0, SECOND / 10, 3),
        (1000.0, SECOND / 1000, 50),
        (0.5, 2 * SECOND, 7),
    ] {
        let rate = Rate { per_second, burst: burst as u32 };
        let mut model = Model { nanos, burst, tokens: nanos * burst, filled: 0 };
        let mut bucket = Bucket::default();
        let (mut now, mut random) = (0, 12_345_u64);
        for step in 0..250_000 {
            now += next(&mut random) % (nanos * 2);
            let taken = bucket.take(&rate, at(now));
            assert_eq!(taken.is_ok(), model.take(now), "step {step} of {rate:?}");
            if let Err(wait) = taken {
                let wait = wait.as_nanos() as u64;
                assert_eq!(wait, nanos - model.tokens, "step {step} of {rate:?}");
            }
        }
    }
}

#[test]
fn extreme_rates_neither_overflow_nor_admit_more_than_their_burst() {
    for (per_second, burst) in [(f64::MIN_POSITIVE, 1), (1.0 / 3600.0, 3), (f64::MIN_POSITIVE, 2)] {
        let rate = Rate { per_second, burst };
        for start in [0, SECOND, u64::MAX / 8] {
            let mut bucket = Bucket::default();
            for _ in 0..burst {
                bucket.take(&rate, at(start)).unwrap();
            }
            assert!(bucket.take(&rate, at(start + SECOND)).is_err(), "{rate:?}");
        }
    }
    let fast = Rate { per_second: f64::MAX, burst: u32::MAX };
    let mut bucket = Bucket::default();
    assert!((0..1000).all(|_| bucket.take(&fast, Time::MAX).is_err()));
    assert!((0..1000).all(|_| bucket.take(&fast, at(SECOND)).is_ok()));
}

#[test]
fn many_tokens_are_taken_whole_or_not_at_all() {
    let rate = Rate { per_second: 1.0, burst: 10 };
    let mut bucket = Bucket::default();
    assert_eq!(bucket.take_many(&rate, 8, at(0)), Ok(()));
    assert_eq!(bucket.take_many(&rate, 4, at(0)), Err(Duration::from_secs(2)));
    assert_eq!(bucket.take_many(&rate, 2, at(0)), Ok(()));
    assert_eq!(bucket.take(&rate, at(0)), Err(Duration::from_secs(1)));
    // More than a full bucket would never be there: a full one suffices.
    assert_eq!(bucket.take_many(&rate, 1000, at(10 * SECOND)), Ok(()));
    assert_eq!(bucket.take(&rate, at(10 * SECOND)), Err(Duration::from_secs(1)));
}

/// A bucket from which reads take tokens, as exact fractions: `left` counts nanoseconds of refill,
/// and is negative if tokens are owed.
struct ReadModel {
    nanos: i64,
    burst: i64,
    left: i64,
    filled: u64,
}

impl ReadModel {
    fn fill(&mut self, now: u64) {
        let full = self.nanos * self.burst;
        self.left = full.min(self.left.saturating_add((now - self.filled) as i64));
        self.filled = now;
    }

    fn tokens(&self) -> usize {
        (self.left / self.nanos).max(0) as usize
    }

    /// At most one burst is owed afterwards.
    fn take(&mut self, tokens: usize) {
        let least = -self.nanos * self.burst;
        self.left = (self.left - self.nanos * tokens as i64).max(least);
    }
}

#[test]
fn reads_and_charges_equal_an_exact_count_of_tokens() {
    for (per_second, nanos, burst) in
        [(100.0, SECOND / 100, 200), (1.0, SECOND, 1), (0.5, 2 * SECOND, 7), (1e6, 1000, 300_000)]
    {
        let rate = Rate { per_second, burst: burst as u32 };
        let pace = Pace::of_messages(&rate);
        let (step_nanos, burst) = (nanos, i64::from(burst));
        let nanos = nanos as i64;
        let mut model = ReadModel { nanos, burst, left: nanos * burst, filled: 0 };
        let mut bucket = Bucket::default();
        let (mut now, mut random) = (0, 99);
        for step in 0..250_000 {
            now += next(&mut random) % (step_nanos * 4);
            model.fill(now);
            let tokens = bucket.tokens(&pace, at(now));
            assert_eq!(tokens, model.tokens(), "step {step} of {rate:?}");
            if bucket.has_plenty(&pace, at(now)) {
                assert!(tokens >= 256, "step {step} of {rate:?}");
            }
            let tenth = ((per_second / 10.0) as i64).clamp(1, burst);
            let back = (nanos * tenth - model.left).max(0) as u64;
            let resume_at = bucket.resume_at(&pace).max(at(now));
            assert_eq!(resume_at, at(now + back), "step {step} of {rate:?}");
            match next(&mut random) % 8 {
                0 => {
                    let many = (next(&mut random) % 40) as usize;
                    bucket.spend(&pace, many, at(now));
                    model.take(many);
                }
                1 => {}
                // A read may use a token more than the bucket has.
                _ => {
                    let most = (tokens + 1).min(256) as u64;
                    let used = (next(&mut random) % (most + 1)) as usize;
                    bucket.spend(&pace, used, at(now));
                    model.take(used);
                }
            }
        }
    }
}

/// Reads from buckets with plenty of tokens take them when the next read starts.
#[test]
fn tokens_taken_when_the_next_read_starts_equal_an_exact_count() {
    for (per_second, nanos, burst) in
        [(1000.0, SECOND / 1000, 600), (10.0, SECOND / 10, 256), (1e6, 1000, 300_000)]
    {
        let rate = Rate { per_second, burst: burst as u32 };
        let pace = Pace::of_messages(&rate);
        assert!(pace.allows_plenty());
        let full = nanos as i64 * burst;
        let mut model = ReadModel { nanos: nanos as i64, burst, left: full, filled: 0 };
        let mut bucket = Bucket::default();
        let (mut now, mut random, mut used, mut plenty) = (0, 7, 0, 0);
        for step in 0..250_000 {
            now += next(&mut random) % (nanos * 100);
            let has_plenty = bucket.start_read(&pace, used, at(now));
            model.fill(now);
            assert_eq!(bucket.tokens(&pace, at(now)), model.tokens(), "step {step} of {rate:?}");
            assert_eq!(has_plenty, model.tokens() >= 256, "step {step} of {rate:?}");
            used = 0;
            let wanted = (next(&mut random) % 258) as usize;
            if has_plenty {
                plenty += 1;
                used = wanted;
                model.take(used);
            }
        }
        assert!((1000..249_000).contains(&plenty), "{plenty} reads with plenty of {rate:?}");
    }
}

#[test]
fn a_bucket_with_a_small_burst_or_a_very_slow_rate_never_has_plenty() {
    for (per_second, burst) in [(1e6, 255), (1e-9, 1000), (f64::MIN_POSITIVE, u32::MAX)] {
        let pace = Pace::of_messages(&Rate { per_second, burst });
        assert!(!pace.allows_plenty(), "{pace:?}");
        assert!(!Bucket::default().has_plenty(&pace, at(SECOND)));
    }
}

#[test]
fn rates_of_bytes_are_precise_above_a_byte_per_nanosecond() {
    for per_second in [7e8, 1.5e9, 3e9] {
        let rate = Rate { per_second, burst: u32::MAX };
        let pace = Pace::of_bytes(&rate);
        let mut bucket = Bucket::default();
        let mut now = Time::ZERO;
        let mut bytes = 0;
        while now < at(10 * SECOND) {
            let read = bucket.tokens(&pace, now).min(256 * 1024);
            bucket.spend(&pace, read, now);
            bytes += read;
            now = if read == 0 { bucket.resume_at(&pace) } else { now };
        }
        let expected = per_second * now.as_nanos() as f64 / 1e9 + f64::from(u32::MAX);
        bytes += bucket.tokens(&pace, now);
        let error = (bytes as f64 / expected - 1.0).abs();
        assert!(error < 0.002, "{per_second}: {bytes} of {expected}");
    }
}

#[test]
fn an_empty_bucket_resumes_with_the_tokens_of_a_tenth_of_a_second() {
    for (per_second, burst, tenth) in
        [(100.0, 200, 10), (5.0, 5, 1), (0.1, 2, 1), (1000.0, 300, 100)]
    {
        let rate = Rate { per_second, burst };
        let pace = Pace::of_messages(&rate);
        let mut bucket = Bucket::default();
        bucket.spend(&pace, burst as usize, at(SECOND));
        assert_eq!(bucket.tokens(&pace, at(SECOND)), 0, "{rate:?}");
        assert_eq!(bucket.tokens(&pace, bucket.resume_at(&pace)), tenth, "{rate:?}");
    }
}
