//! Tables of tests: each row has a name, and a failure names every row that failed.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls `check` for each row. A row that panics does not keep the others from running.
pub fn check_rows<R>(rows: &[R], name: impl Fn(&R) -> &str, mut check: impl FnMut(&R)) {
    let mut failed = Vec::new();
    for row in rows {
        // Unwind-safe: a failed row fails the test, whatever the others find.
        if catch_unwind(AssertUnwindSafe(|| check(row))).is_err() {
            eprintln!("failed: {}", name(row));
            failed.push(name(row));
        }
    }
    assert!(failed.is_empty(), "{} of {} rows failed: {failed:#?}", failed.len(), rows.len());
}
