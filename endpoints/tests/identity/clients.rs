//! Whom a cloud lets in.

use rcgen::ExtendedKeyUsagePurpose;
use tensorwire_endpoints::identity::{
    Clients, CloudIdentity, EdgeIdentity, Identity, Name, Token, Tokens, Trust,
};

use crate::authority::{Authority, expired, only, params};
use crate::{Running, connect, refused};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A cloud, and the edge that knows it.
async fn cloud(change: impl FnOnce(CloudIdentity) -> CloudIdentity) -> (Running, EdgeIdentity) {
    let identity = change(CloudIdentity::for_this_run().unwrap());
    let edge = EdgeIdentity::pinned(identity.fingerprint());
    (Running::start(identity).await, edge)
}

#[tokio::test]
async fn a_token_lets_in_and_names_whose_it_is() {
    let (one, other) = (Token::random().unwrap(), Token::random().unwrap());
    let tokens = Tokens::new()
        .with(name("cam-1"), one.digest())
        .with(name("cam-2"), other.digest());
    let (mut cloud, edge) = cloud(|cloud| cloud.with_tokens(tokens)).await;
    for (token, name) in [(one, "cam-1"), (other, "cam-2")] {
        let secret = String::from_utf8(token.reveal().to_vec()).unwrap();
        let edge = edge.clone().with_token(token);
        let shown = format!("{edge:?}");
        assert!(!shown.contains(&secret[3..]), "{shown}");
        connect(cloud.address, &edge).await.unwrap().close().await;
        let notice = cloud.notice().await;
        let text = format!("{notice:?}");
        assert!(text.contains(name) && !text.contains(&secret), "{text}");
        cloud.notice().await;
    }
}

#[tokio::test]
async fn without_the_right_token_nobody_is_let_in() {
    let token = Token::random().unwrap();
    let tokens = Tokens::new().with(name("cam-1"), token.digest());
    let (mut cloud, edge) = cloud(|cloud| cloud.with_tokens(tokens)).await;
    let error = refused(cloud.address, &edge).await;
    assert!(
        error.contains("give --token-file") && !error.contains("--client-cert"),
        "{error}"
    );
    assert!(cloud.refused().await.contains("wants to know who connects"));

    let wrong = Token::random().unwrap();
    let secret = String::from_utf8(wrong.reveal().to_vec()).unwrap();
    let error = refused(cloud.address, &edge.clone().with_token(wrong)).await;
    assert!(
        error.contains("the token is not one that this cloud knows"),
        "{error}"
    );
    let reason = cloud.refused().await;
    assert!(
        reason.contains("the token") && !reason.contains(&secret),
        "{reason}"
    );

    // Nobody else may learn it.
    let careless = EdgeIdentity::new(Trust::Any).with_token(token);
    let error = refused(cloud.address, &careless).await;
    assert!(error.contains("wants to know who connects"), "{error}");

    // A certificate is no token.
    let certificate = Identity::for_this_run().unwrap();
    let error = refused(cloud.address, &edge.with_certificate(certificate)).await;
    assert!(error.contains("give --token-file"), "{error}");
}

#[tokio::test]
async fn a_cloud_that_lets_anybody_in_asks_for_nothing() {
    let (mut cloud, edge) = cloud(|cloud| cloud).await;
    let edge = edge
        .with_token(Token::random().unwrap())
        .with_certificate(Identity::for_this_run().unwrap());
    connect(cloud.address, &edge).await.unwrap().close().await;
    assert_eq!(cloud.opened_by().await, None);
}

