//! The processor that a run is given: before all other programs, and always the same one.

use std::fs;
use std::process::Command;

/// A command that runs before all other programs, where that is allowed, on one processor.
///
/// User-mode Linux is one processor, so it leaves the others alone; and since it stops and starts a process
/// for each system call, which is several times as slow from one processor to another, it is kept on one:
/// runs at a time, told apart by their `lane`, on different ones.
pub(crate) fn first(program: &str, lane: usize) -> Command {
    const PRIORITY: [&str; 3] = ["chrt", "--rr", "5"];
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let allowed = allowed(&status);
    let mut words: Vec<String> = Vec::new();
    let turn = lane.checked_rem(allowed.len()).unwrap_or(0);
    if let Some(processor) = allowed.iter().rev().nth(turn) {
        let pinned = ["taskset", "-c", &processor.to_string()].map(str::to_owned);
        if succeeds(&pinned) {
            words.extend(pinned);
        }
    }
    let preferred = PRIORITY.map(str::to_owned);
    if succeeds(&preferred) {
        words.extend(preferred);
    }
    words.push(program.to_owned());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// Whether a program can be run so.
fn succeeds(words: &[String]) -> bool {
    let attempt = Command::new(&words[0])
        .args(&words[1..])
        .arg("true")
        .output();
    attempt.is_ok_and(|output| output.status.success())
}

/// The processors that a process may run on, as `/proc/PID/status` tells; none if it does not.
fn allowed(status: &str) -> Vec<usize> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let ranges = list.unwrap_or_default().trim().split(',');
    let range = |range: &str| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        Some(from.parse().ok()?..=to.parse().ok()?)
    };
    ranges.filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_are_those_of_the_list() {
        let status =
            |list| format!("Name:\ttw-netem\nCpus_allowed_list:\t{list}\nMems_allowed:\t1\n");
        assert_eq!(allowed(&status("0-1")), [0, 1]);
        assert_eq!(allowed(&status("3")), [3]);
        assert_eq!(allowed(&status("0-2,7,10-11")), [0, 1, 2, 7, 10, 11]);
        assert_eq!(allowed(&status("")), [0; 0]);
        assert_eq!(allowed("Name:\ttw-netem\n"), [0; 0]);
    }
}
