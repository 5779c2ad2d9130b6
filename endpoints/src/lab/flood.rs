//! `tw-lab flood`: datagrams that nobody asked for, to see what a running session notices of them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use rand_core::{Rng as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::output::print;

/// Sockets, and so senders, that it seems to come from.
const SENDERS: usize = 64;
/// Datagrams made before, of which each one sent is one.
const KINDS: usize = 1_024;
/// How often it is looked at how many are due.
const STEP: Duration = Duration::from_millis(1);
/// Datagrams in all that it sends at most.
const MOST: u64 = 20_000_000;

/// Sends datagrams to a port that did not ask for them, a bounded number at a bounded rate
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The port, on this machine
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4433")]
    to: SocketAddr,
    /// Datagrams a second
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Seconds
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Bytes of a datagram
    #[arg(long, value_name = "N", default_value_t = 1_200, value_parser = clap::value_parser!(u16).range(16..=1_452))]
    bytes: u16,
    /// What they look like
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,
    /// The session that they name, by its connection ID at the receiver (for --kind session)
    #[arg(long, value_name = "ID", required_if_eq("kind", "session"), value_parser = clap::value_parser!(u32).range(0..=0x00FF_FFFF))]
    connection: Option<u32>,
    /// Decides what is in them
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Also to another machine: everything between here and there is yours, and nobody else is harmed
    #[arg(long)]
    i_own_this_network: bool,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Kind {
    /// TSP that names sessions at random
    #[default]
    Tsp,
    /// TSP that names a session that there is
    Session,
    /// The beginnings of QUIC handshakes, as far as the first byte and the version tell
    Quic,
    /// Anything
    Random,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab flood --seconds 20 --kind random
      100,000 datagrams a second of noise to a cloud on this machine
  tw-lab flood --kind session --connection 1193046
      the same to a session of which a stranger has seen the connection ID";

/// Runs the command.
///
/// # Errors
/// If the address is not on this machine, or nothing can be sent.
pub fn run(options: &Options) -> Result<()> {
    if !options.to.ip().is_loopback() && !options.i_own_this_network {
        bail!(
            "{} is not on this machine; a flood harms whoever shares the way to it \
             (--i-own-this-network, if nobody does)",
            options.to
        );
    }
    let total = u64::from(options.rate) * u64::from(options.seconds);
    if total > MOST {
        bail!("{total} datagrams; at most {MOST}");
    }
    let datagrams = datagrams(options);
    let any: SocketAddr = match options.to {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let sockets: Vec<UdpSocket> = (0..SENDERS)
        .map(|_| {
            let socket = UdpSocket::bind(any)?;
            socket.connect(options.to)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
        .collect::<io::Result<_>>()
        .context("cannot open the sockets")?;
    let (start, time) = (Instant::now(), Duration::from_secs(options.seconds.into()));
    let (mut sent, mut failed) = (0_u64, 0_u64);
    let mut each = sockets.iter().cycle().zip(datagrams.iter().cycle());
    loop {
        let elapsed = start.elapsed();
        if elapsed >= time || sent + failed >= total {
            break;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most the total"
        )]
        let due = (elapsed.as_secs_f64() * f64::from(options.rate)) as u64;
        while sent + failed < due.min(total) {
            let Some((socket, datagram)) = each.next() else {
                break;
            };
            match socket.send(datagram) {
                Ok(_) => sent += 1,
                // Also the echo of a closed port.
                Err(_) => failed += 1,
            }
        }
        std::thread::sleep(STEP);
    }
    let rate = sent as f64 / start.elapsed().as_secs_f64();
    print(format!(
        "{sent} datagrams of {} bytes in {:.1} s, {rate:.0} a second; {failed} not sent\n",
        options.bytes,
        start.elapsed().as_secs_f64()
    ))
}

/// What is sent, over and over.
fn datagrams(options: &Options) -> Vec<Vec<u8>> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(options.seed);
    let mut made = Vec::new();
    for _ in 0..KINDS {
        let mut datagram = vec![0; usize::from(options.bytes)];
        random.fill_bytes(&mut datagram);
        if let [form, kind, c0, c1, c2, ..] = datagram.as_mut_slice() {
            match options.kind {
                Kind::Tsp | Kind::Session => {
                    // Version 1, a DATA packet.
                    (*form, *kind) = (0x90, 0);
                    if let Some(connection) = options.connection {
                        [_, *c0, *c1, *c2] = connection.to_be_bytes();
                    }
                }
                Kind::Quic => {
                    // An Initial packet of version 1 (RFC 9000, section 17.2.2).
                    *form = 0xC0 | (*form & 0x0F);
                    [*kind, *c0, *c1, *c2] = 1_u32.to_be_bytes();
                }
                Kind::Random => {}
            }
        }
        made.push(datagram);
    }
    made
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tensorwire_protocol::wire::{ConnectionId, Form, connection_of};

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Options {
        Command::parse_from([&["flood"], arguments].concat()).options
    }

    #[test]
    fn only_this_machine_is_flooded_and_not_for_ever() {
        let elsewhere = run(&options(&["--to", "192.0.2.1:4433"])).unwrap_err();
        assert!(elsewhere.to_string().contains("not on this machine"));
        let much = run(&options(&["--rate", "1000000", "--seconds", "60"])).unwrap_err();
        assert!(much.to_string().contains("at most"));
        let unnamed = Command::try_parse_from(["flood", "--kind", "session"]);
        assert!(unnamed.is_err(), "which session?");
    }

    #[test]
    fn they_look_like_what_they_are_to_look_like() {
        let form = |kind: &str| Form::of(&datagrams(&options(&["--kind", kind]))[7]);
        assert_eq!(form("tsp"), Form::Tsp);
        assert_eq!(form("quic"), Form::Quic);
        let named = options(&["--kind", "session", "--connection", "1193046"]);
        let id = connection_of(&datagrams(&named)[9]);
        assert_eq!(id, Some(ConnectionId::new(1_193_046)));
    }

    #[test]
    fn what_is_sent_arrives() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = socket.local_addr().unwrap().to_string();
        let few = options(&[
            "--to",
            &to,
            "--rate",
            "50",
            "--seconds",
            "1",
            "--bytes",
            "100",
        ]);
        run(&few).unwrap();
        let mut buffer = [0; 2_000];
        assert_eq!(socket.recv(&mut buffer).unwrap(), 100);
    }
}
