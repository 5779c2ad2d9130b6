//! Tensors on a TCP connection (spec/carriers.md, section 7).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tensorwire_protocol::wire::ConnectionId;
use tensorwire_protocol::{Config, Event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::Congestion;
use super::actor::{Actor, connection_id};
use super::session::Role;
use crate::clock::Clock;
use crate::datapath::SessionHandle;

/// What the attach message begins with: a name, and the version.
const MAGIC: [u8; 5] = *b"TWTC\x01";
/// Bytes of a session's secret.
const SECRET: usize = 32;
/// Bytes of the attach message: magic, connection ID, secret.
const ATTACH: usize = MAGIC.len() + 4 + SECRET;
/// The label under which both ends export a session's secret from their TLS connection.
const LABEL: &[u8] = b"EXPORTER-tensorwire-tcp";
/// A session that nobody has attached to after so long ends.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that has not said whose it is after so long is closed. It says so at once, in one segment.
const NAME_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections at a time that have not said whose they are.
const ATTACHING: usize = 64;
/// Bytes that the kernel takes before it has sent what it has: more would wait where no deadline is known.
const UNSENT: u32 = 16 * 1_024;
/// Bytes read at a time.
const READ: usize = 64 * 1_024;

/// The secret of the session with this connection ID, which only the ends of `connection` can know.
///
/// # Errors
/// If the connection has no keys any more.
fn secret(connection: &quinn::Connection, id: ConnectionId) -> Result<[u8; SECRET]> {
    let mut secret = [0; SECRET];
    let exported = connection.export_keying_material(&mut secret, LABEL, &id.value().to_be_bytes());
    match exported {
        Ok(()) => Ok(secret),
        Err(_) => bail!("the control connection gives no keys"),
    }
}

/// Whether they are equal, in a time that does not depend on where they differ.
fn equal(a: &[u8; SECRET], b: &[u8; SECRET]) -> bool {
    a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y)) == 0
}

/// Switches off Nagle's algorithm and bounds what waits in the kernel.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT)?;
    Ok(())
}

/// Which session an edge attaches to, and how it gets there.
pub(crate) struct Attach<'a> {
    /// The control connection of the session.
    pub(crate) control: &'a quinn::Connection,
    /// The session's ID at the cloud.
    pub(crate) id: ConnectionId,
    /// The cloud's TCP port, which has the number of its UDP port.
    pub(crate) address: SocketAddr,
    /// The congestion controller; the kernel's choice if none.
    pub(crate) congestion: Option<Congestion>,
}

/// Connects an edge's session to the cloud's TCP port.
///
/// # Errors
/// If the port cannot be reached, or the kernel lacks the congestion controller.
pub(crate) async fn connect(
    attach: Attach<'_>,
    config: Config,
    clock: Clock,
    events: mpsc::Sender<Event>,
) -> Result<SessionHandle> {
    let Attach {
        control,
        id,
        address,
        congestion,
    } = attach;
    let secret = secret(control, id)?;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(congestion) = congestion {
        set_congestion(&socket, congestion)?;
    }
    let connecting = tokio::time::timeout(ATTACH_TIMEOUT, socket.connect(address));
    let connected = connecting
        .await
        .unwrap_or_else(|elapsed| Err(elapsed.into()));
    let mut stream = connected.with_context(|| {
        format!(
            "nobody answers at {address} over TCP; is TCP let through to the cloud? (A relay of UDP, as \
             `tw-lab link` is one, has no TCP port.)"
        )
    })?;
    prepare(&stream)?;
    let id = id.value().to_be_bytes();
    stream
        .write_all(&[&MAGIC[..], &id, &secret].concat())
        .await?;
    let (actor, handle) = Actor::new(Role::Edge, config, clock, events);
    tokio::spawn(serve(actor, stream));
    Ok(handle)
}

#[cfg(target_os = "linux")]
fn set_congestion(socket: &TcpSocket, congestion: Congestion) -> Result<()> {
    let name = congestion.name();
    let set = socket2::SockRef::from(socket).set_tcp_congestion(name.as_bytes());
    set.with_context(|| {
        let known = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
        let known = known.unwrap_or_default();
        format!(
            "the kernel does not let TCP use {name}; it has: {} (`modprobe tcp_{name}` loads it where \
             there is a module, and net.ipv4.tcp_allowed_congestion_control lets everyone use it)",
            known.trim()
        )
    })
}

#[cfg(not(target_os = "linux"))]
fn set_congestion(_socket: &TcpSocket, congestion: Congestion) -> Result<()> {
    bail!(
        "{} for tcp can be chosen on Linux only; leave --congestion out",
        congestion.name()
    )
}

/// Sessions that wait for their TCP connections, by connection ID.
type Waiting = Arc<Mutex<HashMap<u32, ([u8; SECRET], oneshot::Sender<TcpStream>)>>>;

/// Where edges connect to.
#[derive(Debug)]
pub(crate) struct Listener {
    waiting: Waiting,
    accepting: AbortHandle,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A place among the sessions that wait; given up when dropped.
#[derive(Debug)]
struct Place {
    id: u32,
    waiting: Waiting,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&self.id);
    }
}

