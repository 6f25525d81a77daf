//! The routes: the service at each path, and its limits.
//!
//! Defines the syntax of paths and validates a `[[route]]`. The router matches requests.

use std::collections::HashSet;

use clap::{Args, ValueEnum};
use serde::Serialize;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::services::rooms::RoomSettings;

use super::error::{ConfigError, PathError, RouteError};
use super::keys::{Given, Keys, Layer, place_of, read};
use super::options::{RoomOptions, RouteOptions};
use super::place::Place;

/// The path parameter that names the room.
const ROOM_NAME: &str = "{name}";

/// One route, ready to serve.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RouteConfig {
    /// Starts with `/`. A segment may be a parameter `{name}`; the last one may be `*` for any
    /// rest.
    pub(crate) path: String,
    pub(crate) service: Service,
    /// Whether a plain `GET` of the path returns the demo page.
    pub(crate) page: bool,
    pub(crate) settings: RouteSettings,
}

/// The service of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Service {
    /// Returns each message to its sender.
    Echo,
    /// Sends each message to all members of the room that the path names.
    Rooms(RoomSettings),
}

/// The keys of a `[[route]]` besides its limits.
#[derive(Debug, Args)]
pub(super) struct RouteTable {
    #[arg(long, required = true)]
    path: String,
    #[arg(long, value_enum, required = true)]
    service: ServiceKind,
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set)]
    page: bool,
}

/// The names of [`Service`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ServiceKind {
    Echo,
    Rooms,
}

impl Service {
    pub(super) fn kind(&self) -> ServiceKind {
        match self {
            Service::Echo => ServiceKind::Echo,
            Service::Rooms(_) => ServiceKind::Rooms,
        }
    }
}

/// The routes without a `[[route]]` in the file: echo with its demo page, and rooms.
pub(super) fn built_in() -> Vec<(Place, Layer)> {
    let route = |pairs: &[(&str, &str)]| {
        let entry = |&(key, value): &(&str, &str)| {
            (key.to_owned(), Given { place: Place::BuiltIn, values: vec![value.to_owned()] })
        };
        (Place::BuiltIn, pairs.iter().map(entry).collect())
    };
    vec![
        route(&[("path", "/"), ("service", "echo"), ("page", "true")]),
        route(&[("path", "/rooms/{name}"), ("service", "rooms")]),
    ]
}

/// Reads `tables`, each on top of `defaults`, and checks them against each other, the server's
/// `settings` and the paths `taken` by networks.
pub(super) fn routes(
    tables: Vec<(Place, Layer)>,
    defaults: &Layer,
    settings: &Settings,
    taken: impl Iterator<Item = String>,
) -> Result<Vec<RouteConfig>, ConfigError> {
    let mut seen: HashSet<String> = taken.collect();
    let mut routes = Vec::with_capacity(tables.len());
    for (place, table) in tables {
        let route = route(&place, table.clone(), defaults)?;
        let refused = |error: RouteError| {
            let place =
                place_of(&error.contradiction(), &[&table, defaults]).unwrap_or(place.clone());
            Err(ConfigError::Route { place, error })
        };
        if let Err(error) = check(&route, settings) {
            return refused(error);
        }
        if !seen.insert(pattern(&route.path)) {
            return refused(RouteError::Twice(route.path));
        }
        routes.push(route);
    }
    Ok(routes)
}

fn route(place: &Place, table: Layer, defaults: &Layer) -> Result<RouteConfig, ConfigError> {
    let refused = |error| ConfigError::Route { place: place.clone(), error };
    for key in ["path", "service"] {
        if !table.contains_key(key) {
            return Err(refused(RouteError::Missing(key)));
        }
    }
    let given: RouteTable = read(&table)?;
    if given.service != ServiceKind::Rooms {
        let of_rooms = Keys::of::<RoomOptions>();
        if let Some(key) = of_rooms.names().find(|&key| table.contains_key(key)) {
            return Err(refused(RouteError::OnlyRooms(key.to_owned())));
        }
    }
    let mut layer = defaults.clone();
    layer.extend(table);
    Ok(RouteConfig {
        path: given.path,
        page: given.page,
        settings: read::<RouteOptions>(&layer)?.into(),
        service: match given.service {
            ServiceKind::Echo => Service::Echo,
            ServiceKind::Rooms => Service::Rooms(read::<RoomOptions>(&layer)?.into()),
        },
    })
}

