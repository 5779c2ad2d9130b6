//! The network of a run, as commands of `ip`, `tc` and `ethtool`.
//!
//! Four namespaces in a row, the endpoints at its ends:
//!
//! ```text
//! edge e0 ── q0 queue q1 ── d0 delay d1 ── c0 cloud
//!                     │         │    └ to the cloud: delay, jitter, loss
//!                     │         └ to the edge: delay, jitter, loss, rate
//!                     └ to the cloud: the bottleneck's rate and queue
//! ```
//!
//! The bottleneck is a hop away from the sender, as in a real network: a full queue drops packets
//! instead of blocking the sender's socket, no TCP learns of a drop from its own host, and datagrams
//! that the sender hands over as one (UDP GSO) have been cut before they come to a queue.

use std::fmt;

use crate::cell::Cell;
use crate::quantity::{Mbps, rounded};
use crate::scenario::{Aqm, Loss};

/// Where the cloud listens for control connections.
pub(crate) const CLOUD: &str = "10.77.3.1:4433";
/// The namespace and the device whose egress is the bottleneck.
pub(crate) const BOTTLENECK: (&str, &str) = ("queue", "q1");
/// The namespace and the device whose egress delays and loses what goes to the cloud.
pub(crate) const LINE: (&str, &str) = ("delay", "d1");
/// What a packet has on the bottleneck besides its UDP payload: Ethernet, IPv4 and UDP headers.
pub(crate) const HEADERS: u64 = 14 + 20 + 8;

/// Packets that a queue holds which must not be the limit: netem counts those on their way, too.
const PLENTY: u32 = 100_000;
/// Bytes that pass the bucket of the shaper at once: a little more than a packet.
const BUCKET: u64 = 1_600;
/// Longer than this the shaper need not wait for its timer, at high rates.
const BUCKET_SECONDS: f64 = 200e-6;
/// Bytes of a packet, to count a queue in packets.
const PACKET: u64 = 1_500;

/// A command line, a word an argument.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Words(pub(crate) Vec<String>);