impl Listener {
    /// Listens at `address`.
    ///
    /// # Errors
    /// If it cannot be bound.
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let bound = TcpListener::bind(address).await?;
        let waiting = Waiting::default();
        let accepting = tokio::spawn(accept(bound, Arc::clone(&waiting))).abort_handle();
        Ok(Self { waiting, accepting })
    }

    /// Starts a cloud's session, which the edge at the other end of `control` is to attach to.
    ///
    /// # Errors
    /// If the system gives no random numbers, or the control connection no keys.
    pub(crate) fn serve(
        &self,
        control: &quinn::Connection,
        mut config: Config,
        clock: Clock,
        events: mpsc::Sender<Event>,
    ) -> Result<SessionHandle> {
        let (sender, socket) = oneshot::channel();
        let id = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let id = loop {
                let id = connection_id()?;
                if !waiting.contains_key(&id.value()) {
                    break id;
                }
            };
            waiting.insert(id.value(), (secret(control, id)?, sender));
            id
        };
        let place = Place {
            id: id.value(),
            waiting: Arc::clone(&self.waiting),
        };
        config.local_connection = id;
        let (mut actor, handle) = Actor::new(Role::Cloud, config, clock, events);
        tokio::spawn(async move {
            let socket = wait_for(socket, &mut actor).await;
            drop(place);
            match socket {
                Ok(socket) => serve(actor, socket).await,
                Err(Some(reason)) => actor.end(reason).await,
                Err(None) => {}
            }
        });
        Ok(handle)
    }
}

/// Accepts connections and hands them to the sessions that they name.
async fn accept(listener: TcpListener, waiting: Waiting) {
    let attaching = Arc::new(Semaphore::new(ATTACHING));
    loop {
        let Ok(permit) = Arc::clone(&attaching).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // No more files, say: others have to end first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
        {
            // No session waits for a connection: it is a stranger's.
            continue;
        }
        let waiting = Arc::clone(&waiting);
        tokio::spawn(async move {
            // Whoever does not say in time whose connection it is, or says it wrongly, loses it.
            let _ = tokio::time::timeout(NAME_TIMEOUT, attach(stream, &waiting)).await;
            drop(permit);
        });
    }
}

/// Reads whose a connection is, and hands it over.
async fn attach(mut stream: TcpStream, waiting: &Waiting) -> io::Result<()> {
    let mut message = [0; ATTACH];
    stream.read_exact(&mut message).await?;
    prepare(&stream)?;
    let Some((magic, rest)) = message.split_first_chunk() else {
        return Ok(());
    };
    let Some((id, secret)) = rest.split_first_chunk() else {
        return Ok(());
    };
    let id = u32::from_be_bytes(*id);
    let session = {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let right = waiting.get(&id).is_some_and(|(expected, _)| {
            let said = secret.first_chunk();
            said.is_some_and(|said| equal(said, expected))
        });
        if *magic == MAGIC && right {
            waiting.remove(&id)
        } else {
            None
        }
    };
    if let Some((_, session)) = session {
        // It may have ended meanwhile.
        let _ = session.send(stream);
    }
    Ok(())
}

/// Waits for a session's connection. Where none comes, why, unless the application closed the session.
async fn wait_for(
    mut socket: oneshot::Receiver<TcpStream>,
    actor: &mut Actor,
) -> Result<TcpStream, Option<String>> {
    let mut patience = std::pin::pin!(tokio::time::sleep(ATTACH_TIMEOUT));
    loop {
        tokio::select! {
            socket = &mut socket => {
                return socket.map_err(|_| Some("the TCP port was closed".to_owned()));
            }
            command = actor.commands.recv() => {
                if !actor.obey(command) {
                    return Err(None);
                }
            }
            () = &mut patience => {
                return Err(Some("the edge did not connect to the TCP port in time".to_owned()));
            }
        }
    }
}

/// Drives a session on its connection until both have ended.
async fn serve(mut actor: Actor, stream: TcpStream) {
    if let Some(reason) = run(&mut actor, stream).await {
        actor.end(reason).await;
    }
}

/// Drives a session on its connection until either ends; why, unless the application closed the session.
async fn run(actor: &mut Actor, mut stream: TcpStream) -> Option<String> {
    let (mut reader, mut writer) = stream.split();
    let mut decoder = actor.session.decoder();
    let mut current = None;
    let mut input = vec![0; READ];
    let (mut output, mut written) = (Vec::new(), 0);
    loop {
        let now = actor.clock.now();
        if written == output.len() {
            output.clear();
            written = 0;
            actor.session.poll_messages(now, &mut output);
            actor.session.poll_tensor(now, &mut output);
        }
        let unsent = output.get(written..).unwrap_or_default();
        let wake = actor.session.poll_timeout(unsent.is_empty());
        tokio::select! {
            read = reader.read(&mut input) => match read {
                Ok(0) => return Some("the peer closed the TCP connection".to_owned()),
                Ok(count) => {
                    let bytes = input.get(..count).unwrap_or_default();
                    let now = actor.clock.now();
                    let taken = actor.session.take(now, bytes, &mut decoder, &mut current);
                    if let Err(error) = taken {
                        return Some(format!("the peer sent {error}"));
                    }
                }
                Err(error) => return Some(format!("the TCP connection failed: {error}")),
            },
            wrote = writer.write(unsent), if !unsent.is_empty() => match wrote {
                Ok(count) => written += count,
                Err(error) => return Some(format!("the TCP connection failed: {error}")),
            },
            command = actor.commands.recv() => {
                if !actor.obey(command) {
                    return None;
                }
            }
            () = actor.clock.sleep_until(wake) => {}
        }
        actor.session.handle_timeout(actor.clock.now());
        actor.tell();
    }
}
