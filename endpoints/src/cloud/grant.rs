//! Whether a wish for a session can be granted.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tensorwire_protocol::wire::ConnectionId;
use tensorwire_protocol::{Config, Event};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::memory::{Memory, Reservation, mebibytes, session_memory};
use super::peer::Peer;
use super::policy::Policy;
use super::schedule::{Lane, Overloaded, Schedule};
use super::session::{Ended, Running, WAITING_EVENTS, WAITING_TENSORS};
use super::{CloudNotice, Opener, Phase};
use crate::carrier::{Carrier, Carriers, quic_stream, tcp};
use crate::control::{Cipher, Open, Refuse, RefuseCode, SessionNumber};
use crate::datapath::{DataPath, SessionHandle, SessionNames, Side, export};
use crate::identity::CloudIdentity;
use crate::stream::StreamDescription;

/// What every session of a cloud shares.
pub(super) struct Shared<O> {
    pub(super) opener: Arc<O>,
    pub(super) identity: CloudIdentity,
    pub(super) path: DataPath,
    pub(super) tcp: Option<tcp::Listener>,
    pub(super) schedule: Schedule,
    pub(super) carriers: Carriers,
    pub(super) sessions: Arc<Semaphore>,
    /// Sessions at present.
    pub(super) count: Arc<AtomicUsize>,
    pub(super) memory: Arc<Memory>,
    pub(super) policy: Policy,
    pub(super) notices: mpsc::Sender<CloudNotice>,
    pub(super) phase: watch::Receiver<Phase>,
}

/// The right to a session, which a session and the one that replaces it share.
pub(super) type Permit = Arc<OwnedSemaphorePermit>;

/// A session that has been granted.
pub(super) struct Granted {
    pub(super) carrier: Carrier,
    pub(super) stream: StreamDescription,
    pub(super) session: SessionHandle,
    pub(super) lane: Lane,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) permit: Permit,
    pub(super) reservation: Reservation,
    pub(super) counted: Counted,
}

/// A session that is counted, while this lives.
pub(super) struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Granted {
    /// Whether a session of the carrier with this number takes a connection of its own.
    pub(super) fn takes_connection(carrier: u32) -> bool {
        Carrier::from_code(carrier).is_some_and(Carrier::is_quic)
    }

    /// Its name here.
    pub(super) const fn id(&self) -> ConnectionId {
        self.session.connection()
    }

    pub(super) const fn carrier(&self) -> Carrier {
        self.carrier
    }

    pub(super) const fn stream(&self) -> &StreamDescription {
        &self.stream
    }

    /// Starts to answer its tensors, in a task of `tasks`.
    pub(super) fn start(self, number: SessionNumber, tasks: &mut JoinSet<Ended>) -> Running {
        Running::start(number, self, tasks)
    }
}

impl<O: Opener> Shared<O> {
    /// The right to one more session.
    pub(super) fn permit(&self) -> Result<Permit, Refuse> {
        let permit = Arc::clone(&self.sessions).try_acquire_owned();
        permit.map(Arc::new).map_err(|_| {
            let have = self.session_count();
            let reason = format!("this cloud holds as many sessions as it can ({have})");
            Refuse::new(RefuseCode::Busy, reason)
        })
    }

