//! The identity that the master shows: made, kept on disk, and replaced in time while the master runs.

use super::{
    IdentityError, MASTER_NAME,
    certificate::{parameters, pin_of, pin_of_key, validity},
    files::{read_private, write_private},
    slave::certificate_to_pem,
};
use rcgen::{ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType};
use rustls::{
    crypto::ring::sign::any_supported_type,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

/// What every handshake shows from now on; replaced whole.
#[derive(Debug)]
pub(super) struct ServerIdentity(RwLock<Arc<CertifiedKey>>);

impl ServerIdentity {
    pub(super) fn new(shown: CertifiedKey) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(shown))))
    }

    pub(super) fn replace(&self, shown: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(shown);
    }

    /// Whether less than half of its life is left.
    pub(super) fn is_old(&self) -> bool {
        let shown = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        !shown.cert.first().is_some_and(is_young)
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn is_young(leaf: &CertificateDer<'_>) -> bool {
    validity(leaf).is_some_and(|(end, life)| SystemTime::now() + life / 2 < end)
}

/// The server's chain, leaf first, with its key. A missing, damaged, foreign or old one is made anew for `life`:
/// nobody pins it.
pub(super) fn load_or_create(
    dir: &Path,
    issuer: &Issuer<'static, KeyPair>,
    ca: &CertificateDer<'static>,
    life: Duration,
) -> Result<CertifiedKey, IdentityError> {
    let (key_path, certificate_path) = (dir.join("server.key"), dir.join("server.crt"));
    let old_key = read_private(&key_path)?.and_then(|pem| KeyPair::from_pem(&pem).ok());
    let old_chain = read_private(&certificate_path)?.map(|pem| chain_from_pem(&pem)).unwrap_or_default();
    if let (Some(key), [leaf, old_ca]) = (&old_key, old_chain.as_slice())
        && pin_of(leaf) == Some(pin_of_key(&key.subject_public_key_info()))
        && old_ca == ca
        && is_young(leaf)
    {
        return certified(old_chain, key);
    }
    let key = KeyPair::generate().map_err(IdentityError::crypto)?;
    let mut params = parameters("Ruche master", life)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![SanType::DnsName(MASTER_NAME.try_into().map_err(IdentityError::crypto)?)];
    let leaf = params.signed_by(&key, issuer).map_err(IdentityError::crypto)?;
    // A crash between the two leaves a pair that does not fit, and the next start makes another.
    write_private(&key_path, &key.serialize_pem())?;
    write_private(&certificate_path, &[leaf.der(), ca].map(certificate_to_pem).concat())?;
    certified(vec![leaf.der().clone(), ca.clone()], &key)
}

fn certified(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Result<CertifiedKey, IdentityError> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(CertifiedKey::new(chain, any_supported_type(&key).map_err(IdentityError::crypto)?))
}

fn chain_from_pem(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap_or_default()
}
