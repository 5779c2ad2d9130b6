//! Which cloud an edge takes for the right one.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::Cloud;
use tensorwire_endpoints::control::ALPN;
use tensorwire_endpoints::digest::Digest;
use tensorwire_endpoints::edge::{Pace, Reconnect};
use tensorwire_endpoints::identity::{
    CloudIdentity, EdgeIdentity, Identity, KnownClouds, Trust, TrustError, Verified,
};
use tensorwire_endpoints::stand_in::source::StandInSource;

use crate::authority::{Authority, expired, only, params};
use crate::{PATIENCE, Running, connect, in_process, mistrusted, opener, refused};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn the_pinned_cloud_and_no_other() {
    let (cloud, identity) = Running::open().await;
    let pinned = EdgeIdentity::pinned(identity.fingerprint());
    let edge = connect(cloud.address, &pinned).await.unwrap();
    assert_eq!(*edge.verified().unwrap(), Verified::Pinned);
    edge.close().await;

    let (mut impostor, other) = Running::open().await;
    let error = mistrusted(impostor.address, &pinned).await;
    assert!(matches!(error, TrustError::Pin(found) if found == other.fingerprint()));
    let words = error.to_string();
    assert!(
        words.contains("--print-pin") && words.contains("somebody is between"),
        "{words}"
    );
    let reason = impostor.refused().await;
    assert!(
        reason.contains("does not take this cloud's certificate"),
        "{reason}"
    );
}

#[tokio::test]
async fn with_two_pins_a_cloud_can_change_its_certificate() {
    let ((old, before), (new, after)) = (Running::open().await, Running::open().await);
    let pins = vec![before.fingerprint(), after.fingerprint()];
    let edge = EdgeIdentity::new(Trust::Pins(pins));
    for cloud in [&old, &new] {
        connect(cloud.address, &edge).await.unwrap().close().await;
    }
    let (third, _) = Running::open().await;
    mistrusted(third.address, &edge).await;
    mistrusted(old.address, &EdgeIdentity::new(Trust::Pins(vec![]))).await;
}

#[tokio::test]
async fn a_cloud_is_remembered_from_the_first_time_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state/known-clouds");
    let first_use = || {
        let trust = Trust::first_use(KnownClouds::at(&file), "cloud.example:4433");
        EdgeIdentity::new(trust.unwrap())
    };
    let (cloud, identity) = Running::open().await;
    let edge = connect(cloud.address, &first_use()).await.unwrap();
    let first = Verified::First {
        fingerprint: identity.fingerprint(),
        file: file.clone(),
    };
    assert_eq!(*edge.verified().unwrap(), first);
    edge.close().await;
    let edge = connect(cloud.address, &first_use()).await.unwrap();
    assert_eq!(*edge.verified().unwrap(), Verified::Known);
    edge.close().await;

    // Another cloud at the same place.
    let (changed, other) = Running::open().await;
    let error = mistrusted(changed.address, &first_use()).await;
    let TrustError::Changed {
        known, found, line, ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(
        (*known, *found),
        (identity.fingerprint(), other.fingerprint())
    );

    // What the message says to do if the change is right.
    let text = std::fs::read_to_string(&file).unwrap();
    let kept = text.lines().enumerate().filter(|(at, _)| at + 1 != *line);
    let kept: Vec<&str> = kept.map(|(_, line)| line).collect();
    std::fs::write(&file, kept.join("\n")).unwrap();
    let edge = connect(changed.address, &first_use()).await.unwrap();
    assert!(matches!(edge.verified().unwrap(), Verified::First { .. }));
    edge.close().await;
    mistrusted(cloud.address, &first_use()).await;
}

#[tokio::test]
async fn a_damaged_list_of_known_clouds_is_our_fault_not_the_clouds() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("known-clouds");
    std::fs::write(&file, "cloud.example:4433\n").unwrap();
    let trust = Trust::first_use(KnownClouds::at(&file), "other.example:4433").unwrap();
    let (cloud, _) = Running::open().await;
    let error = mistrusted(cloud.address, &EdgeIdentity::new(trust)).await;
    assert!(matches!(error, TrustError::KnownClouds(_)), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("line 1 is not `HOST:PORT SHA256`"),
        "{error}"
    );
}

#[tokio::test]
async fn an_authority_vouches_for_a_name_and_an_address() {
    let authority = Authority::new();
    for (params, name) in [
        (params("cloud.example", None), "cloud.example"),
        (params("loopback", Some(LOOPBACK)), "127.0.0.1"),
    ] {
        let identity = authority.sign(&params, true).identity();
        let cloud = Running::start(CloudIdentity::new(identity)).await;
        let trust = Trust::authorities(&authority.root(), name).unwrap();
        let edge = connect(cloud.address, &EdgeIdentity::new(trust))
            .await
            .unwrap();
        assert_eq!(*edge.verified().unwrap(), Verified::Authority);
        edge.close().await;
    }
}