    /// Sessions at present.
    pub(super) fn session_count(&self) -> u32 {
        u32::try_from(self.count.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    /// The carrier that an edge asks for, if it is offered.
    fn carrier(&self, open: &Open) -> Result<Carrier, Refuse> {
        let carrier = Carrier::from_code(open.carrier);
        match carrier.filter(|carrier| self.carriers.contains(*carrier)) {
            Some(carrier) => Ok(carrier),
            None => {
                let (asked, offered) = (
                    carrier.map_or("an unknown one", Carrier::name),
                    self.carriers,
                );
                let reason = format!("this cloud offers the carriers {offered}, not {asked}");
                Err(Refuse::new(RefuseCode::Carrier, reason))
            }
        }
    }

    /// The protection that an edge asks for, if it is offered.
    fn cipher(&self, open: &Open, carrier: Carrier) -> Result<Cipher, Refuse> {
        let offered = self.policy.ciphers;
        let cipher = Cipher::from_code(open.cipher);
        let Some(cipher) = cipher.filter(|c| *c == Cipher::Plain || carrier == Carrier::Udp) else {
            let reason = format!("this cloud offers the ciphers {offered}, for the carrier udp");
            return Err(Refuse::new(RefuseCode::Cipher, reason));
        };
        // QUIC protects what it carries.
        if carrier.is_quic() || offered.contains(cipher) {
            return Ok(cipher);
        }
        Err(if cipher == Cipher::Plain {
            let reason = format!(
                "this cloud takes no {} that others can read and forge; it offers {offered}",
                carrier.name()
            );
            Refuse::new(RefuseCode::Plain, reason)
        } else {
            let reason = format!(
                "this cloud offers the ciphers {offered}, not {}",
                cipher.name()
            );
            Refuse::new(RefuseCode::Cipher, reason)
        })
    }

    /// The memory that a session of this configuration may take, if it is to be had.
    fn reserve(&self, config: &Config) -> Result<Reservation, Refuse> {
        let need = session_memory(config);
        let (shown, most) = (mebibytes(need), self.policy.session_memory);
        if need > most {
            let most = mebibytes(most);
            let reason = format!("a session of this stream may take {shown}; {most} are allowed");
            return Err(Refuse::new(RefuseCode::Memory, reason));
        }
        self.memory.reserve(need).map_err(|left| {
            let (left, all) = (mebibytes(left), mebibytes(self.policy.memory));
            let reason =
                format!("a session of this stream may take {shown}; {left} of {all} are left");
            Refuse::new(RefuseCode::Memory, reason)
        })
    }

    /// Grants an edge's wish or refuses it, with the reason.
    pub(super) async fn grant(
        &self,
        open: Open,
        peer: Peer,
        permit: Permit,
    ) -> Result<Granted, Refuse> {
        let carrier = self.carrier(&open)?;
        let cipher = self.cipher(&open, carrier)?;
        let interval = open.interval_us.map(u64::from).map(Duration::from_micros);
        let Open {
            session: number,
            stream,
            connection,
            replaces,
            ..
        } = open;
        let mut config = stream.config().map_err(|error| describe(&error))?;
        config.remote_connection = ConnectionId::new(connection);
        let reservation = self.reserve(&config)?;
        self.opener.prepare(&stream, &peer).await?;
        // Splitting a model takes long enough to stall the other sessions.
        let (opener, description) = (Arc::clone(&self.opener), stream.clone());
        let handler = tokio::task::spawn_blocking(move || opener.open(&description));
        let mut handler = handler.await.map_err(|error| internal(&error))??;
        // One that takes the place of another asks for no more than there is room for already.
        if replaces.is_none() {
            let admitted = self.schedule.admit(&mut *handler, interval);
            admitted.map_err(|error| overloaded(&error))?;
        }
        let lane = self.schedule.open(handler, config.deadline, interval);
        let (events, inbox) = mpsc::channel(WAITING_EVENTS + WAITING_TENSORS as usize);
        let session = self
            .start(
                carrier,
                (config, &stream),
                peer.connection(),
                (number, cipher),
                events,
            )
            .await;
        let session = session.map_err(|error| internal(&error))?;
        let limited = session.limit_waiting(WAITING_TENSORS).await;
        limited.map_err(|error| internal(&error))?;
        Ok(Granted {
            carrier,
            stream,
            session,
            lane,
            events: inbox,
            permit,
            reservation,
            counted: Counted::new(&self.count),
        })
    }

    /// Starts the session of an edge on its carrier.
    async fn start(
        &self,
        carrier: Carrier,
        (config, stream): (Config, &StreamDescription),
        control: &quinn::Connection,
        (number, cipher): (SessionNumber, Cipher),
        events: mpsc::Sender<Event>,
    ) -> anyhow::Result<SessionHandle> {
        let (clock, remote) = (self.path.clock(), config.remote_connection);
        match carrier {
            Carrier::Udp => {
                let peer = control.remote_address().ip().to_canonical();
                let session = self.path.open(config, Some(peer), events).await?;
                let mut secrets = None;
                if let Some(cipher) = cipher.of_sessions() {
                    let names = SessionNames {
                        cloud: session.connection(),
                        edge: remote,
                        number,
                    };
                    let exported = export(control, cipher, names, Side::Cloud)?;
                    let known = Some(control.remote_address());
                    session.protect(exported.clone(), known).await??;
                    secrets = Some(exported);
                }
                self.path
                    .describe(&session, remote, stream, secrets.as_ref());
                Ok(session)
            }
            Carrier::QuicDatagram => {
                let most = control.max_datagram_size().unwrap_or(0);
                if usize::from(config.mss) > most {
                    bail!("an MSS of {} bytes; QUIC datagrams take {most}", config.mss);
                }
                let session = self.path.open(config, None, events).await?;
                // Before its first datagram, which leaves as soon as there is a way.
                self.path.describe(&session, remote, stream, None);
                session.attach_quic(remote, control.clone()).await?;
                Ok(session)
            }
            Carrier::QuicStream => quic_stream::serve(control.clone(), config, clock, events),
            Carrier::Tcp => {
                let listener = self.tcp.as_ref().context("no TCP port")?;
                listener.serve(control, config, clock, events)
            }
        }
    }

    pub(super) fn notify(&self, notice: CloudNotice) {
        // Whoever runs the cloud may be slow or gone; the sessions do not wait for that.
        let _ = self.notices.try_send(notice);
    }
}

fn describe(error: &dyn Display) -> Refuse {
    Refuse::new(RefuseCode::Description, error.to_string())
}

fn overloaded(error: &Overloaded) -> Refuse {
    Refuse::new(RefuseCode::Overloaded, error.to_string())
}

fn internal(error: &dyn Display) -> Refuse {
    Refuse::new(RefuseCode::Internal, error.to_string())
}
