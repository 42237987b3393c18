//! Keys and certificates: what is on disk, what is issued, and what is refused.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use common::{ErrorCode, SlaveId, UserError, units::Duration};
use rcgen::{CertificateParams, KeyPair, SanType};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};
use support::{Master, slave_id, within};
use transport::{
    Authority, EnrolmentKey, HandshakeError, IdentityError, PeerIdentity, SlaveIdentity, connect, testing,
};

const HOUR: Duration = Duration::from_secs(3_600);

fn modes(folder: &Path) -> Vec<(String, u32)> {
    let mut modes: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().permissions().mode() & 0o777)
        })
        .collect();
    modes.sort();
    modes
}

/// Lets a dialler with the identity try; what the master says of it.
async fn handshake_of(master: &Master, identity: &SlaveIdentity) -> Result<PeerIdentity, HandshakeError> {
    let address = master.address().to_string();
    let accept = async { master.listener.accept().await.handshake().await };
    let (dialled, accepted) =
        within(async { tokio::join!(connect(&address, master.authority.pin(), Some(identity)), accept) }).await;
    if accepted.is_err() {
        // In TLS 1.3 the dialler learns it only when it waits for the first message.
        let error = within(dialled.unwrap().receiver.next()).await.unwrap_err();
        assert!(error.is_identity_refused(), "{error:?}");
        assert!(UserError::from(&error).is(ErrorCode::IdentityRefused));
    }
    accepted.map(|connection| connection.peer)
}

#[tokio::test]
async fn a18_the_masters_files_are_private_and_survive_a_reload() {
    let master = Master::start().await;
    let folder = master.folder.path();
    let expected = ["ca.crt", "ca.key", "server.crt", "server.key"].map(|name| (name.to_owned(), 0o600));
    assert_eq!(modes(folder), expected);
    let before: Vec<_> = expected.iter().map(|(name, _)| fs::read(folder.join(name)).unwrap()).collect();
    let again = Authority::load_or_create(folder).unwrap();
    assert_eq!(again.pin(), master.authority.pin());
    let after: Vec<_> = expected.iter().map(|(name, _)| fs::read(folder.join(name)).unwrap()).collect();
    assert_eq!(before, after);
    // What the reloaded CA issues is accepted by the master that still runs.
    let identity = testing::enrolled_slave(&again, slave_id(1), "s1", "").unwrap();
    assert_eq!(handshake_of(&master, &identity).await.unwrap(), PeerIdentity::Slave(slave_id(1)));
}

#[test]
fn a3_the_folder_is_made_for_its_owner_alone() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("a/b");
    Authority::load_or_create(&folder).unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn b18_a_damaged_exposed_or_incomplete_authority_is_refused_and_never_replaced() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 4] = [
        ("ca.key", |folder| fs::set_permissions(folder.join("ca.key"), PermissionsExt::from_mode(0o640)).unwrap()),
        ("ca.key", |folder| fs::write(folder.join("ca.key"), "garbage").unwrap()),
        ("ca.key", |folder| fs::remove_file(folder.join("ca.key")).unwrap()),
        ("ca.crt", |folder| {
            let other = tempfile::tempdir().unwrap();
            Authority::load_or_create(other.path()).unwrap();
            fs::copy(other.path().join("ca.crt"), folder.join("ca.crt")).unwrap();
        }),
    ];
    for (named, damage) in cases {
        let folder = tempfile::tempdir().unwrap();
        Authority::load_or_create(folder.path()).unwrap();
        damage(folder.path());
        let before = modes(folder.path());
        let error = UserError::from(Authority::load_or_create(folder.path()).unwrap_err());
        assert!(error.is(ErrorCode::DataUnusable) && error.sentence.contains(named), "{error}");
        assert_eq!(modes(folder.path()), before);
    }
}

