//! Every setting that has a flag: its key, flag, type, default and help.
//!
//! A field's name is the key in the file; flag and variable follow from it (`message_max`,
//! `--message-max`, `WEIR_MESSAGE_MAX`). A key has no unit, because its value has one ("1 MiB");
//! the field of the settings has it in its name (`message_bytes_max`). Defaults come from the plain
//! settings structs. These options convert to and from those structs. Only the syntax of single
//! values is checked here.

mod auth;
mod heartbeat;
mod hook;
mod jwt;
mod pool;
mod proxy;
mod relay;
mod retention;
mod room;
mod route;
mod server;

use clap::Args;

pub(super) use self::auth::{AuthKind, AuthTable, GateOptions};
pub(super) use self::heartbeat::HeartbeatOptions;
pub(super) use self::hook::HookOptions;
pub(super) use self::jwt::{GateFiles, JwtOptions};
pub(super) use self::pool::{PoolOptions, PoolTable};
pub(super) use self::proxy::ProxyOptions;
pub(super) use self::relay::{RelayOptions, RelayTable};
pub(super) use self::room::RoomOptions;
pub(super) use self::route::RouteOptions;
pub(crate) use self::server::ADMIN_GROUP;
pub(super) use self::server::{ServerConfig, ServerOptions};

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
