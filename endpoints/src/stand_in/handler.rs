//! The cloud's side: checks every slice, writes down when its tensor became usable, and answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tensorwire_protocol::wire::{NoticeReason, ResultStatus};
use tensorwire_protocol::{Event, ReceivedTensor, ReleaseReason};

use super::{content, is_stand_in, monotonic};
use crate::clock::Clock;
use crate::cloud::{Answer, Opener, TensorHandler};
use crate::control::{Refuse, RefuseCode};
use crate::stream::StreamDescription;

/// Streams of which a cloud keeps records; further ones are refused.
const MAX_STREAMS: usize = 1 << 16;
/// Tensors of a stream that are written down; further ones are counted and answered only.
const MAX_TENSORS: usize = 1 << 20;

/// One released tensor.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Release {
    /// When its frame was captured, nanoseconds of the monotonic clock.
    pub captured: u64,
    /// From then to its release by the session.
    pub latency: Duration,
    /// From then until the handler had it: the wait for a busy model is in it.
    pub handed: Duration,
    /// Why it was released.
    pub reason: ReleaseReason,
    /// Whether every slice was there.
    pub whole: bool,
    /// Bytes of the slices that were there.
    pub bytes: u64,
}

/// What is known of one stream.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Record {
    /// Longest time from capture to release that it asked for, milliseconds.
    pub deadline_ms: u32,
    /// Released tensors in their order.
    pub releases: Vec<Release>,
    /// Released tensors that are not among them, because there were too many, or no slice told when.
    pub unrecorded: u64,
    /// Slices that were not what they should be.
    pub damaged: u64,
    /// Tensors of which nothing arrived in time.
    pub lost: u64,
    /// Tensors given up for newer ones.
    pub superseded: u64,
    /// Frames that the edge skipped and tensors that it abandoned, by the reason in its notices.
    pub notices: BTreeMap<&'static str, u64>,
}

/// The records of a cloud's streams, by the names of their splits. Copies share them.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<String, Arc<Mutex<Record>>>>>);

impl Ledger {
    /// A copy of what is known of the stream with this split.
    #[must_use]
    pub fn record(&self, split: &str) -> Option<Record> {
        let record = lock(&self.0).get(split).cloned();
        record.map(|record| lock(&record).clone())
    }

    fn open(&self, stream: &StreamDescription) -> Result<Arc<Mutex<Record>>, Refuse> {
        let mut records = lock(&self.0);
        if records.len() >= MAX_STREAMS || records.contains_key(&stream.split) {
            let reason = "this name is taken, or this cloud has recorded as many streams as it can";
            return Err(Refuse::new(RefuseCode::Busy, reason));
        }
        let record = Record {
            deadline_ms: stream.deadline_ms,
            ..Record::default()
        };
        let record = Arc::new(Mutex::new(record));
        records.insert(stream.split.clone(), Arc::clone(&record));
        Ok(record)
    }
}

/// A lock that a panic elsewhere does not take away: records are whole after every change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens stand-in streams, and no others.
#[derive(Debug)]
pub struct StandInOpener {
    clock: Clock,
    service: Duration,
    ledger: Ledger,
}

impl StandInOpener {
    /// An opener whose handlers take `service` for each tensor, and write down what they see in
    /// `ledger`. The clock must be the one of the cloud's sessions.
    #[must_use]
    pub const fn new(clock: Clock, service: Duration, ledger: Ledger) -> Self {
        Self {
            clock,
            service,
            ledger,
        }
    }
}

impl Opener for StandInOpener {
    fn open(&self, stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse> {
        if !is_stand_in(stream) {
            let reason = "this cloud has no model: it was started with --stand-in";
            return Err(Refuse::new(RefuseCode::Model, reason));
        }
        Ok(Box::new(StandIn {
            clock: self.clock,
            service: self.service,
            record: self.ledger.open(stream)?,
        }))
    }
}

/// Answers the tensors of one stream.
struct StandIn {
    clock: Clock,
    service: Duration,
    record: Arc<Mutex<Record>>,
}

impl TensorHandler for StandIn {
    fn handle(&mut self, tensor: &ReceivedTensor) -> Answer {
        let (now, since) = (monotonic(), self.clock.now() - tensor.info().released);
        self.write_down(tensor, now, since);
        if !self.service.is_zero() {
            std::thread::sleep(self.service);
        }
        Answer {
            status: ResultStatus::Done,
            payload: Bytes::new(),
        }
    }