#[test]
fn a10_a_lost_ca_certificate_or_server_identity_is_made_anew_under_the_same_pin() {
    let folder = tempfile::tempdir().unwrap();
    let pin = Authority::load_or_create(folder.path()).unwrap().pin();
    for lost in ["ca.crt", "server.crt", "server.key"] {
        fs::remove_file(folder.path().join(lost)).unwrap();
        assert_eq!(Authority::load_or_create(folder.path()).unwrap().pin(), pin, "{lost}");
    }
    fs::write(folder.path().join("server.crt"), "garbage").unwrap();
    assert_eq!(Authority::load_or_create(folder.path()).unwrap().pin(), pin);
}

#[tokio::test]
async fn a18_a_slaves_identity_is_private_and_works_after_a_reload() {
    let master = Master::start().await;
    let folder = tempfile::tempdir().unwrap();
    assert!(SlaveIdentity::load(folder.path()).unwrap().is_none());
    let made = testing::enrolled_slave(&master.authority, slave_id(7), "s 7 \"é\"", "[::1]:7420").unwrap();
    made.save(folder.path()).unwrap();
    made.save(folder.path()).unwrap();
    assert_eq!(modes(folder.path()), [("identity.toml".to_owned(), 0o600)]);
    let loaded = SlaveIdentity::load(folder.path()).unwrap().unwrap();
    assert_eq!((loaded.id, loaded.name.as_str(), loaded.address()), (slave_id(7), "s 7 \"é\"", "[::1]:7420"));
    assert_eq!(loaded.pin(), master.authority.pin());
    let life = loaded.valid_until().unwrap().since(transport::clock::now());
    assert!(life > Duration::from_secs(3_500) && life <= HOUR, "{life}");
    assert_eq!(handshake_of(&master, &loaded).await.unwrap(), PeerIdentity::Slave(slave_id(7)));
    assert!(!format!("{loaded:?} {made:?}").contains("key"));

    let path = folder.path().join("identity.toml");
    let text = fs::read_to_string(&path).unwrap();
    for (changed, what) in [
        (text.replace("format = 1", "format = 2"), "format is 2"),
        (text.replace(&slave_id(7).to_string(), &slave_id(8).to_string()), "not for the slave"),
        (text[..text.len() / 2].to_owned(), "not an identity"),
        (String::new(), "missing field"),
    ] {
        fs::write(&path, changed).unwrap();
        let error = UserError::from(SlaveIdentity::load(folder.path()).unwrap_err());
        assert!(error.is(ErrorCode::DataUnusable) && error.sentence.contains(what), "{error}");
        assert!(!error.to_string().contains("BEGIN"), "{error}");
    }
    fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(matches!(SlaveIdentity::load(folder.path()), Err(IdentityError::Exposed { mode: 0o644, .. })));
}

#[test]
fn b5_a_request_that_is_not_signed_with_its_own_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(folder.path()).unwrap();
    let good = EnrolmentKey::generate().unwrap().request_der();
    authority.issue_slave(&good, slave_id(1), HOUR).unwrap();
    // The last byte is of the signature; those in the middle are of the key and the names.
    for place in (0..good.len()).step_by(7).chain([good.len() - 1]) {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        let result = authority.issue_slave(&bad, slave_id(1), HOUR);
        assert!(matches!(result, Err(IdentityError::Request(_))), "byte {place}: {result:?}");
    }
    for length in 0..good.len() {
        assert!(authority.issue_slave(&good[..length], slave_id(1), HOUR).is_err(), "cut to {length} bytes");
    }
    let other_kind = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let request = CertificateParams::default().serialize_request(&other_kind).unwrap();
    let error = authority.issue_slave(request.der(), slave_id(1), HOUR).unwrap_err();
    assert!(error.to_string().contains("P-256"), "{error}");
}

#[test]
fn a12_the_names_in_a_request_are_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(folder.path()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![
        SanType::URI(format!("ruche://slave/{}", slave_id(99)).try_into().unwrap()),
        SanType::DnsName("ruche-master".try_into().unwrap()),
    ];
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let request = params.serialize_request(&key).unwrap();
    let chain = authority.issue_slave(request.der(), slave_id(1), HOUR).unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(format!("{names:?}"), format!("[URI(\"ruche://slave/{}\")]", slave_id(1)));
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !leaf.is_ca());
}

