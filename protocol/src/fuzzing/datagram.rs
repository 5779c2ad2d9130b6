//! One datagram: decoded, encoded again, and handed to a session.

use std::time::Duration;

use super::{assert_bounded, drain, slices};
use crate::wire::{FrameNumber, Message, open, seal};
use crate::{Config, OutgoingTensor, Session, Time};

const CRC_LEN: usize = 4;

/// Takes the bytes as a datagram: as they are, and with form, version and CRC-32 put right, so that
/// the bodies are reached.
///
/// # Panics
/// If a decoded message is not encoded to the same bytes, or a session breaks its limits.
pub fn datagram(data: &[u8]) {
    check(data);
    let mut sealed = data
        .get(..data.len().saturating_sub(CRC_LEN))
        .unwrap_or_default()
        .to_vec();
    if let Some(first) = sealed.first_mut() {
        *first = *first & 0x0F | 0x90;
    }
    seal(&mut sealed);
    check(&sealed);
}

fn check(datagram: &[u8]) {
    let Ok((header, body)) = open(datagram, None) else {
        return;
    };
    let decoded = Message::decode(&header, body);
    if let Ok(message) = decoded {
        let mut again = Vec::new();
        message.encode(&mut again, header.connection, header.packet_number);
        assert_eq!(again, datagram, "{header} {message}");
        assert_eq!(open(&again, None), Ok((header, body)));
    }

    let mut config = Config::new(300);
    config.local_connection = header.connection;
    let now = Time::from_millis(100);
    let Ok(mut session) = Session::new(config, now) else {
        return;
    };
    // A tensor that reports and results can be about.
    if let Some(slices) = slices((0..300).map(|i| i % 3), 0) {
        let frame = FrameNumber(0);
        let tensor = OutgoingTensor {
            frame,
            captured: now,
            step: 0,
            slices,
        };
        let _ = session.send_tensor(now, tensor);
    }
    drain(&mut session, now, drop);
    let handled = session.handle_datagram(now, datagram);
    assert_eq!(handled.is_ok(), decoded.is_ok());
    assert_eq!(session.stats().refused.total(), u64::from(handled.is_err()));
    assert_bounded(&session);
    drain(&mut session, now, drop);
    drain(&mut session, now + Duration::from_secs(60), drop);
    assert_eq!(session.buffered_bytes(), 0);
}