fn check(route: &RouteConfig, settings: &Settings) -> Result<(), RouteError> {
    check_path(&route.path).map_err(|why| RouteError::Path(route.path.clone(), why))?;
    if route.service.kind() == ServiceKind::Rooms && !route.path.split('/').any(|s| s == ROOM_NAME)
    {
        return Err(RouteError::Path(route.path.clone(), PathError::NoRoomName));
    }
    if route.page && route.path.contains(['{', '*']) {
        return Err(RouteError::Page(route.path.clone()));
    }
    if let Err(error) = route.settings.check() {
        return Err(RouteError::Settings(route.path.clone(), error));
    }
    let (hard, all) = (route.settings.outbox_hard, settings.buffered_bytes_max);
    if hard > all {
        return Err(RouteError::AboveBuffered { path: route.path.clone(), hard, all });
    }
    let soft = route.settings.outbox_soft;
    match &route.service {
        Service::Rooms(rooms) if rooms.history_bytes_max > soft => {
            let history = rooms.history_bytes_max;
            Err(RouteError::HistoryAboveSoft { path: route.path.clone(), history, soft })
        }
        _ => Ok(()),
    }
}

fn check_path(path: &str) -> Result<(), PathError> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(PathError::NoSlash);
    };
    if rest.is_empty() {
        return Ok(());
    }
    let mut names = HashSet::new();
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let parameter = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        match (segment, parameter) {
            ("", _) => return Err(PathError::EmptySegment),
            ("*", _) if segments.peek().is_none() => {}
            (_, Some(name)) if !is_name(name) => return Err(PathError::BadName),
            (_, Some(name)) if !names.insert(name) => return Err(PathError::NameTwice),
            (_, Some(_)) => {}
            (literal, None) if literal.contains(is_special) => return Err(PathError::BadSegment),
            _ => {}
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Characters that no literal segment contains: our own notation, the end of a path (RFC 3986,
/// 3.3), and characters that clients escape.
fn is_special(c: char) -> bool {
    matches!(c, '{' | '}' | '*' | '?' | '#' | '%') || !c.is_ascii_graphic()
}

/// The path without the names of its parameters. Equal patterns match the same requests.
fn pattern(path: &str) -> String {
    let segment = |segment: &str| {
        if segment.starts_with('{') { "{}".to_owned() } else { segment.to_owned() }
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_paths_are_rejected() {
        for path in ["/", "/a", "/a/{b}/c", "/{a}/{b}", "/a/*", "/*", "/.well-known/x~y"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        for (path, error) in [
            ("", PathError::NoSlash),
            ("a", PathError::NoSlash),
            ("//", PathError::EmptySegment),
            ("/a/", PathError::EmptySegment),
            ("/{}", PathError::BadName),
            ("/{a b}", PathError::BadName),
            ("/{a}/{a}", PathError::NameTwice),
            ("/*/a", PathError::BadSegment),
            ("/a{b}", PathError::BadSegment),
            ("/a*", PathError::BadSegment),
            ("/a?b", PathError::BadSegment),
            ("/a b", PathError::BadSegment),
            ("/{a", PathError::BadSegment),
        ] {
            assert_eq!(check_path(path), Err(error), "{path}");
        }
    }

    #[test]
    fn patterns_ignore_parameter_names() {
        assert_eq!(pattern("/a/{b}/*"), "/a/{}/*");
        assert_eq!(pattern("/"), "/");
    }
}
