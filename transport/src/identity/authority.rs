//! The master's private CA and its server certificate.

use super::{
    CaPin, IdentityError,
    certificate::{parameters, pin_of, pin_of_key, slave_uri},
    files::{make_folder, read_private, write_private},
    server::{self, ServerIdentity},
};
use common::{SlaveId, units::Duration};
use rcgen::{
    BasicConstraints, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use rustls::server::ResolvesServerCert;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, pem::PemObject};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration as StdDuration,
};

const DAY: StdDuration = StdDuration::from_secs(86_400);
/// Longer than any installation lives: every client and slave pins the CA's key.
const CA_LIFE: StdDuration = DAY.saturating_mul(30 * 365);
/// Renewed in its second half, at a start or while the master runs.
const SERVER_LIFE: StdDuration = DAY.saturating_mul(5 * 365);
/// More than any life that we give, so that no date leaves the calendar.
const LIFE_MAX: StdDuration = DAY.saturating_mul(30 * 365);

/// The master's private CA and the identity that it shows.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pin: CaPin,
    dir: PathBuf,
    server: Arc<ServerIdentity>,
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
        let server = ServerIdentity::new(server::load_or_create(dir, &issuer, &certificate, SERVER_LIFE)?);
        Ok(Self { issuer, certificate, pin, dir: dir.to_owned(), server })
    }

    /// Makes the server's certificate anew, on disk and for every handshake from now on, when the first half of
    /// its life is over; whether it was. Connections that stand are not touched. To be called now and then by a
    /// master that runs for years.
    ///
    /// # Errors
    /// When a file cannot be read or written; the old certificate then goes on being shown.
    pub fn renew_server(&self) -> Result<bool, IdentityError> {
        let old = self.server.is_old();
        if old {
            self.server.replace(server::load_or_create(&self.dir, &self.issuer, &self.certificate, SERVER_LIFE)?);
        }
        Ok(old)
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

    /// What handshakes show.
    pub(crate) fn server(&self) -> Arc<dyn ResolvesServerCert> {
        self.server.clone()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Listener, connect, fetch_pin};

    #[tokio::test]
    async fn a9_an_old_certificate_of_the_master_is_replaced_while_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(folder.path()).unwrap();
        assert!(!authority.renew_server().unwrap(), "it is new");
        let listener = Listener::bind("127.0.0.1:0", &authority).await.unwrap();
        let address = listener.local_address().to_string();
        tokio::spawn(async move {
            loop {
                drop(listener.accept().await.handshake().await);
            }
        });
        // One that is already over: nobody takes it.
        std::fs::remove_file(folder.path().join("server.crt")).unwrap();
        let over = server::load_or_create(folder.path(), &authority.issuer, &authority.certificate, StdDuration::ZERO);
        authority.server.replace(over.unwrap());
        connect(&address, authority.pin(), None).await.unwrap_err();
        assert!(authority.renew_server().unwrap());
        connect(&address, authority.pin(), None).await.unwrap();
        assert_eq!(fetch_pin(&address).await.unwrap(), authority.pin());
        // The disk has it too.
        let shown = std::fs::read(folder.path().join("server.crt")).unwrap();
        assert!(!Authority::load_or_create(folder.path()).unwrap().renew_server().unwrap());
        assert_eq!(std::fs::read(folder.path().join("server.crt")).unwrap(), shown);
    }
}
