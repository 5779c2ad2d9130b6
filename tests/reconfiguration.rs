//! A stream that is set up anew between the same endpoints goes on with what is known of path and clock.

use std::time::Duration;

use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::{
    AdaptiveRate, Cipher, Config, ConfigError, Protection, RateControl, Secrets, Session, Time,
};
use tensorwire_tests::{
    CLOUD_SECRET, EDGE_SECRET, Pair, Path, configs, outgoing, protected, released, slices, stream,
};

fn config() -> Config {
    stream(40, |config| {
        config.rate = RateControl::Adaptive(AdaptiveRate::default());
        config.retransmission = true;
    })
}

fn streamed() -> Pair {
    let link = LinkConfig {
        loss: LossModel::independent(0.05).unwrap(),
        delay: Duration::from_millis(20),
        rate: Some(8_000_000),
        seed: 4,
        ..LinkConfig::default()
    };
    let (edge, cloud) = protected(configs(config()), Cipher::Aes128Gcm);
    let mut pair = Pair::of(edge, cloud, Path::symmetric(link));
    for frame in 0..150 {
        let tensor = outgoing(frame, pair.edge_now(), slices(&[300; 40], frame));
        let _ = pair.edge.send_tensor(pair.edge_now(), tensor);
        pair.run_for(Duration::from_millis(33));
    }
    pair
}

/// The next session's configuration: secrets of its own, and another shape of stream.
fn next(send: u8, receive: u8) -> Config {
    let mut config = config();
    config.slices = 10;
    config.deadline = Duration::from_millis(60);
    let secrets = Secrets::new(Cipher::ChaCha20Poly1305, [send; 32], [receive; 32]);
    config.protection = Protection::Protected(secrets.with_entropy([send ^ 0x55; 32]));
    config
}

#[test]
fn what_was_known_of_the_path_is_known_at_once() {
    let pair = streamed();
    let (now, old) = (pair.edge_now(), &pair.edge);
    let new = Session::new_on_path_of(next(1, 2), now, old).unwrap();
    assert_eq!(new.rtt(), old.rtt());
    assert_eq!(new.least_rtt(now), old.least_rtt(now));
    assert_eq!(new.loss(), old.loss());
    assert_eq!(new.current_path(), old.current_path());
    let (path, before) = (new.path(now), old.path(now));
    assert!(path.bottleneck.is_some());
    assert_eq!(path.bottleneck, before.bottleneck);
    assert_eq!(path.rate, before.rate);
    assert_eq!(path.window, before.window);
    assert_eq!(path.in_flight, 0);

    let fresh = Session::new(next(1, 2), now).unwrap();
    assert_ne!(fresh.path(now).rate, before.rate);
    assert_eq!(new.stats().datagrams_sent, 0);
}

#[test]
fn the_new_stream_works_from_its_first_tensor() {
    let mut pair = streamed();
    let (edge, cloud) = configs(next(1, 2));
    let (now, mut cloud) = (pair.edge_now(), cloud);
    cloud.protection = next(2, 1).protection;
    let new_edge = Session::new_on_path_of(edge, now, &pair.edge).unwrap();
    let new_cloud = Session::new_on_path_of(cloud, pair.cloud_now(), &pair.cloud).unwrap();
    (pair.edge, pair.cloud) = (new_edge, new_cloud);
    pair.cloud_events.clear();
    for frame in 0..30 {
        let tensor = outgoing(frame, pair.edge_now(), slices(&[300; 10], frame));
        pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
        pair.run_for(Duration::from_millis(33));
    }
    let tensors = released(pair.cloud_events.drain(..).map(|(_, event)| event));
    assert!(tensors.len() >= 28, "{}", tensors.len());
    // 3 kB at 8 Mbit/s and 20 ms: the very first keeps a deadline of 60 ms by a clock that is known.
    let first = tensors[0].info();
    assert_eq!(first.id.0, 0);
    let took = first.released - first.captured;
    assert!(took <= Duration::from_millis(30), "{took:?}");
}

#[test]
fn a_secret_of_the_old_session_is_refused() {
    let pair = streamed();
    let now = pair.edge_now();
    for (send, receive) in [
        (EDGE_SECRET, [7; 32]),
        ([7; 32], CLOUD_SECRET),
        (EDGE_SECRET, CLOUD_SECRET),
    ] {
        let mut config = config();
        let secrets = Secrets::new(Cipher::Aes128Gcm, send, receive);
        config.protection = Protection::Protected(secrets);
        let made = Session::new_on_path_of(config, now, &pair.edge);
        assert_eq!(made.err(), Some(ConfigError::SecretsReused));
    }
    let mut config = config();
    let same = Secrets::new(Cipher::Aes128Gcm, [7; 32], [7; 32]);
    config.protection = Protection::Protected(same);
    let made = Session::new(config, now);
    assert_eq!(made.err(), Some(ConfigError::SymmetricSecrets));
}

#[test]
fn a_session_can_be_protected_until_its_first_datagram() {
    let secrets = |send, receive| Secrets::new(Cipher::Aes128Gcm, [send; 32], [receive; 32]);
    let (edge, cloud) = configs(config());
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
    let same = edge.protect(secrets(1, 1));
    assert_eq!(same, Err(ConfigError::SymmetricSecrets));
    edge.protect(secrets(1, 2)).unwrap();
    cloud.protect(secrets(2, 1)).unwrap();
    let mut buffer = Vec::new();
    assert!(edge.poll_transmit(Time::ZERO, &mut buffer).is_some());
    cloud.handle_datagram(Time::ZERO, &buffer).unwrap();
    for session in [&mut edge, &mut cloud] {
        assert_eq!(session.protect(secrets(3, 4)), Err(ConfigError::Begun));
    }
}

#[test]
fn secrets_do_not_show() {
    let config = next(0xAB, 0xCD);
    let session = Session::new(config, Time::ZERO).unwrap();
    let shown = format!("{session:?}");
    assert!(shown.contains("Aes128Gcm") || shown.contains("ChaCha20Poly1305"));
    for byte in [
        "171, 171, 171",
        "205, 205, 205",
        "abab",
        "cdcd",
        "254, 254, 254",
    ] {
        assert!(!shown.contains(byte), "{byte}");
    }
}
