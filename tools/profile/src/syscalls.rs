//! Parses the output of `strace -c`: a table of system calls.

use std::collections::BTreeMap;

/// The number of calls of each system call.
pub(crate) fn parse(table: &str) -> BTreeMap<String, u64> {
    let mut calls = BTreeMap::new();
    for line in table.lines() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        // % time, seconds, usecs/call, calls, errors if there were any, name
        let ([share, _, _, count, name] | [share, _, _, count, _, name]) = columns[..] else {
            continue;
        };
        if let (Ok(_), Ok(count), true) = (share.parse::<f64>(), count.parse(), name != "total") {
            calls.insert(name.to_owned(), count);
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_parsed_with_and_without_errors() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.001200           1      1200           sendto
 40.00    0.000800           0      1210        10 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.002000           0      2410        10 total
";
        let calls = parse(table);
        assert_eq!(
            calls.into_iter().collect::<Vec<_>>(),
            [("recvfrom".to_owned(), 1210), ("sendto".to_owned(), 1200),]
        );
    }
}
