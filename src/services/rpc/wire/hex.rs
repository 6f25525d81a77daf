//! Ethereum's notation of numbers and bytes: `0x` and hexadecimal digits.
//!
//! A *quantity* is a number without leading zeros, *data* are whole bytes. The length of input is
//! checked before it is decoded.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

/// The text is not a quantity, or not data of the expected length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HexError;

impl fmt::Display for HexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed hexadecimal value")
    }
}

impl std::error::Error for HexError {}

/// `N` bytes, written as data.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes<const N: usize>(pub [u8; N]);

/// The address of an account or a contract.
pub type Address = Bytes<20>;
/// A hash, or a topic of a log.
pub type Word = Bytes<32>;

impl<const N: usize> Bytes<N> {
    /// Reads data of exactly `N` bytes.
    ///
    /// # Errors
    /// The text is not data, or has another length.
    pub fn parse(text: &str) -> Result<Bytes<N>, HexError> {
        let digits = text.strip_prefix("0x").ok_or(HexError)?;
        let mut bytes = [0; N];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| HexError)?;
        Ok(Bytes(bytes))
    }
}

impl<const N: usize> fmt::Display for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for Bytes<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Bytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes<N>, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Bytes::parse(&text).map_err(|_| {
            D::Error::custom(format_args!("expected 0x and {} hexadecimal digits", 2 * N))
        })
    }
}

/// A number, written as a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantity(pub u64);

impl Quantity {
    /// Reads a quantity. Leading zeros are accepted, as other nodes do.
    ///
    /// # Errors
    /// The text is not a quantity, or needs more than 64 bits.
    pub fn parse(text: &str) -> Result<Quantity, HexError> {
        let digits = text.strip_prefix("0x").ok_or(HexError)?;
        // from_str_radix accepts a sign.
        let is_plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let value = is_plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten();
        value.map(Quantity).ok_or(HexError)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Quantity::parse(&text).map_err(|_| D::Error::custom("expected a quantity: 0x and digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_and_written() {
        for (text, value) in [("0x0", 0), ("0x849", 0x849), ("0xffffffffffffffff", u64::MAX)] {
            assert_eq!(Quantity::parse(text), Ok(Quantity(value)));
            assert_eq!(Quantity(value).to_string(), text);
        }
        assert_eq!(Quantity::parse("0x01"), Ok(Quantity(1)));
        for text in ["", "1", "0x", "0x+1", "0x1g", "0x10000000000000000", "0X1"] {
            assert_eq!(Quantity::parse(text), Err(HexError), "{text}");
        }
    }

    #[test]
    fn data_of_another_length_is_rejected() {
        let address = format!("0x{}", "aB".repeat(20));
        assert_eq!(Address::parse(&address), Ok(Bytes([0xAB; 20])));
        assert_eq!(Bytes([0xAB; 20]).to_string(), address.to_lowercase());
        for text in ["0x", &address[2..], &address[..41], &format!("{address}00")] {
            assert_eq!(Address::parse(text), Err(HexError), "{text}");
        }
        assert_eq!(
            serde_json::to_string(&Word::parse(&format!("0x{:064x}", 7)).unwrap()).unwrap().len(),
            68
        );
    }
}
