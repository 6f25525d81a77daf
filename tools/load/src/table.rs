//! Prints a report as a table.

use std::fmt::{self, Write as _};

use crate::latency::Latency;
use crate::quantity::{Bytes, Count, Nanos};
use crate::report::{ClientReport, Report, Section, ServerReport};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = if self.interrupted { ", interrupted" } else { "" };
        writeln!(f, "{} {}  {:.2} s{cut}", self.command, self.url, self.seconds)?;
        for section in std::iter::once(&self.total).chain(&self.parts) {
            if !self.parts.is_empty() {
                writeln!(f, " {}", section.name)?;
            }
            write_section(f, section)?;
        }
        if let Some(server) = &self.server {
            write_server(f, server, self.total.unit)?;
        }
        write_client(f, &self.client, self.total.unit)?;
        match &self.invalid {
            Some(why) => line(f, "INVALID", why),
            None => Ok(()),
        }
    }
}

fn line(f: &mut fmt::Formatter<'_>, title: &str, text: &str) -> fmt::Result {
    writeln!(f, "  {title:<12} {text}")
}

fn write_section(f: &mut fmt::Formatter<'_>, section: &Section) -> fmt::Result {
    let census = &section.connections;
    let mut text = format!(
        "{} of {} opened, {} failed, {} lost",
        Count(census.opened),
        Count(census.wanted),
        Count(census.failed),
        Count(census.lost)
    );
    if let Some(connect) = &section.connect {
        let (p50, p99) = (Nanos(connect.p50 as f64), Nanos(connect.p99 as f64));
        write!(text, "; handshake p50 {p50}, p99 {p99}, max {}", Nanos(connect.max as f64))?;
    }
    line(f, "connections", &text)?;
    let messages = &section.messages;
    line(
        f,
        "messages",
        &format!(
            "{} sent ({}), {} received ({})",
            Count(messages.sent),
            Bytes(messages.bytes_sent as f64),
            Count(messages.received),
            Bytes(messages.bytes_received as f64)
        ),
    )?;
    if let Some(rate) = section.rate {
        let text =
            format!("{} {}/s, {} in all", Count(rate as u64), section.units, Count(section.count));
        line(f, "rate", &text)?;
    }
    if let Some(second) = &section.second
        && let Some(rate) = second.rate
    {
        let mut text =
            format!("{} {}/s, {} in all", Count(rate as u64), second.units, Count(second.count));
        if let Some(cpu) = second.cpu_nanos_each {
            write!(text, "; server CPU {cpu:.0} ns per {}", second.unit)?;
        }
        line(f, "", &text)?;
    }
    if let Some(latency) = &section.latency {
        line(f, "latency", &latency_text(latency))?;
    }
    for (name, latency) in &section.details {
        line(f, &name.replace('_', " "), &latency_text(latency))?;
    }
    for note in &section.notes {
        line(f, "", note)?;
    }
    match section.errors.total() {
        0 => line(f, "errors", "none"),
        total => {
            line(f, "errors", &Count(total).to_string())?;
            section
                .errors
                .iter()
                .try_for_each(|(what, count)| line(f, "", &format!("{} {what}", Count(count))))
        }
    }
}

fn latency_text(latency: &Latency) -> String {
    let at = |nanos: u64| Nanos(nanos as f64);
    format!(
        "p50 {}, p90 {}, p99 {}, p99.9 {}, max {}, mean {}",
        at(latency.p50),
        at(latency.p90),
        at(latency.p99),
        at(latency.p999),
        at(latency.max),
        Nanos(latency.mean)
    )
}

fn write_server(f: &mut fmt::Formatter<'_>, server: &ServerReport, unit: &str) -> fmt::Result {
    let mut text = format!("pid {}", server.pid);
    if let (Some(all), Some(user), Some(system)) =
        (server.cpu_nanos_each, server.user_nanos_each, server.system_nanos_each)
    {
        write!(text, ", CPU {all:.0} ns per {unit} (user {user:.0}, system {system:.0})")?;
    }
    write!(text, ", {:.1} % of a core", 100.0 * server.cpu_share)?;
    line(f, "server", &text)?;
    let mut text = format!("RSS {}", Bytes(server.rss_bytes as f64));
    if let Some(each) = server.rss_bytes_per_connection {
        write!(text, " ({each:.0} B per connection)")?;
    }
    if let Some(each) = server.cpu_nanos_per_handshake {
        write!(text, ", CPU {} per handshake", Nanos(each))?;
    }
    let switches = server.context_switches_per_second;
    write!(text, ", {} descriptors, {switches:.0} context switches/s", server.descriptors)?;
    line(f, "", &text)
}

fn write_client(f: &mut fmt::Formatter<'_>, client: &ClientReport, unit: &str) -> fmt::Result {
    let mut text = String::new();
    if let Some(each) = client.cpu_nanos_each {
        write!(text, "CPU {each:.0} ns per {unit}, ")?;
    }
    write!(text, "{:.1} % of a core", 100.0 * client.cpu_share)?;
    line(f, "client", &text)?;
    match &client.bottleneck {
        Some(why) => line(f, "BOTTLENECK", &format!("{why}: the results measure the client")),
        None => Ok(()),
    }
}
