//! How often sessions allocate in the steady state, with FEC and losses: for no packet, once warm.
//!
//! What is allocated for a tensor: at the receiver its bytes and the places of its slices, which are
//! handed to the application; at the sender the plan of its packets, when it is accepted.
//!
//! A test and no bench, since what it counts does not depend on the machine. It stands here because a
//! counting allocator takes `unsafe`, which the other packages forbid.
#![expect(clippy::expect_used, reason = "a test may fail")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use bytes::Bytes;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use tensorwire_protocol::wire::{Ecn, FrameNumber};
use tensorwire_protocol::{
    Cipher, Config, Event, OutgoingTensor, PathId, Protection, Redundancy, Secrets, Session,
    Slices, Time,
};

/// The system's allocator, which counts for each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe to implement; every call goes to the system's"
)]
// SAFETY: each method passes its arguments on to the system's allocator and returns what that returned.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations that a call makes are added to a counter.
fn counting<T>(counter: &mut u64, call: impl FnOnce() -> T) -> T {
    let before = ALLOCATIONS.get();
    let result = call();
    *counter += ALLOCATIONS.get() - before;
    result
}

/// Slices of a tensor and bytes of a slice: four fit into a packet.
const SLICES: u16 = 64;
const SLICE: u32 = 280;
const PACKETS: u64 = 16;
/// Tensors until everything has grown to its size, last of all the cloud's record of its 4,096 newest
/// packets; and those counted.
const WARM: u64 = 4_500;
const COUNTED: u64 = 1_000;

/// Allocations of the two sides.
#[derive(Debug, Default)]
struct Counts {
    /// Of the edge in accepting tensors: planning their packets.
    accepting: u64,
    /// Of the edge in everything else: sending, timeouts, reports.
    sending: u64,
    /// Of the cloud.
    receiving: u64,
    /// Packets that arrived at the cloud.
    packets: u64,
    /// Tensors that it released.
    tensors: u64,
    /// Keys that the edge went to.
    key_updates: u64,
}

/// The same configuration on both sides, protected or not.
fn sessions(mut config: Config, cipher: Option<Cipher>) -> [Session; 2] {
    [(1, 2), (2, 1)].map(|(send, receive)| {
        if let Some(cipher) = cipher {
            let secrets = Secrets::new(cipher, [send; 32], [receive; 32]);
            config.protection = Protection::Protected(secrets.with_entropy([send; 32]));
            // So that keys change while allocations are counted.
            config.key_packets = 500;
        }
        Session::new(config.clone(), Time::ZERO).expect("in range")
    })
}

/// Streams a tensor every 35 ms with a quarter of parity, of whose packets this share is lost.
fn stream(loss: f64, retransmission: bool, cipher: Option<Cipher>) -> Counts {
    let mut config = Config::new(SLICES);
    config.redundancy = Redundancy::Fixed { ratio: 0.25 };
    config.retransmission = retransmission;
    let [mut edge, mut cloud] = sessions(config, cipher);
    let path = PathId::new(1, 1);
    let bytes = Bytes::from(vec![7; usize::from(SLICES) * SLICE as usize]);
    let ends = (1..=SLICES).map(|slice| u32::from(slice) * SLICE).collect();
    let slices = Slices::new(bytes, ends).expect("ends that ascend");
    let mut losses = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut is_lost = || f64::from(losses.next_u32()) < loss * f64::from(u32::MAX);
    let (mut counts, mut now, mut updates) = (Counts::default(), Time::ZERO, 0);
    let mut buffer = Vec::with_capacity(2_000);
    for number in 0..WARM + COUNTED {
        if number == WARM {
            counts = Counts::default();
            updates = edge.stats().key_updates;
        }
        let tensor = OutgoingTensor {
            frame: FrameNumber(number),
            captured: now,
            step: 0,
            slices: slices.clone(),
        };
        counting(&mut counts.accepting, || edge.send_tensor(now, tensor)).expect("accepted");
        for _ in 0..7 {
            while counting(&mut counts.sending, || edge.poll_transmit(now, &mut buffer)).is_some() {
                if !is_lost() {
                    let take = || cloud.handle_from(now, path, Ecn::NotEct, &mut buffer);
                    counting(&mut counts.receiving, take).expect("well formed");
                    counts.packets += 1;
                }
            }
            while counting(&mut counts.receiving, || {
                cloud.poll_transmit(now, &mut buffer)
            })
            .is_some()
            {
                if !is_lost() {
                    let take = || edge.handle_from(now, path, Ecn::NotEct, &mut buffer);
                    counting(&mut counts.sending, take).expect("well formed");
                }
            }
            now = now + Duration::from_millis(5);
            counting(&mut counts.sending, || edge.handle_timeout(now));
            counting(&mut counts.receiving, || cloud.handle_timeout(now));
            while counting(&mut counts.sending, || edge.poll_event()).is_some() {}
            while let Some(event) = counting(&mut counts.receiving, || cloud.poll_event()) {
                counts.tensors += u64::from(matches!(event, Event::Tensor(_)));
            }
        }
    }
    counts.key_updates = edge.stats().key_updates - updates;
    counts
}

/// Sending allocates nothing. Accepting a tensor does, by no more than this however many packets go out.
fn assert_sender(counts: &Counts) {
    assert_eq!(counts.sending, 0, "{counts:?}");
    assert!(counts.accepting <= 30 * COUNTED, "{counts:?}");
}

/// Without protection, and with either cipher.
const MODES: [Option<Cipher>; 3] = [
    None,
    Some(Cipher::Aes128Gcm),
    Some(Cipher::ChaCha20Poly1305),
];

#[test]
fn without_losses_only_what_is_handed_over_is_allocated() {
    for cipher in MODES {
        let counts = stream(0.0, false, cipher);
        assert_sender(&counts);
        assert_eq!(counts.tensors, COUNTED);
        assert!(counts.packets >= COUNTED * PACKETS * 5 / 4);
        // A tensor's bytes, and where its slices lie in them.
        assert_eq!(counts.receiving, 2 * COUNTED, "{counts:?}");
        let updates = if cipher.is_some() { 20 } else { 0 };
        assert!(counts.key_updates >= updates, "{counts:?}");
    }
}

#[test]
fn with_losses_only_what_is_handed_over_is_allocated() {
    for (retransmission, cipher) in [(false, None), (true, None), (true, MODES[1])] {
        let counts = stream(0.1, retransmission, cipher);
        assert_sender(&counts);
        assert!(counts.tensors >= COUNTED * 9 / 10, "{counts:?}");
        assert!(counts.packets >= COUNTED * PACKETS, "{counts:?}");
        // Room is made for as many bytes as the tensor before had: it does not suffice where that was
        // incomplete and this is not.
        assert!(counts.receiving >= 2 * counts.tensors, "{counts:?}");
        assert!(
            counts.receiving <= 2 * counts.tensors + counts.tensors / 4,
            "{counts:?}"
        );
    }
}
