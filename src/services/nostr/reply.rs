//! Messages to clients: their forms, without white space.

use std::fmt::Display;
use std::io::Write;

use super::canonical::push_text;
use super::event::{Event, push_hex};
use super::message::{BadMessage, SubscriptionId};
use super::parse::HexId;

/// What an EOSE says about the scan (NIP-67).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// Nothing: the hints are off, or nothing is known.
    None,
    /// All matching events were sent.
    Finish,
    /// The relay's own limit ended the scan, and more events match.
    More,
}

/// Appends the part of `EVENT` before the event: `["EVENT","sub",`. The event and `]` follow.
pub(super) fn write_event_head(out: &mut Vec<u8>, sub: &SubscriptionId) {
    out.extend_from_slice(b"[\"EVENT\",");
    out.extend_from_slice(sub.json().as_bytes());
    out.push(b',');
}

/// Appends `["EVENT",sub,event]`.
pub(super) fn write_event(out: &mut Vec<u8>, sub: &SubscriptionId, event: &Event) {
    write_event_head(out, sub);
    event.write_json(out);
    out.push(b']');
}

/// Appends `["OK",id,accepted,text]`; the text is empty, or a [`Refusal`](super::refusal::Refusal).
pub(super) fn write_ok(
    out: &mut Vec<u8>,
    id: impl Into<HexId>,
    accepted: bool,
    text: impl Display,
) {
    out.extend_from_slice(b"[\"OK\",\"");
    out.extend_from_slice(id.into().as_bytes());
    out.extend_from_slice(if accepted { b"\",true," } else { b"\",false," });
    push_display(out, text);
    out.push(b']');
}

/// Appends `["EOSE",sub]`, with the hint as a third element.
pub(super) fn write_eose(out: &mut Vec<u8>, sub: &SubscriptionId, hint: Hint) {
    out.extend_from_slice(b"[\"EOSE\",");
    out.extend_from_slice(sub.json().as_bytes());
    out.extend_from_slice(match hint {
        Hint::None => b"]",
        Hint::Finish => b",[\"finish\"]]",
        Hint::More => b",[\"more\"]]",
    });
}

/// Appends `["CLOSED",sub,text]`.
pub(super) fn write_closed(out: &mut Vec<u8>, sub: &SubscriptionId, text: impl Display) {
    write_with_sub(out, "CLOSED", sub, text);
}

/// Appends `["NEG-ERR",sub,text]`.
pub(super) fn write_neg_err(out: &mut Vec<u8>, sub: &SubscriptionId, text: impl Display) {
    write_with_sub(out, "NEG-ERR", sub, text);
}

fn write_with_sub(out: &mut Vec<u8>, verb: &str, sub: &SubscriptionId, text: impl Display) {
    // Writing to a Vec does not fail.
    let _ = write!(out, "[\"{verb}\",{},", sub.json());
    push_display(out, text);
    out.push(b']');
}

/// Appends `["NOTICE",text]`.
pub(super) fn write_notice(out: &mut Vec<u8>, text: impl Display) {
    out.extend_from_slice(b"[\"NOTICE\",");
    push_display(out, text);
    out.push(b']');
}

/// Appends `["AUTH",challenge]`.
pub(super) fn write_auth(out: &mut Vec<u8>, challenge: &str) {
    out.extend_from_slice(b"[\"AUTH\",");
    push_display(out, challenge);
    out.push(b']');
}

/// Appends `["COUNT",sub,{..}]` (NIP-45), with the registers of a HyperLogLog if there are any.
pub(super) fn write_count(
    out: &mut Vec<u8>,
    sub: &SubscriptionId,
    count: u64,
    approximate: bool,
    registers: Option<&[u8; 256]>,
) {
    let _ = write!(out, "[\"COUNT\",{},{{\"count\":{count}", sub.json());
    if approximate {
        out.extend_from_slice(b",\"approximate\":true");
    }
    if let Some(registers) = registers {
        out.extend_from_slice(b",\"hll\":\"");
        push_hex(out, registers);
        out.push(b'"');
    }
    out.extend_from_slice(b"}]");
}

/// Appends `["NEG-MSG",sub,hex]` (NIP-77).
pub(super) fn write_neg_msg(out: &mut Vec<u8>, sub: &SubscriptionId, message: &[u8]) {
    let _ = write!(out, "[\"NEG-MSG\",{},\"", sub.json());
    push_hex(out, message);
    out.extend_from_slice(b"\"]");
}

impl BadMessage {
    /// Appends the answer.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            BadMessage::Notice(refusal) => write_notice(out, refusal),
            BadMessage::Ok(id, refusal) => write_ok(out, *id, false, refusal),
            BadMessage::Closed(sub, refusal) => write_closed(out, sub, refusal),
            BadMessage::NegErr(sub, refusal) => write_neg_err(out, sub, refusal),
        }
    }
}

fn push_display(out: &mut Vec<u8>, text: impl Display) {
    let mut json = String::new();
    push_text(&mut json, &text.to_string());
    out.extend_from_slice(json.as_bytes());
}

#[cfg(test)]
mod tests;
