//! The master's private CA and its server certificate.

use super::{
    CaPin, IdentityError, MASTER_NAME,
    certificate::{parameters, pin_of, pin_of_key, slave_uri, validity},
    files::{make_folder, read_private, write_private},
};
use common::{SlaveId, units::Duration};
use rcgen::{
    BasicConstraints, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use rustls_pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject,
};
use std::{
    path::Path,
    time::{Duration as StdDuration, SystemTime},
};

const DAY: StdDuration = StdDuration::from_secs(86_400);
/// Longer than any installation lives: every client and slave pins the CA's key.
const CA_LIFE: StdDuration = DAY.saturating_mul(30 * 365);
/// A master that is never restarted must not lose its name; it is renewed at a start in its second half.
const SERVER_LIFE: StdDuration = DAY.saturating_mul(5 * 365);
/// More than any life that we give, so that no date leaves the calendar.
const LIFE_MAX: StdDuration = DAY.saturating_mul(30 * 365);

/// The master's private CA and the identity that it shows.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pin: CaPin,
    server_chain: Vec<CertificateDer<'static>>,
    server_key: PrivateKeyDer<'static>,
}

impl Authority {
    /// Reads the CA of `dir`, or makes one when there is none. The server's certificate is renewed when the
    /// first half of its life is over.
    ///
    /// # Errors
    /// When a file cannot be read or written, is damaged, or is a key that others can read. A CA certificate
    /// without its key is an error and never replaced, because everybody pins the key.
    pub fn load_or_create(dir: &Path) -> Result<Self, IdentityError> {
        make_folder(dir)?;
        let (issuer, certificate) = load_or_create_ca(dir)?;
        let pin = pin_of_key(&issuer.key().subject_public_key_info());
        let (server_chain, server_key) = load_or_create_server(dir, &issuer, &certificate)?;
        Ok(Self { issuer, certificate, pin, server_chain, server_key })
    }

    /// What clients and slaves know this master by.
    #[must_use]
    pub const fn pin(&self) -> CaPin {
        self.pin
    }

    /// Makes a slave's certificate from its request. The request's names are ignored: `id` is the only one that
    /// the certificate has. Returns the leaf and the CA, DER. A `life` of zero gives one that is already over.
    ///
    /// # Errors
    /// When the request is malformed, has a key of another kind than ours, or is not signed with that key.
    pub fn issue_slave(&self, request_der: &[u8], id: SlaveId, life: Duration) -> Result<Vec<Vec<u8>>, IdentityError> {
        let refused = |error: rcgen::Error| IdentityError::Request(error.to_string());
        // Reading also checks the signature.
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request_der))
            .map_err(refused)?;
        if *PublicKeyData::algorithm(&request.public_key) != rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(IdentityError::Request("its key is not ECDSA P-256".to_owned()));
        }
        let mut params = parameters(&format!("slave {id}"), life.to_std().min(LIFE_MAX))?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let uri = slave_uri(id).try_into().map_err(IdentityError::crypto)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        let leaf = params.signed_by(&request.public_key, &self.issuer).map_err(IdentityError::crypto)?;
        Ok(vec![leaf.der().to_vec(), self.certificate.to_vec()])
    }

    pub(crate) const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(crate) fn server(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.server_chain.clone(), self.server_key.clone_key())
    }
}

/// Without the keys.
impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("pin", &self.pin).finish_non_exhaustive()
    }
}

fn load_or_create_ca(dir: &Path) -> Result<(Issuer<'static, KeyPair>, CertificateDer<'static>), IdentityError> {
    let (key_path, certificate_path) = (dir.join("ca.key"), dir.join("ca.crt"));
    let damaged = |path: &Path, reason: String| IdentityError::Damaged { path: path.to_owned(), reason };
    let certificate = read_private(&certificate_path)?;
    let key = match read_private(&key_path)? {
        Some(pem) => KeyPair::from_pem(&pem).map_err(|error| damaged(&key_path, error.to_string()))?,
        None if certificate.is_some() => {
            return Err(damaged(&key_path, "it is missing, but its certificate is there".to_owned()));
        }
        None => {
            let key = KeyPair::generate().map_err(IdentityError::crypto)?;
            write_private(&key_path, &key.serialize_pem())?;
            key
        }
    };
    let certificate = match certificate {
        Some(pem) => CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| damaged(&certificate_path, error.to_string()))?,
        // Also after a crash between the two files: the pin is of the key, so any certificate of it will do.
        None => {
            let mut params = parameters("Ruche CA", CA_LIFE)?;
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let made = params.self_signed(&key).map_err(IdentityError::crypto)?;
            write_private(&certificate_path, &made.pem())?;
            made.der().clone()
        }
    };
    if pin_of(&certificate) != Some(pin_of_key(&key.subject_public_key_info())) {
        return Err(damaged(&certificate_path, "it does not belong to ca.key".to_owned()));
    }
    let issuer =
        Issuer::from_ca_cert_der(&certificate, key).map_err(|error| damaged(&certificate_path, error.to_string()))?;
    Ok((issuer, certificate))
}

/// The server's chain, leaf first, and its key. A missing, damaged, foreign or old one is made anew: nobody
/// pins it.
fn load_or_create_server(
    dir: &Path,
    issuer: &Issuer<'static, KeyPair>,
    ca: &CertificateDer<'static>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), IdentityError> {
    let (key_path, certificate_path) = (dir.join("server.key"), dir.join("server.crt"));
    let old_key = read_private(&key_path)?.and_then(|pem| KeyPair::from_pem(&pem).ok());
    let old_chain = read_private(&certificate_path)?.map(|pem| chain_from_pem(&pem)).unwrap_or_default();
    if let (Some(key), [leaf, old_ca]) = (&old_key, old_chain.as_slice()) {
        let fits = pin_of(leaf) == Some(pin_of_key(&key.subject_public_key_info())) && old_ca == ca;
        let young = validity(leaf).is_some_and(|(end, life)| SystemTime::now() + life / 2 < end);
        if fits && young {
            return Ok((old_chain, private_key(key)));
        }
    }
    let key = KeyPair::generate().map_err(IdentityError::crypto)?;
    let mut params = parameters("Ruche master", SERVER_LIFE)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![SanType::DnsName(MASTER_NAME.try_into().map_err(IdentityError::crypto)?)];
    let leaf = params.signed_by(&key, issuer).map_err(IdentityError::crypto)?;
    write_private(&key_path, &key.serialize_pem())?;
    write_private(&certificate_path, &chain_to_pem(&[leaf.der(), ca]))?;
    Ok((vec![leaf.der().clone(), ca.clone()], private_key(&key)))
}

fn private_key(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))
}

fn chain_from_pem(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap_or_default()
}

fn chain_to_pem(chain: &[&CertificateDer<'_>]) -> String {
    chain.iter().map(|certificate| super::slave::certificate_to_pem(certificate)).collect()
}
