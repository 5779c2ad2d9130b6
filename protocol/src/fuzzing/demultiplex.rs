//! What a socket hands over at once, told apart.

use super::Input;
use crate::wire::{Form, connection_of, datagrams, is_tsp, open};

/// Takes two bytes as a stride, and the rest as a buffer into which the system has joined datagrams.
///
/// # Panics
/// If a byte is lost or out of its place, a datagram is too long, or one that is TSP is told to be
/// anything else.
pub fn demultiplex(data: &[u8]) {
    let mut input = Input(data);
    let stride = input.below(1 << 16);
    let buffer = input.bytes(data.len());
    let (mut place, mut count) = (0, 0);
    for (form, datagram) in datagrams(buffer, stride) {
        let end = place + datagram.len();
        assert_eq!(buffer.get(place..end), Some(datagram));
        assert!(datagram.len() == stride || end == buffer.len());
        assert_eq!(form, Form::of(datagram));
        assert_eq!(form == Form::Tsp, is_tsp(datagram));
        if form != Form::Tsp {
            assert_eq!(connection_of(datagram), None);
            assert!(open(datagram, None).is_err());
        }
        place = end;
        count += 1;
    }
    assert_eq!(place, buffer.len());
    assert!(count >= 1, "an empty datagram counts, too");
}