#[tokio::test]
async fn an_authority_does_not_vouch_for_what_it_has_not_signed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let named = params("cloud.example", None);
    let right = authority.sign(&named, true).identity();
    let old = authority.sign(&expired(named.clone()), true).identity();
    let alone = authority.sign(&named, false).identity();
    let for_edges = only(named.clone(), ExtendedKeyUsagePurpose::ClientAuth);
    let for_edges = authority.sign(&for_edges, true).identity();
    let strange = other.sign(&named, true).identity();
    let own = Identity::for_this_run().unwrap();
    for (identity, name, words) in [
        (
            &right,
            "else.example",
            "not for the name else.example but for cloud.example; connect by",
        ),
        (&right, "else.example", "--server-name"),
        (&right, "127.0.0.1", "not for the name 127.0.0.1"),
        (
            &old,
            "cloud.example",
            "has expired; whoever runs the cloud has to renew it",
        ),
        (
            &alone,
            "cloud.example",
            "does the cloud send the certificates of its issuers too",
        ),
        (&strange, "cloud.example", "but that has not signed it"),
        (
            &for_edges,
            "cloud.example",
            "the cloud's certificate does not hold",
        ),
        (&own, "cloud.example", "no authority in "),
    ] {
        let cloud = Running::start(CloudIdentity::new(identity.clone())).await;
        let trust = Trust::authorities(&authority.root(), name).unwrap();
        let error = mistrusted(cloud.address, &EdgeIdentity::new(trust)).await;
        assert!(matches!(error, TrustError::Authority(_)), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// What has the address of a cloud that went away is not the cloud.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_does_not_come_back_to_another_cloud() {
    let (cloud, identity) = Running::open().await;
    let address = cloud.address;
    let pinned = EdgeIdentity::pinned(identity.fingerprint());
    let mut edge = connect(address, &pinned).await.unwrap();
    edge.set_reconnect(Reconnect::For(PATIENCE));
    let streaming = tokio::spawn(async move {
        let source = Arc::new(StandInSource::new(2_000, u64::MAX));
        let pace = Pace {
            interval: Duration::from_millis(20),
            in_flight: 64,
        };
        edge.stream(source, pace, std::future::pending(), drop)
            .await
    });
    drop(cloud);
    let other = CloudIdentity::for_this_run().unwrap();
    let fingerprint = other.fingerprint();
    let binding = async {
        loop {
            let cloud = Cloud::bind(in_process::config(address), other.clone(), Clock::start());
            match cloud.await {
                Ok(cloud) => break cloud,
                // The first cloud has yet to see its edges off.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let impostor = tokio::time::timeout(PATIENCE, binding).await;
    let impostor = impostor.expect("the port is free in time");
    let (notices, _inbox) = Cloud::notices();
    tokio::spawn(impostor.serve(Arc::new(opener()), notices, std::future::pending()));
    let streamed = tokio::time::timeout(PATIENCE, streaming).await;
    let error = streamed
        .expect("in time")
        .unwrap()
        .expect_err("the stream ends");
    let refused = error.downcast_ref::<TrustError>();
    assert!(
        matches!(refused, Some(TrustError::Pin(found)) if *found == fingerprint),
        "{error:#}"
    );
}

#[tokio::test]
async fn any_cloud_is_taken_where_that_is_asked_for() {
    let (cloud, _) = Running::open().await;
    let any = EdgeIdentity::new(Trust::Any);
    let edge = connect(cloud.address, &any).await.unwrap();
    assert_eq!(*edge.verified().unwrap(), Verified::Unchecked);
    edge.close().await;
}

/// Whoever shows the certificate of another without having its key is no cloud at all, whatever is checked
/// of the certificate.
#[tokio::test]
async fn a_certificate_without_its_key_is_worth_nothing() {
    let certified = || rcgen::generate_simple_self_signed(["x.invalid".to_owned()]).unwrap();
    let (stolen, own) = (certified(), certified());
    let stolen = CertificateDer::from(stolen.cert.der().to_vec());
    let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let certified = CertifiedKey::new(vec![stolen.clone()], key);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    let impostor = quinn::Endpoint::server(config, in_process::local()).unwrap();
    let address = impostor.local_addr().unwrap();
    tokio::spawn(async move {
        while let Some(incoming) = impostor.accept().await {
            assert!(incoming.await.is_err(), "an edge believes the impostor");
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let clouds = KnownClouds::at(folder.path().join("known-clouds"));
    for trust in [
        Trust::Pins(vec![Digest::of(&stolen)]),
        Trust::first_use(clouds.clone(), "cloud.example:4433").unwrap(),
        Trust::Any,
    ] {
        let error = refused(address, &EdgeIdentity::new(trust)).await;
        assert!(
            error.contains("does not prove that it has the key"),
            "{error}"
        );
    }
    // It is not remembered either.
    assert!(!clouds.path().exists());
}
