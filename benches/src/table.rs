//! The ratios of criterion's last measurement, as a Markdown table.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

/// Medians in nanoseconds by group and case, then by contender.
#[derive(Debug, Default)]
pub struct Table(BTreeMap<(String, u64, String), BTreeMap<String, f64>>);

/// The columns after weir's.
const PEERS: [&str; 3] = ["bare", "tungstenite", "fastwebsockets"];

impl Table {
    /// Reads all results in criterion's directory.
    ///
    /// # Errors
    /// There are no results, or they cannot be read.
    pub fn read(directory: &Path) -> io::Result<Table> {
        let mut table = Table::default();
        table.read_below(directory)?;
        Ok(table)
    }

    fn read_below(&mut self, directory: &Path) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.ends_with("new") {
                self.read_one(&path)?;
            } else if path.is_dir() {
                self.read_below(&path)?;
            }
        }
        Ok(())
    }

    fn read_one(&mut self, directory: &Path) -> io::Result<()> {
        let parse = |file: &str| -> io::Result<Value> {
            Ok(serde_json::from_slice(&fs::read(directory.join(file))?)?)
        };
        let (name, estimates) = (parse("benchmark.json")?, parse("estimates.json")?);
        let text = |key: &str| name[key].as_str().unwrap_or_default().to_owned();
        let Some(median) = estimates["median"]["point_estimate"].as_f64() else {
            return Ok(());
        };
        let case = text("value_str");
        let digits: String = case.chars().take_while(char::is_ascii_digit).collect();
        let key = (text("group_id"), digits.parse().unwrap_or(0), case);
        self.0.entry(key).or_default().insert(text("function_id"), median);
        Ok(())
    }

    /// One row per case: weir's time, and its ratio to each peer's time.
    pub fn markdown(&self) -> String {
        let mut lines = vec![
            format!("| case | weir, ns | weir / {} |", PEERS.join(" | weir / ")),
            format!("|---|---:|{}", "---:|".repeat(PEERS.len())),
        ];
        for ((group, _, case), medians) in &self.0 {
            let Some(weir) = medians.get("weir") else {
                continue;
            };
            let ratio =
                |peer| medians.get(peer).map_or("".into(), |it| format!("{:.2}", weir / it));
            let ratios = PEERS.map(ratio).join(" | ");
            lines.push(format!("| {group} {case} | {weir:.1} | {ratios} |"));
        }
        lines.join("\n")
    }
}
