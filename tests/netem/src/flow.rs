//! A TCP flow that takes what it gets: its source, and its sink, which counts.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::{Domain, Socket, Type};

use crate::queue::monotonic_us;

/// The sink sums up over so long.
const EVERY_US: u64 = 100_000;
const CHUNK: usize = 64 << 10;

/// Sends until it is killed.
pub(crate) fn source(to: SocketAddr, congestion: &str) -> Result<()> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket
        .set_tcp_congestion(congestion.as_bytes())
        .with_context(|| format!("this kernel has no TCP congestion control `{congestion}`"))?;
    // What is in the buffer at the end does not go on.
    socket.set_linger(Some(Duration::ZERO))?;
    socket
        .connect(&to.into())
        .with_context(|| format!("cannot connect to {to}"))?;
    let chunk = vec![0; CHUNK];
    loop {
        (&socket).write_all(&chunk)?;
    }
}

/// Takes one connection, reads until it ends, and writes down what came when.
pub(crate) fn sink(at: SocketAddr, json: &Path) -> Result<()> {
    let listener = TcpListener::bind(at).with_context(|| format!("cannot listen on {at}"))?;
    eprintln!("listening");
    let (mut connection, _) = listener.accept()?;
    let mut chunk = vec![0; CHUNK];
    let mut counts: Vec<(u64, u64)> = Vec::new();
    // That the source was killed is its end as well.
    while let Ok(count @ 1..) = connection.read(&mut chunk) {
        let slot = monotonic_us() / EVERY_US * EVERY_US;
        match counts.last_mut() {
            Some((at, bytes)) if *at == slot => *bytes += count as u64,
            _ => counts.push((slot, count as u64)),
        }
    }
    fs::write(json, serde_json::to_vec(&counts)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let json = folder.path().join("counts.json");
        let at: SocketAddr = {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap()
        };
        let file = json.clone();
        let sink = std::thread::spawn(move || sink(at, &file));
        let mut connection = loop {
            match std::net::TcpStream::connect(at) {
                Ok(connection) => break connection,
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        connection.write_all(&vec![1; 300_000]).unwrap();
        drop(connection);
        sink.join().unwrap().unwrap();
        let counts: Vec<(u64, u64)> = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
        let bytes: u64 = counts.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(bytes, 300_000);
        assert!(counts.is_sorted_by(|a, b| a.0 < b.0));
    }
}
