//! The settings of the rooms service.

use clap::Args;
use serde::Serialize;
use weir::reactor::Requirement;
use weir::services::rooms::RoomSettings;

use crate::config::values::{Count, OrOff, Size, Span};

/// The settings of the rooms service.
#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Rooms (can also be set per [[route]] in the file)")]
pub(in crate::config) struct RoomOptions {
    /// Messages that a room keeps for new members; 0: none
    #[arg(long, value_name = "N", default_value_t = Count(rooms().history_max))]
    history_max: Count<usize>,

    /// Maximum size of the messages that a room keeps
    #[arg(long, value_name = "SIZE", default_value_t = Size(rooms().history_bytes_max))]
    history_bytes_max: Size,

    /// How long a room keeps a message; off: until newer ones replace it
    #[arg(long, value_name = "TIME", default_value_t = OrOff(rooms().history_ttl.map(Span)))]
    history_ttl: OrOff<Span>,

    /// Maximum rooms with members; clients that would open more are refused with 503
    #[arg(long, value_name = "N", default_value_t = Count(rooms().rooms_max))]
    rooms_max: Count<usize>,

    /// Metadata that the identity of a client must have to join a room, as in "role=member"; others are
    /// refused with 403
    #[arg(long, value_name = "KEY=VALUE", default_value_t = OrOff(rooms().join))]
    join: OrOff<Requirement>,

    /// Metadata that the identity of a member must have to send messages; others are closed with 3003
    #[arg(long, value_name = "KEY=VALUE", default_value_t = OrOff(rooms().publish))]
    publish: OrOff<Requirement>,
}

fn rooms() -> RoomSettings {
    RoomSettings::default()
}

impl From<&RoomSettings> for RoomOptions {
    fn from(settings: &RoomSettings) -> RoomOptions {
        RoomOptions {
            history_max: Count(settings.history_max),
            history_bytes_max: Size(settings.history_bytes_max),
            history_ttl: OrOff(settings.history_ttl.map(Span)),
            rooms_max: Count(settings.rooms_max),
            join: OrOff(settings.join.clone()),
            publish: OrOff(settings.publish.clone()),
        }
    }
}

impl From<RoomOptions> for RoomSettings {
    fn from(options: RoomOptions) -> RoomSettings {
        RoomSettings::default()
            .history_max(options.history_max.0)
            .history_bytes_max(options.history_bytes_max.0)
            .history_ttl(options.history_ttl.duration())
            .rooms_max(options.rooms_max.0)
            .join(options.join.0)
            .publish(options.publish.0)
    }
}
