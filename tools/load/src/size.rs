//! Message sizes: one size, a range, or a mix of both.
//!
//! `20`, `4KiB`, `16..1KiB` (both ends included) or `20:0.8,1KiB..64KiB:0.2`. Sizes are drawn from
//! the run's seeded generator: the same seed gives the same sizes.

use std::ops::RangeInclusive;
use std::str::FromStr;

use bytesize::ByteSize;
use fastrand::Rng;

use crate::weighted;

/// Maximum size of a sent message.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// One size or a range of them.
#[derive(Debug, Clone, PartialEq)]
struct Span(RangeInclusive<usize>);

/// The sizes of messages.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sizes(Vec<(Span, f64)>);

impl Sizes {
    /// The size of the next message.
    pub(crate) fn draw(&self, rng: &mut Rng) -> usize {
        if let [(Span(only), _)] = &self.0[..] {
            return pick(only, rng);
        }
        let mut at = rng.f64();
        for (Span(span), share) in &self.0 {
            if at < *share {
                return pick(span, rng);
            }
            at -= share;
        }
        self.max()
    }

    pub(crate) fn max(&self) -> usize {
        self.0.iter().map(|(Span(span), _)| *span.end()).max().unwrap_or(0)
    }

    pub(crate) fn min(&self) -> usize {
        self.0.iter().map(|(Span(span), _)| *span.start()).min().unwrap_or(0)
    }
}

#[inline]
fn pick(span: &RangeInclusive<usize>, rng: &mut Rng) -> usize {
    if span.start() == span.end() { *span.end() } else { rng.usize(span.clone()) }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        weighted::parse(text).map(Sizes)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let (least, most) = (bytes(least)?, bytes(most)?);
        if least > most {
            return Err("the range is empty".to_owned());
        }
        Ok(Span(least..=most))
    }
}

fn bytes(text: &str) -> Result<usize, String> {
    let size: ByteSize =
        text.trim().parse().map_err(|_| r#"expected a size such as 20 or "4 KiB""#.to_owned())?;
    match usize::try_from(size.as_u64()) {
        Ok(bytes) if bytes <= MESSAGE_BYTES_MAX => Ok(bytes),
        _ => Err(format!("larger than {}", ByteSize(MESSAGE_BYTES_MAX as u64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &str) -> Sizes {
        text.parse().unwrap()
    }

    #[test]
    fn a_single_size_is_constant() {
        let mut rng = Rng::with_seed(1);
        assert_eq!(sizes("20").draw(&mut rng), 20);
        assert_eq!(sizes("4KiB").draw(&mut rng), 4096);
        assert_eq!(sizes("0").max(), 0);
    }

    #[test]
    fn a_range_includes_both_ends() {
        let mut rng = Rng::with_seed(1);
        let drawn: Vec<_> = (0..200).map(|_| sizes("3..5").draw(&mut rng)).collect();
        assert!((3..=5).all(|size| drawn.contains(&size)));
        assert!(drawn.iter().all(|size| (3..=5).contains(size)));
    }

    #[test]
    fn a_mix_keeps_its_shares() {
        let mix = sizes("20:0.8,1KiB..2KiB:0.2");
        assert_eq!((mix.min(), mix.max()), (20, 2048));
        let mut rng = Rng::with_seed(7);
        let small = (0..10_000).filter(|_| mix.draw(&mut rng) == 20).count();
        assert!((7_800..8_200).contains(&small), "{small}");
    }

    #[test]
    fn the_same_seed_gives_the_same_sizes() {
        let draw = || {
            let mut rng = Rng::with_seed(3);
            (0..50).map(|_| sizes("1..1000").draw(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
    }

    #[test]
    fn malformed_sizes_are_rejected() {
        for text in ["", "x", "-1", "5..3", "1..", "1 TiB", "20:x"] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
    }
}
