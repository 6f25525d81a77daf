//! Formats the load client's results as a Markdown table: a row for each scenario, a column for
//! each server, the baseline first.

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use crate::scenario::Scenario;
use crate::server::Server;

/// The load client's error for a reply that differs from the message sent.
const MISMATCH: &str = "not the message sent";
/// The server with this error in all replies: it does not unmask them.
pub(crate) const FLOOR: &str = "floor";

type Results<'a> = [(&'a Scenario, Value)];

/// The table only: the medians, and the medians of the ratios to the first server.
pub(crate) fn markdown(servers: &[Server], results: &Results) -> String {
    let mut text = String::new();
    let names: Vec<&str> = servers.iter().map(|server| &*server.name).collect();
    text += &format!("| scenario | {} |\n", names.join(" | "));
    text += &format!("|---{}|\n", "|---:".repeat(names.len()));
    for (scenario, result) in results {
        let Scenario { letter, title, .. } = scenario;
        for (figure, suffix) in figures(scenario) {
            let cells: Vec<String> = servers.iter().map(|s| cell(result, figure, s)).collect();
            text += &format!("| {letter}: {title}{suffix} | {} |\n", cells.join(" | "));
        }
    }
    text
}

/// `3310`, or with its ratio `3310 (0.98)`.
fn cell(result: &Value, figure: &str, server: &Server) -> String {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let tables = list(&result["tables"]);
    let table = tables.iter().find(|table| table["figure"] == figure);
    let rows = table.map(|table| list(&table["rows"])).unwrap_or_default();
    let row = rows.iter().find(|row| row["url"] == *server.url);
    let median = |name: &str| row.and_then(|row| row[name]["median"].as_f64());
    match (median("value"), median("ratio")) {
        (Some(value), Some(ratio)) => format!("{value:.0} ({ratio:.2})"),
        (Some(value), None) => format!("{value:.0}"),
        (None, _) => "-".to_owned(),
    }
}

/// The figures of a scenario, and what to add to its title.
fn figures(scenario: &Scenario) -> &'static [(&'static str, &'static str)] {
    match scenario.is_once {
        true => &[
            ("rss_bytes_per_connection", ", RSS bytes each"),
            ("cpu_nanos_per_handshake", ", CPU ns per handshake"),
        ],
        false => &[("cpu_nanos_each", "")],
    }
}

/// A table of the ratios of `name` to each other server: the median of the rounds, and the range.
/// Empty without that server.
pub(crate) fn relative(servers: &[Server], results: &Results, name: &str) -> String {
    let Some(subject) = servers.iter().position(|server| server.name == name) else {
        return String::new();
    };
    let others: Vec<usize> = (0..servers.len()).filter(|index| *index != subject).collect();
    let names: Vec<&str> = others.iter().map(|index| &*servers[*index].name).collect();
    let mut text = format!("\n| {name} relative to | {} |\n", names.join(" | "));
    text += &format!("|---{}|\n", "|---:".repeat(names.len()));
    for (scenario, result) in results {
        for (figure, suffix) in figures(scenario) {
            let cells: Vec<String> =
                others.iter().map(|other| range(result, figure, subject, *other)).collect();
            let Scenario { letter, title, .. } = scenario;
            text += &format!("| {letter}: {title}{suffix} | {} |\n", cells.join(" | "));
        }
    }
    text
}

/// `0.91 (0.89 to 0.94)`: the ratio of two servers in the rounds that have a figure of both.
fn range(result: &Value, figure: &str, subject: usize, other: usize) -> String {
    let rounds = |server: usize| result["reports"][server].as_array().into_iter().flatten();
    let figure = |report: &Value| report["server"][figure].as_f64();
    let pairs = rounds(subject).zip(rounds(other));
    let mut ratios: Vec<f64> =
        pairs.filter_map(|(subject, other)| Some(figure(subject)? / figure(other)?)).collect();
    ratios.sort_by(f64::total_cmp);
    match ratios[..] {
        [] => "-".to_owned(),
        [ratio] => format!("{ratio:.2}"),
        [min, .., max] => format!("{:.2} ({min:.2} to {max:.2})", ratios[ratios.len() / 2]),
    }
}

