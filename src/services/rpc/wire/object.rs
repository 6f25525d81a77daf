//! Structs that are read from a JSON object of a peer: [`Object`] rejects an array in its place.
//!
//! serde's derived `Deserialize` also reads a struct from an array, its members in the order of
//! their declaration. JSON-RPC has no such form: `[]` would be a filter that matches every log.
//! Each struct that a client or an upstream sends is read through this module.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A struct, read from a JSON object only.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

/// Reads a struct from a text that must be a JSON object.
///
/// # Errors
/// The text is not JSON, not an object, or an object with other members.
pub(crate) fn from_str<'a, T: Deserialize<'a>>(text: &'a str) -> serde_json::Result<T> {
    serde_json::from_str(text).map(|Object(value)| value)
}

/// Reads a member that is present, `null` or not: `null` as an id or a result is a value.
pub(crate) fn present<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// Visits a map; every other type is an error.
struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        text: &'a RawValue,
        #[serde(default)]
        inner: Option<Object<Inner>>,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(default)]
    struct Inner {
        number: u64,
    }

    #[test]
    fn objects_are_read_with_borrowed_members() {
        let outer: Outer<'_> = from_str(r#"{"text":[1, 2],"inner":{"number":7}}"#).unwrap();
        assert_eq!(outer.text.get(), "[1, 2]");
        assert_eq!(outer.inner.unwrap().0.number, 7);
        assert!(from_str::<Outer<'_>>(r#"{"text":null,"inner":null}"#).unwrap().inner.is_none());
    }

    #[test]
    fn arrays_in_the_place_of_objects_are_rejected() {
        for text in ["[]", "[1]", r#"[1,{"number":7}]"#, r#"{"text":1,"inner":[]}"#, "null", "7"] {
            assert!(from_str::<Outer<'_>>(text).is_err(), "{text}");
        }
        // serde alone accepts an array.
        assert!(serde_json::from_str::<Inner>("[]").is_ok());
    }
}