#[tokio::test]
async fn a_pinned_certificate_lets_in_and_names_its_holder() {
    let authority = Authority::new();
    let certificate = authority.sign(&params("cam-1.example", None), false);
    let certificate = certificate.identity();
    let clients = Clients::default()
        .with_pin(Identity::for_this_run().unwrap().fingerprint())
        .with_pin(certificate.fingerprint());
    let (mut cloud, edge) = cloud(|cloud| cloud.with_clients(clients)).await;
    let known = edge.clone().with_certificate(certificate);
    connect(cloud.address, &known).await.unwrap().close().await;
    assert_eq!(cloud.opened_by().await.as_deref(), Some("cam-1.example"));
    cloud.notice().await;

    let error = refused(cloud.address, &edge).await;
    assert!(
        error.contains("give --client-cert and --client-key"),
        "{error}"
    );
    assert_eq!(cloud.refused().await, "it shows no certificate");

    let unknown = Identity::for_this_run().unwrap();
    let error = refused(cloud.address, &edge.with_certificate(unknown)).await;
    assert!(error.contains("does not take our certificate"), "{error}");
    assert!(error.contains("--client-pin"), "{error}");
    let reason = cloud.refused().await;
    assert!(reason.contains("not pinned here"), "{reason}");
}

#[tokio::test]
async fn an_authority_lets_in_whom_it_has_signed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let clients = Clients::default();
    let clients = clients.with_authorities(&authority.root()).unwrap();
    let (mut cloud, edge) = cloud(|cloud| cloud.with_clients(clients)).await;
    let cam = || params("cam-2.example", None);
    let for_edges = only(cam(), ExtendedKeyUsagePurpose::ClientAuth);
    for params in [cam(), for_edges] {
        let certificate = authority.sign(&params, true).identity();
        let edge = edge.clone().with_certificate(certificate);
        connect(cloud.address, &edge).await.unwrap().close().await;
        assert_eq!(cloud.opened_by().await.as_deref(), Some("cam-2.example"));
        cloud.notice().await;
    }

    let for_clouds = only(cam(), ExtendedKeyUsagePurpose::ServerAuth);
    for (certificate, to_edge, at_cloud) in [
        (
            other.sign(&cam(), true),
            "does not take our certificate",
            "no authority vouches for its certificate, or",
        ),
        (
            authority.sign(&cam(), false),
            "does not take our certificate",
            "no authority vouches",
        ),
        (
            authority.sign(&expired(cam()), true),
            "has expired: renew it",
            "has expired",
        ),
        (
            authority.sign(&for_clouds, true),
            "does not take our certificate",
            "is not taken",
        ),
    ] {
        let edge = edge.clone().with_certificate(certificate.identity());
        let error = refused(cloud.address, &edge).await;
        assert!(error.contains(to_edge), "{error}");
        let reason = cloud.refused().await;
        assert!(reason.contains(at_cloud), "{reason}");
    }
}

#[tokio::test]
async fn where_both_are_taken_either_will_do_but_no_wrong_certificate() {
    let token = Token::random().unwrap();
    let certificate = Identity::for_this_run().unwrap();
    let tokens = Tokens::new().with(name("by-token"), token.digest());
    let clients = Clients::default().with_pin(certificate.fingerprint());
    let both = |cloud: CloudIdentity| cloud.with_tokens(tokens).with_clients(clients);
    let (mut cloud, edge) = cloud(both).await;
    let by_token = edge.clone().with_token(token);
    connect(cloud.address, &by_token)
        .await
        .unwrap()
        .close()
        .await;
    assert_eq!(cloud.opened_by().await.as_deref(), Some("by-token"));
    cloud.notice().await;
    let by_certificate = edge.clone().with_certificate(certificate);
    connect(cloud.address, &by_certificate)
        .await
        .unwrap()
        .close()
        .await;
    assert!(
        cloud
            .opened_by()
            .await
            .unwrap()
            .contains("tensorwire.invalid")
    );
    cloud.notice().await;
    let error = refused(cloud.address, &edge).await;
    assert!(error.contains("--token-file or --client-cert"), "{error}");
    cloud.refused().await;
    let wrong = by_token.with_certificate(Identity::for_this_run().unwrap());
    let error = refused(cloud.address, &wrong).await;
    assert!(error.contains("does not take our certificate"), "{error}");
}