/// The errors of each server and scenario, and runs that the client limited, one per line.
pub(crate) fn errors(servers: &[Server], results: &Results) -> Vec<String> {
    let mut lines = Vec::new();
    for (scenario, result) in results {
        for (index, server) in servers.iter().enumerate() {
            let rounds = result["reports"][index].as_array();
            for report in rounds.into_iter().flatten() {
                let errors = report["total"]["errors"].as_object();
                let errors = errors.into_iter().flatten();
                for (what, count) in errors.filter(|(what, _)| !is_expected(&server.name, what)) {
                    lines.push(format!("{}, {}: {count} x {what}", scenario.letter, server.name));
                }
                if let Some(why) = report["invalid"].as_str() {
                    lines.push(format!("{}, {}: INVALID: {why}", scenario.letter, server.name));
                }
                if let Some(why) = report["client"]["bottleneck"].as_str() {
                    lines.push(format!("{}, {}: {why}", scenario.letter, server.name));
                }
            }
        }
    }
    lines
}

fn is_expected(server: &str, error: &str) -> bool {
    server == FLOOR && error == MISMATCH
}

/// The machine and the date, in one line.
pub(crate) fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let models = cpuinfo.lines().filter_map(|line| line.strip_prefix("model name"));
    let model = models
        .clone()
        .next()
        .map_or("unknown CPU", |text| text.trim_start_matches([' ', '\t', ':']));
    let kernel = read("/proc/sys/kernel/osrelease");
    let mut text = String::new();
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let day = now.split('T').next().unwrap_or_default();
    let _ = write!(text, "{day}, {} x {model}, Linux {}", models.count(), kernel.trim());
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenario::SCENARIOS;

    fn servers() -> Vec<Server> {
        let also = |text: &str| Server::from(&text.parse::<crate::server::Also>().unwrap());
        vec![also("weir=ws://a/=1"), also("floor=ws://b/=2"), also("gone=ws://c/=3")]
    }

    fn result() -> Value {
        let spread = |median: f64| json!({ "min": 0.0, "median": median, "max": 9e9 });
        json!({
            "tables": [
                { "figure": "rate", "rows": [{ "url": "ws://a/", "value": spread(1.0) }] },
                { "figure": "cpu_nanos_each", "rows": [
                    { "url": "ws://a/", "value": spread(3310.4), "ratio": null },
                    { "url": "ws://b/", "value": spread(3200.0), "ratio": spread(0.967) },
                ] },
            ],
            "reports": [
                [{ "total": { "errors": {} }, "client": { "bottleneck": null } }],
                [{ "total": { "errors": { MISMATCH: 5 } }, "client": { "bottleneck": null } }],
                [
                    { "total": { "errors": { "unanswered": 2 } }, "client": { "bottleneck": "slow" } },
                    { "total": { "errors": {}, "rate": null }, "invalid": "it closed" },
                ],
            ],
        })
    }

    #[test]
    fn the_table_has_a_row_per_scenario_and_a_column_per_server() {
        let table = markdown(&servers(), &[(&SCENARIOS[1], result())]);
        assert_eq!(
            table,
            "| scenario | weir | floor | gone |\n|---|---:|---:|---:|\n\
             | A: 20 B x 200, depth 1 | 3310 | 3200 (0.97) | - |\n"
        );
        let table = markdown(&servers(), &[(&SCENARIOS[0], result())]);
        assert_eq!(table.lines().count(), 4, "memory and handshakes: {table}");
    }

    #[test]
    fn ratios_to_other_servers_are_those_of_single_rounds() {
        let report = |nanos: Value| json!({ "server": { "cpu_nanos_each": nanos } });
        let result = json!({ "reports": [
            [report(json!(100.0)), report(json!(200.0)), report(json!(300.0))],
            [report(json!(50.0)), report(json!(200.0)), report(json!(100.0))],
            [report(json!(400.0)), report(Value::Null), report(json!(100.0))],
        ]});
        let results = [(&SCENARIOS[1], result)];
        assert_eq!(
            relative(&servers(), &results, "weir"),
            "\n| weir relative to | floor | gone |\n|---|---:|---:|\n\
             | A: 20 B x 200, depth 1 | 2.00 (1.00 to 3.00) | 3.00 (0.25 to 3.00) |\n"
        );
        assert_eq!(relative(&servers(), &results, "nginx"), "");
    }

    #[test]
    fn errors_are_listed_except_the_floors_expected_one() {
        let errors = errors(&servers(), &[(&SCENARIOS[1], result())]);
        assert_eq!(
            errors,
            ["A, gone: 2 x unanswered", "A, gone: slow", "A, gone: INVALID: it closed"]
        );
    }
}