impl Words {
    /// Words with spaces between them.
    fn of(line: &str) -> Self {
        Self(line.split_whitespace().map(str::to_owned).collect())
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// Each link: namespace, device, address, hardware address; then the same of its other end.
type End = (&'static str, &'static str, &'static str, &'static str);
const LINKS: [(End, End); 3] = [
    (
        ("edge", "e0", "10.77.1.1", "02:77:00:00:01:01"),
        ("queue", "q0", "10.77.1.2", "02:77:00:00:01:02"),
    ),
    (
        ("queue", "q1", "10.77.2.1", "02:77:00:00:02:01"),
        ("delay", "d0", "10.77.2.2", "02:77:00:00:02:02"),
    ),
    (
        ("delay", "d1", "10.77.3.2", "02:77:00:00:03:02"),
        ("cloud", "c0", "10.77.3.1", "02:77:00:00:03:01"),
    ),
];
const ROUTES: [(&str, &str, &str); 4] = [
    ("edge", "default", "10.77.1.2"),
    ("queue", "10.77.3.0/24", "10.77.2.2"),
    ("delay", "10.77.1.0/24", "10.77.2.1"),
    ("cloud", "default", "10.77.3.2"),
];

/// Everything that has to be done before a run.
pub(crate) fn setup(cell: &Cell) -> Vec<Words> {
    let mut commands: Vec<Words> = ["edge", "queue", "delay", "cloud"]
        .iter()
        .flat_map(|name| {
            [
                Words::of(&format!("ip netns add {name}")),
                Words::of(&format!("ip -n {name} link set lo up")),
            ]
        })
        .collect();
    for (a, b) in LINKS {
        commands.push(Words::of(&format!(
            "ip link add {} netns {} address {} type veth peer name {} netns {} address {}",
            a.1, a.0, a.3, b.1, b.0, b.3
        )));
        for ((space, device, address, _), (_, _, other, hardware)) in [(a, b), (b, a)] {
            // A lost or delayed answer of ARP would be counted as the stream's.
            for line in [
                format!("ip -n {space} addr add {address}/24 dev {device}"),
                format!(
                    "ip netns exec {space} ethtool -K {device} gso off tso off gro off \
                     tx-udp-segmentation off"
                ),
                format!("ip -n {space} link set {device} up"),
                format!(
                    "ip -n {space} neigh replace {other} lladdr {hardware} dev {device} nud permanent"
                ),
            ] {
                commands.push(Words::of(&line));
            }
        }
    }
    for (space, to, by) in ROUTES {
        commands.push(Words::of(&format!("ip -n {space} route add {to} via {by}")));
    }
    for space in ["queue", "delay"] {
        let forward = "echo 1 >/proc/sys/net/ipv4/ip_forward";
        let mut command = Words::of(&format!("ip netns exec {space} sh -c"));
        command.0.push(forward.to_owned());
        commands.push(command);
    }
    commands.extend(queues(cell, "add", 0.0));
    commands
}

/// What changes at the steps of a run, in their order: the moment, and the commands.
pub(crate) fn steps(cell: &Cell) -> Vec<(f64, Vec<Words>)> {
    let moments = cell.steps.iter().map(|step| step.at_s.0);
    moments
        .map(|moment| {
            let (now, then) = (
                queues(cell, "change", moment),
                queues(cell, "change", f64::NEG_INFINITY.max(moment - 1e-9)),
            );
            let changed = now.into_iter().filter(|words| !then.contains(words));
            (moment, changed.collect())
        })
        .collect()
}

/// The queueing disciplines as they are at a moment.
fn queues(cell: &Cell, verb: &str, moment: f64) -> Vec<Words> {
    let path = &cell.path;
    let mut commands = Vec::new();
    let rate = cell.rate_at(moment);
    let (space, device) = BOTTLENECK;
    let root = format!("tc -n {space} qdisc {verb} dev {device} root handle 1:");
    match queue_bytes(cell, rate) {
        None => commands.push(Words::of(&format!(
            "{root} netem limit {PLENTY} rate {}bit",
            rate.bits()
        ))),
        Some(bytes) => {
            let bucket = rounded(rate.0 * 1e6 / 8.0 * BUCKET_SECONDS).max(BUCKET);
            commands.push(Words::of(&format!(
                "{root} tbf rate {}bit burst {bucket} limit {bytes}",
                rate.bits()
            )));
            if let Some(Aqm::Codel) = path.aqm {
                let ecn = if path.ecn { "ecn" } else { "noecn" };
                commands.push(Words::of(&format!(
                    "tc -n {space} qdisc {verb} dev {device} parent 1:1 handle 10: codel limit {} {ecn}",
                    bytes.div_ceil(PACKET)
                )));
            }
        }
    }
    let (mut delay, mut jitter, mut loss) = (path.delay_ms, path.jitter_ms, &path.loss);
    for step in cell.steps.iter().filter(|step| step.at_s.0 <= moment) {
        delay = step.delay_ms.unwrap_or(delay);
        jitter = step.jitter_ms.or(jitter);
        loss = step.loss.as_ref().unwrap_or(loss);
    }
    let later = cell
        .steps
        .iter()
        .any(|step| step.delay_ms.is_some() || step.jitter_ms.is_some() || step.loss.is_some());
    for (device, loss, rate) in [
        (LINE.1, loss, None),
        ("d0", &path.back_loss, path.back_rate_mbps),
    ] {
        let mut line = String::new();
        if delay.0 > 0.0 {
            line += &format!(" delay {}", delay.tc());
            if let Some(jitter) = jitter.filter(|jitter| jitter.0 > 0.0) {
                line += &format!(" {}", jitter.tc());
            }
        }
        line += &netem_loss(loss);
        if let Some(rate) = rate {
            line += &format!(" rate {}bit", rate.bits());
        }
        if !line.is_empty() || later {
            commands.push(Words::of(&format!(
                "tc -n {} qdisc {verb} dev {device} root netem limit {PLENTY}{line}",
                LINE.0
            )));
        }
    }
    commands
}

fn netem_loss(loss: &Loss) -> String {
    loss.netem
        .as_ref()
        .map(|loss| format!(" {loss}"))
        .unwrap_or_default()
}

/// What the bottleneck's queue holds at this rate; none without a limit.
fn queue_bytes(cell: &Cell, rate: Mbps) -> Option<u64> {
    match (cell.path.queue_ms, cell.path.queue_bytes) {
        (Some(time), _) => Some(rounded(rate.0 * 1e6 / 8.0 * time.0 / 1e3).max(BUCKET)),
        (None, Some(bytes)) => Some(bytes.into()),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn cell(path: &str) -> Cell {
        let text = format!(
            "about = 'x'\n[stream]\nfps = 30\nseconds = 10\ndeadline_ms = 35\n[path]\nrate_mbps = 20\n{path}"
        );
        Scenario::parse("x", &text)
            .unwrap()
            .cells(&[], None)
            .remove(0)
    }

    fn tc(path: &str) -> Vec<String> {
        let commands = setup(&cell(path));
        let lines = commands.iter().map(ToString::to_string);
        lines.filter(|line| line.starts_with("tc ")).collect()
    }

    #[test]
    fn rate_delay_and_loss_are_netems() {
        assert_eq!(
            tc("delay_ms = 20\nloss = 'gilbert:5%,4'"),
            [
                "tc -n queue qdisc add dev q1 root handle 1: netem limit 100000 rate 20000000bit",
                "tc -n delay qdisc add dev d1 root netem limit 100000 delay 20000us loss gemodel \
                 1.31578947% 25% 100% 0%",
                "tc -n delay qdisc add dev d0 root netem limit 100000 delay 20000us",
            ]
        );
        assert_eq!(
            tc(
                "delay_ms = 2.5\njitter_ms = 1\nloss = 'iid:5%'\nback_loss = 'iid:1%'\nback_rate_mbps = 1"
            )[1..],
            [
                "tc -n delay qdisc add dev d1 root netem limit 100000 delay 2500us 1000us loss random 5%",
                "tc -n delay qdisc add dev d0 root netem limit 100000 delay 2500us 1000us loss random 1% \
                 rate 1000000bit",
            ]
        );
        assert_eq!(tc("delay_ms = 0").len(), 1);
    }

    #[test]
    fn a_queue_is_a_shaper_with_a_byte_limit() {
        let shaper =
            "tc -n queue qdisc add dev q1 root handle 1: tbf rate 20000000bit burst 1600 limit";
        assert_eq!(
            tc("delay_ms = 20\nqueue_ms = 200")[0],
            format!("{shaper} 500000")
        );
        assert_eq!(
            tc("delay_ms = 20\nqueue_bytes = 100000")[0],
            format!("{shaper} 100000")
        );
        assert_eq!(
            tc("delay_ms = 20\nqueue_ms = 200\naqm = 'codel'\necn = true")[..2],
            [
                format!("{shaper} 500000"),
                "tc -n queue qdisc add dev q1 parent 1:1 handle 10: codel limit 334 ecn".to_owned(),
            ]
        );
    }

    #[test]
    fn steps_change_what_they_name_and_keep_the_rest() {
        let cell = cell(
            "delay_ms = 20\nqueue_ms = 1000\nloss = 'iid:1%'\n[[step]]\nat_s = 20\nrate_mbps = 3\n[[step]]\n\
             at_s = 40\nrate_mbps = 20\nloss = 'none'",
        );
        let lines: Vec<(f64, Vec<String>)> = steps(&cell)
            .into_iter()
            .map(|(at, words)| (at, words.iter().map(ToString::to_string).collect()))
            .collect();
        let shaper = "tc -n queue qdisc change dev q1 root handle 1: tbf";
        let down = format!("{shaper} rate 3000000bit burst 1600 limit 375000");
        let up = format!("{shaper} rate 20000000bit burst 1600 limit 2500000");
        let clear = "tc -n delay qdisc change dev d1 root netem limit 100000 delay 20000us";
        assert_eq!(
            lines,
            [(20.0, vec![down]), (40.0, vec![up, clear.to_owned()])]
        );
    }

    #[test]
    fn the_row_of_namespaces() {
        let lines: Vec<_> = setup(&cell("delay_ms = 20"))
            .iter()
            .map(ToString::to_string)
            .collect();
        for expected in [
            "ip netns add queue",
            "ip link add q1 netns queue address 02:77:00:00:02:01 type veth peer name d0 netns delay address \
             02:77:00:00:02:02",
            "ip -n cloud addr add 10.77.3.1/24 dev c0",
            "ip netns exec edge ethtool -K e0 gso off tso off gro off tx-udp-segmentation off",
            "ip -n edge neigh replace 10.77.1.2 lladdr 02:77:00:00:01:02 dev e0 nud permanent",
            "ip -n queue route add 10.77.3.0/24 via 10.77.2.2",
            "ip netns exec delay sh -c echo 1 >/proc/sys/net/ipv4/ip_forward",
        ] {
            assert!(
                lines.iter().any(|line| line == expected),
                "{expected}\n{lines:#?}"
            );
        }
    }
}