    fn observe(&mut self, event: &Event) {
        let mut record = lock(&self.record);
        match event {
            Event::Lost { count, .. } => record.lost += count,
            Event::Superseded(_) => record.superseded += 1,
            Event::FramesSkipped { reason, count, .. }
            | Event::TensorsAbandoned { reason, count, .. } => {
                *record.notices.entry(notice_name(*reason)).or_default() += u64::from(*count);
            }
            _ => {}
        }
    }
}

impl StandIn {
    /// Writes down a tensor that the session released `since` before `now`.
    fn write_down(&self, tensor: &ReceivedTensor, now: u64, since: Duration) {
        let (mut captured, mut bytes, mut damaged) = (None, 0, 0);
        for (slice, index) in tensor.slices().zip(0..) {
            let Some(slice) = slice else { continue };
            bytes += slice.len() as u64;
            if content::is_mute(slice) {
                continue;
            }
            match content::captured(slice, index) {
                Some(time) if captured.is_none_or(|known| known == time) => captured = Some(time),
                _ => damaged += 1,
            }
        }
        let mut record = lock(&self.record);
        record.damaged += damaged;
        let Some(captured) = captured.filter(|_| record.releases.len() < MAX_TENSORS) else {
            record.unrecorded += 1;
            return;
        };
        let info = tensor.info();
        let handed = Duration::from_nanos(now.saturating_sub(captured));
        record.releases.push(Release {
            captured,
            latency: handed.saturating_sub(since),
            handed,
            reason: info.reason,
            whole: info.slices_received == info.slices,
            bytes,
        });
    }
}

/// One word for people and files.
#[must_use]
pub const fn notice_name(reason: NoticeReason) -> &'static str {
    match reason {
        NoticeReason::FrameRate => "rate",
        NoticeReason::FrameDeadline => "deadline",
        NoticeReason::FrameBusy => "server-busy",
        NoticeReason::FrameSuperseded => "superseded",
        NoticeReason::FrameApplication => "application",
        NoticeReason::TensorDeadline => "abandoned-deadline",
        NoticeReason::TensorSuperseded => "abandoned-superseded",
        NoticeReason::TensorApplication => "abandoned-application",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use tensorwire_protocol::wire::FrameNumber;
    use tensorwire_protocol::{Config, OutgoingTensor, Session, Time};

    use super::*;
    use crate::stand_in;

    /// What a cloud's session releases of a tensor captured at `captured`.
    fn received(bytes: u32, captured: u64) -> ReceivedTensor {
        let slices = content::tensor(bytes as usize, captured).unwrap();
        let config = Config::new(stand_in::format(bytes).unwrap().slice_count());
        let mut edge = Session::new(config.clone(), Time::ZERO).unwrap();
        let mut cloud = Session::new(config, Time::ZERO).unwrap();
        let tensor = OutgoingTensor {
            frame: FrameNumber(0),
            captured: Time::ZERO,
            step: 0,
            slices,
        };
        edge.send_tensor(Time::ZERO, tensor).unwrap();
        let mut buffer = Vec::new();
        while edge.poll_transmit(Time::ZERO, &mut buffer).is_some() {
            cloud.handle_datagram(Time::ZERO, &buffer).unwrap();
        }
        loop {
            if let Event::Tensor(tensor) = cloud.poll_event().unwrap() {
                return tensor;
            }
        }
    }

    fn stand_in(ledger: &Ledger) -> (StandIn, String) {
        let stream = stand_in::describe(&stand_in::format(1_000).unwrap()).unwrap();
        let record = ledger.open(&stream).unwrap();
        let stand_in = StandIn {
            clock: Clock::start(),
            service: Duration::ZERO,
            record,
        };
        (stand_in, stream.split)
    }

    #[test]
    fn latency_is_counted_from_the_stamp_to_the_release() {
        let ledger = Ledger::default();
        let (handler, split) = stand_in(&ledger);
        let since = Duration::from_millis(3);
        handler.write_down(&received(1_000, 5_000_000), 30_000_000, since);
        let record = ledger.record(&split).unwrap();
        let [release] = record.releases[..] else {
            panic!("{record:?}")
        };
        assert_eq!(release.handed, Duration::from_millis(25));
        assert_eq!(release.latency, Duration::from_millis(22));
        assert!(release.whole && release.bytes == 1_000 && record.damaged == 0);
    }

    #[test]
    fn what_is_not_a_stand_in_is_refused_and_no_name_serves_twice() {
        let ledger = Ledger::default();
        let opener = StandInOpener::new(Clock::start(), Duration::ZERO, ledger);
        let mut stream = stand_in::describe(&stand_in::format(1_000).unwrap()).unwrap();
        assert!(opener.open(&stream).is_ok());
        assert!(opener.open(&stream).is_err());
        stream.split = "add_2".to_owned();
        let refused = opener.open(&stream).err().unwrap();
        assert!(refused.reason.contains("--stand-in"), "{refused:?}");
    }

    #[test]
    fn notices_are_counted_by_reason() {
        let ledger = Ledger::default();
        let (mut handler, split) = stand_in(&ledger);
        let skipped = |reason, count| Event::FramesSkipped {
            reason,
            first: FrameNumber(0),
            count,
        };
        handler.observe(&skipped(NoticeReason::FrameRate, 3));
        handler.observe(&skipped(NoticeReason::FrameRate, 2));
        handler.observe(&skipped(NoticeReason::FrameBusy, 1));
        let notices = ledger.record(&split).unwrap().notices;
        assert_eq!(notices, BTreeMap::from([("rate", 5), ("server-busy", 1)]));
    }
}
