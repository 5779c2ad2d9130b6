//! What programs and sockets of this machine use, as Linux tells in /proc.

use std::fs;
use std::time::Duration;

/// Ticks a second in which Linux tells processor time (`USER_HZ`): the same on every architecture.
const TICKS: u64 = 100;

/// Processor time and memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    /// Bytes of memory in use.
    pub(super) memory: u64,
}

impl Usage {
    /// Of the process `pid`; none where it cannot be told.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(Self {
            cpu: cpu(&stat)?,
            memory: memory(&status)?,
        })
    }
}

fn cpu(stat: &str) -> Option<Duration> {
    // The name before may hold anything, also blanks.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks()? + ticks()?) * 1_000 / TICKS))
}

fn memory(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

/// Datagrams that the system has thrown away because no room was left in the UDP sockets bound to `port`;
/// none where it cannot be told.
pub(super) fn drops(port: u16) -> Option<u64> {
    let tables = ["/proc/net/udp", "/proc/net/udp6"].map(|table| fs::read_to_string(table).ok());
    let mut found = None;
    for table in tables.iter().flatten() {
        for drops in table.lines().skip(1).filter_map(|line| dropped(line, port)) {
            *found.get_or_insert(0) += drops;
        }
    }
    found
}

/// What a line of the system's table says of the port, if it is about that.
fn dropped(line: &str, port: u16) -> Option<u64> {
    let mut fields = line.split_whitespace();
    let (_, bound) = fields.nth(1)?.rsplit_once(':')?;
    if u16::from_str_radix(bound, 16) != Ok(port) {
        return None;
    }
    fields.next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_writes_is_understood() {
        let stat =
            "4242 (a) b (c) S 1 4242 4242 0 -1 4194304 500 0 0 0 251 49 0 0 20 0 4 0 100 0 0";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
        let status = "Name:\ttw-cloud\nVmPeak:\t  9000 kB\nVmRSS:\t    1234 kB\nThreads:\t4\n";
        assert_eq!(memory(status), Some(1234 * 1_024));
        let line = " 1628: 0100007F:1151 00000000:0000 07 00000000:00000000 00:00000000 00000000     \
                    0        0 811784 2 00000000f2afb1c1 37";
        assert_eq!(dropped(line, 4433), Some(37));
        assert_eq!(dropped(line, 4434), None);
        let header = "   sl  local_address rem_address   st tx_queue rx_queue";
        assert_eq!(dropped(header, 4433), None);
        for nothing in ["", "1 (x", "1 (x) S"] {
            assert_eq!((cpu(nothing), memory(nothing)), (None, None));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_and_its_sockets_are_found() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.memory > 0);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(drops(port), Some(0));
        drop(socket);
    }
}
