//! Prints the ratios of the last measurement; the library's documentation explains how to measure.

use std::env;
use std::path::PathBuf;

use weir_benches::table::Table;

fn main() -> std::io::Result<()> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
    println!("{}", Table::read(&target.join("criterion"))?.markdown());
    Ok(())
}
