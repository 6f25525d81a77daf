//! Every setting that has a flag, once: its key, its flag, its type, its default and its help.
//!
//! A field's name is the key of the file; the flag and the variable follow from it (`message_max`,
//! `--message-max`, `WEIR_MESSAGE_MAX`). Defaults come from the plain settings structs, which these
//! options turn into and can be made from again. Nothing is checked here but the form of one value.

mod room;
mod route;
mod server;

use clap::Args;

pub(super) use self::room::RoomOptions;
pub(super) use self::route::RouteOptions;
pub(crate) use self::server::ADMIN_SITE;
pub(super) use self::server::ServerOptions;

/// All settings that have a flag.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(super) server: ServerOptions,
    #[command(flatten)]
    pub(super) route: RouteOptions,
    #[command(flatten)]
    pub(super) room: RoomOptions,
}