#[test]
fn a8_an_answer_that_does_not_fit_the_key_the_id_or_the_pin_is_refused() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [ours, other] = folders.each_ref().map(|folder| Authority::load_or_create(folder.path()).unwrap());
    let complete = |change: fn(&mut Vec<Vec<u8>>), authority: &Authority, id: SlaveId| {
        let key = EnrolmentKey::generate().unwrap();
        let mut chain = authority.issue_slave(&key.request_der(), slave_id(1), HOUR).unwrap();
        change(&mut chain);
        key.complete(id, "s1".to_owned(), chain, "m:1".to_owned(), ours.pin())
    };
    complete(|_| (), &ours, slave_id(1)).unwrap();
    for (result, why) in [
        (complete(|_| (), &ours, slave_id(2)), "another ID"),
        (complete(|_| (), &other, slave_id(1)), "another CA"),
        (complete(|chain| chain.truncate(1), &ours, slave_id(1)), "no CA"),
        (complete(|chain| chain.clear(), &ours, slave_id(1)), "nothing"),
        (complete(|chain| chain.reverse(), &ours, slave_id(1)), "the wrong order"),
        (complete(|chain| chain[0] = vec![0x30; 100], &ours, slave_id(1)), "garbage"),
    ] {
        assert!(matches!(result, Err(IdentityError::Certificates(_))), "{why}: {result:?}");
    }
}

#[tokio::test]
async fn a5_a_slave_of_another_master_or_out_of_date_is_refused() {
    let master = Master::start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Authority::load_or_create(elsewhere.path()).unwrap();
    let foreign = testing::enrolled_slave(&other, slave_id(1), "s1", "").unwrap();
    assert!(matches!(handshake_of(&master, &foreign).await, Err(HandshakeError::Tls(_))));

    let key = EnrolmentKey::generate().unwrap();
    let chain = master.authority.issue_slave(&key.request_der(), slave_id(1), Duration::default()).unwrap();
    let expired = key.complete(slave_id(1), "s1".to_owned(), chain, String::new(), master.authority.pin()).unwrap();
    assert!(matches!(handshake_of(&master, &expired).await, Err(HandshakeError::Tls(_))));
    master.assert_serves().await;
}

#[tokio::test]
async fn a9_a_certificate_is_renewed_with_a_new_key_when_two_thirds_of_its_life_are_over() {
    let master = Master::start().await;
    let now = transport::clock::now();
    let identity = testing::enrolled_slave(&master.authority, slave_id(3), "s3", "m:1").unwrap();
    assert!(!identity.renewal_due(common::Timestamp(now.0 + 2_300 * 1_000_000)));
    assert!(identity.renewal_due(common::Timestamp(now.0 + 2_500 * 1_000_000)));
    let key = EnrolmentKey::generate().unwrap();
    let chain = master.authority.issue_slave(&key.request_der(), slave_id(3), HOUR).unwrap();
    let renewed = identity.renewed(key, chain).unwrap();
    assert_eq!((renewed.id, renewed.name.as_str(), renewed.address()), (slave_id(3), "s3", "m:1"));
    assert_eq!(handshake_of(&master, &renewed).await.unwrap(), PeerIdentity::Slave(slave_id(3)));
    // An answer for another slave, or for another key, changes nothing.
    let key = EnrolmentKey::generate().unwrap();
    let other = master.authority.issue_slave(&key.request_der(), slave_id(4), HOUR).unwrap();
    assert!(matches!(identity.renewed(key, other), Err(IdentityError::Certificates(_))));
    let key = EnrolmentKey::generate().unwrap();
    let own = master.authority.issue_slave(&key.request_der(), slave_id(3), HOUR).unwrap();
    let error = identity.renewed(EnrolmentKey::generate().unwrap(), own).unwrap_err();
    assert!(matches!(error, IdentityError::Certificates(_)));
}
