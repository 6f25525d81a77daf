//! Parses a filter from JSON.

use super::canonical::unescape;
use super::filter::{Filter, FilterLimits, TagFilter, TagValue, TagValueRef, UnknownMembers};
use super::json::{JsonError, Kind, Number, Reader};
use super::refusal::{Prefix, Refusal};
use super::tags::hex_32;

/// Characters of `search` (NIP-50): each word is looked for in each content.
const SEARCH_MAX_CHARS: usize = 256;

/// Why a filter is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// The text is not JSON: the whole message is malformed.
    Json(JsonError),
    /// `invalid:` or `unsupported:`.
    Refused(Refusal),
}

impl From<JsonError> for FilterError {
    fn from(error: JsonError) -> FilterError {
        FilterError::Json(error)
    }
}

impl From<FilterError> for Refusal {
    fn from(error: FilterError) -> Refusal {
        match error {
            FilterError::Json(error) => Prefix::Invalid.text(error.to_string()),
            FilterError::Refused(refusal) => refusal,
        }
    }
}

impl Filter {
    /// Parses a text that is one filter.
    pub fn parse(json: &str, limits: &FilterLimits) -> Result<Filter, Refusal> {
        let mut reader = Reader::new(json);
        let filter = read_filter(&mut reader, &mut Values::new(limits), limits)?;
        reader.end().map_err(FilterError::Json)?;
        Ok(filter)
    }
}

/// Values that the filters of a REQ may still have.
pub(super) struct Values {
    left: usize,
    max: usize,
}

impl Values {
    pub(super) fn new(limits: &FilterLimits) -> Values {
        Values { left: limits.values_max, max: limits.values_max }
    }

    fn take(&mut self) -> Result<(), FilterError> {
        if self.left == 0 {
            return Err(invalid(format!("more than {} values in filters", self.max)));
        }
        self.left -= 1;
        Ok(())
    }
}

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> FilterError {
    FilterError::Refused(Prefix::Invalid.text(text))
}

/// Reads one filter.
pub(super) fn read_filter(
    reader: &mut Reader<'_>,
    values: &mut Values,
    limits: &FilterLimits,
) -> Result<Filter, FilterError> {
    if reader.kind() != Kind::Object {
        return Err(invalid("a filter must be an object"));
    }
    reader.expect(b'{')?;
    let mut filter = Filter::default();
    let mut tags: Vec<TagFilter> = Vec::new();
    let mut is_first = true;
    while let Some(name) = reader.next_member(&mut is_first)? {
        match unescape(name.raw).as_bytes() {
            b"ids" => set(&mut filter.ids, keys(reader, values, "ids")?, "ids")?,
            b"authors" => set(&mut filter.authors, keys(reader, values, "authors")?, "authors")?,
            b"kinds" => set(&mut filter.kinds, kinds(reader, values)?, "kinds")?,
            b"since" => set(&mut filter.since, unsigned(reader, "since")?, "since")?,
            b"until" => set(&mut filter.until, unsigned(reader, "until")?, "until")?,
            b"limit" => {
                let limit = unsigned(reader, "limit")?;
                let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(limits.limit_max);
                set(&mut filter.limit, limit, "limit")?;
            }
            b"search" if limits.search => {
                let search = text(reader, "search")?;
                if search.chars().count() > SEARCH_MAX_CHARS {
                    let text = format!("search is longer than {SEARCH_MAX_CHARS} characters");
                    return Err(invalid(text));
                }
                set(&mut filter.search, search, "search")?;
            }
            [b'#', letter] if letter.is_ascii_alphabetic() => {
                let place = match tags.binary_search_by_key(letter, |(letter, _)| *letter) {
                    Ok(_) => return Err(twice("#<letter>")),
                    Err(place) => place,
                };
                tags.insert(place, (*letter, tag_values(reader, values, *letter)?));
            }
            _ => match limits.unknown_members {
                UnknownMembers::Ignore => reader.skip()?,
                UnknownMembers::Refuse => {
                    let text = "a filter member that this relay does not have";
                    return Err(FilterError::Refused(Prefix::Unsupported.text(text)));
                }
            },
        }
    }
    filter.tags = tags.into();
    Ok(filter)
}

fn set<T>(place: &mut Option<T>, value: T, member: &str) -> Result<(), FilterError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(twice(member)),
    }
}

fn twice(member: &str) -> FilterError {
    invalid(format!("the filter member {member} occurs twice"))
}

fn array(reader: &mut Reader<'_>, member: &str) -> Result<(), FilterError> {
    if reader.kind() != Kind::Array {
        return Err(invalid(format!("the filter member {member} must be an array")));
    }
    Ok(reader.expect(b'[')?)
}

/// A list of 64 hex digits each.
fn keys(
    reader: &mut Reader<'_>,
    values: &mut Values,
    member: &str,
) -> Result<Box<[[u8; 32]]>, FilterError> {
    let fault = || invalid(format!("{member} must be strings of 64 lower-case hex digits"));
    array(reader, member)?;
    let mut keys = Vec::new();
    let mut is_first = true;
    while reader.next_element(&mut is_first)? {
        values.take()?;
        if reader.kind() != Kind::String {
            return Err(fault());
        }
        keys.push(hex_32(&unescape(reader.string()?.raw)).ok_or_else(fault)?);
    }
    Ok(sorted(keys))
}

fn kinds(reader: &mut Reader<'_>, values: &mut Values) -> Result<Box<[u16]>, FilterError> {
    let fault = || invalid("kinds must be integers from 0 to 65535");
    array(reader, "kinds")?;
    let mut kinds = Vec::new();
    let mut is_first = true;
    while reader.next_element(&mut is_first)? {
        values.take()?;
        if reader.kind() != Kind::Number {
            return Err(fault());
        }
        match reader.number()? {
            Number::Unsigned(kind) => kinds.push(kind.try_into().map_err(|_| fault())?),
            Number::TooLarge | Number::NotUnsigned => return Err(fault()),
        }
    }
    Ok(sorted(kinds))
}

fn tag_values(
    reader: &mut Reader<'_>,
    values: &mut Values,
    letter: u8,
) -> Result<Box<[TagValue]>, FilterError> {
    let is_key = matches!(letter, b'e' | b'p');
    let fault = || match is_key {
        true => invalid("#e and #p must be strings of 64 lower-case hex digits"),
        false => invalid("#<letter> must be strings"),
    };
    array(reader, "#<letter>")?;
    let mut list = Vec::new();
    let mut is_first = true;
    while reader.next_element(&mut is_first)? {
        values.take()?;
        if reader.kind() != Kind::String {
            return Err(fault());
        }
        let text = unescape(reader.string()?.raw);
        match TagValueRef::of(&text) {
            TagValueRef::Text(_) if is_key => return Err(fault()),
            value => list.push(value.into_owned()),
        }
    }
    Ok(sorted(list))
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Box<[T]> {
    list.sort_unstable();
    list.dedup();
    list.into()
}

fn unsigned(reader: &mut Reader<'_>, member: &str) -> Result<u64, FilterError> {
    if reader.kind() == Kind::Number
        && let Number::Unsigned(number) = reader.number()?
    {
        return Ok(number);
    }
    Err(invalid(format!("{member} must be an unsigned integer below 2^64")))
}

fn text(reader: &mut Reader<'_>, member: &str) -> Result<Box<str>, FilterError> {
    if reader.kind() != Kind::String {
        return Err(invalid(format!("{member} must be a string")));
    }
    Ok(unescape(reader.string()?.raw).into())
}

#[cfg(test)]
mod tests;
