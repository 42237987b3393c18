//! A slave's identity: the key that never leaves it, its certificate, and the master that it belongs to.

use super::{
    CaPin, IdentityError,
    certificate::{ends_at, parameters, pin_of, pin_of_key, slave_of, validity},
    files::{make_folder, read_private, write_private},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use common::{SlaveId, Timestamp};
use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;

/// A new key and the request to certify it, before the master has answered.
pub struct EnrolmentKey {
    key: KeyPair,
    request: Vec<u8>,
}

impl EnrolmentKey {
    /// Makes a key. It is only in memory until the enrolment is complete and saved.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = KeyPair::generate().map_err(IdentityError::crypto)?;
        let params = parameters("Ruche slave", std::time::Duration::from_secs(1))?;
        let mut request = rcgen::CertificateParams::default();
        request.distinguished_name = params.distinguished_name;
        let request = request.serialize_request(&key).map_err(IdentityError::crypto)?;
        Ok(Self { key, request: request.der().to_vec() })
    }

    /// The PKCS #10 request, DER, for `Command::Enrol` and `Command::Renew`.
    #[must_use]
    pub fn request_der(&self) -> Vec<u8> {
        self.request.clone()
    }

    /// The identity that the master's answer makes of the key. It is not yet on disk.
    ///
    /// # Errors
    /// When the certificates are not for this key and this ID, or not from the CA with this pin.
    pub fn complete(
        self,
        id: SlaveId,
        name: String,
        chain: Vec<Vec<u8>>,
        address: String,
        pin: CaPin,
    ) -> Result<SlaveIdentity, IdentityError> {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        SlaveIdentity::checked(id, name, &self.key, chain, address, pin).map_err(IdentityError::Certificates)
    }
}

/// Without the key.
impl std::fmt::Debug for EnrolmentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrolmentKey").finish_non_exhaustive()
    }
}

/// A slave's ID, name, key and certificate, and the master that gave them.
pub struct SlaveIdentity {
    /// The ID in the certificate.
    pub id: SlaveId,
    /// The name that the master knows it by.
    pub name: String,
    key: PrivateKeyDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    address: String,
    pin: CaPin,
}

/// The one file, so that key and certificate are replaced together.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    format: u32,
    id: SlaveId,
    name: String,
    master: String,
    pin: String,
    certificates: String,
    key: String,
}

impl SlaveIdentity {
    /// Reads the identity of `dir`; `None` when the slave has not enrolled.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or can be read by others.
    pub fn load(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = file_of(dir);
        let Some(text) = read_private(&path)? else { return Ok(None) };
        Self::from_text(&text).map(Some).map_err(|reason| IdentityError::Damaged { path, reason })
    }

    /// Writes the identity into `dir`, in place of the one that is there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        make_folder(dir)?;
        let file = IdentityFile {
            format: FORMAT,
            id: self.id,
            name: self.name.clone(),
            master: self.address.clone(),
            pin: self.pin.to_string(),
            certificates: self.chain.iter().map(certificate_to_pem).collect(),
            key: to_pem("PRIVATE KEY", self.key.secret_der()),
        };
        write_private(&file_of(dir), &toml::to_string_pretty(&file).map_err(IdentityError::crypto)?)
    }

    /// `HOST:PORT` of the master.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same identity for a master that has moved. Save it to keep the new address.
    #[must_use]
    pub fn with_address(mut self, address: String) -> Self {
        self.address = address;
        self
    }

    /// What the master is known by.
    #[must_use]
    pub const fn pin(&self) -> CaPin {
        self.pin
    }

    /// When the certificate ends; the master then no longer accepts it.
    #[must_use]
    pub fn valid_until(&self) -> Option<Timestamp> {
        ends_at(self.chain.first()?)
    }

    /// When to ask for the next certificate, on the wall clock: when two thirds of this one's life are over. A
    /// clock that jumps may make it due again at once; whoever asks leaves some time between two requests.
    #[must_use]
    pub fn renewal_at(&self) -> Option<Timestamp> {
        let (_, life) = validity(self.chain.first()?)?;
        let third = u64::try_from(life.as_micros() / 3).ok()?;
        Some(Timestamp(self.valid_until()?.0.saturating_sub(third)))
    }

    /// Whether it is time to ask for the next certificate.
    #[must_use]
    pub fn renewal_due(&self, now: Timestamp) -> bool {
        self.renewal_at().is_none_or(|at| at <= now)
    }

    /// The same slave with the certificate that the master's answer to `Command::Renew` holds: `key` is what the
    /// request was made with. It is not yet on disk; the next connection uses it.
    ///
    /// # Errors
    /// When the certificates are not for this key and this slave, or not from the CA with the pin.
    pub fn renewed(&self, key: EnrolmentKey, chain: Vec<Vec<u8>>) -> Result<Self, IdentityError> {
        key.complete(self.id, self.name.clone(), chain, self.address.clone(), self.pin)
    }

    pub(crate) fn certified_key(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), self.key.clone_key())
    }

    pub(super) fn from_text(text: &str) -> Result<Self, String> {
        // The codec's message would quote the line, which may be of the key.
        let file: IdentityFile =
            toml::from_str(text).map_err(|error| format!("it is not an identity: {}", error.message()))?;
        if file.format != FORMAT {
            return Err(format!("its format is {}; this release reads {FORMAT}", file.format));
        }
        let key = KeyPair::from_pem(&file.key).map_err(|_| "its key is not a private key".to_owned())?;
        let chain = CertificateDer::pem_slice_iter(file.certificates.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("its certificates cannot be read: {error}"))?;
        let pin = file.pin.parse().map_err(|error: super::PinError| error.to_string())?;
        Self::checked(file.id, file.name, &key, chain, file.master, pin)
    }

    fn checked(
        id: SlaveId,
        name: String,
        key: &KeyPair,
        chain: Vec<CertificateDer<'static>>,
        address: String,
        pin: CaPin,
    ) -> Result<Self, String> {
        let [leaf, ca] = chain.as_slice() else {
            return Err(format!("there are {} certificates in place of the slave's and the CA's", chain.len()));
        };
        if pin_of(leaf) != Some(pin_of_key(&key.subject_public_key_info())) {
            return Err("the certificate is not for this slave's key".to_owned());
        }
        if slave_of(leaf) != Some(id) {
            return Err(format!("the certificate is not for the slave {id}"));
        }
        if pin_of(ca) != Some(pin) {
            return Err("the CA is not the one that is pinned".to_owned());
        }
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Self { id, name, key, chain, address, pin })
    }
}

/// Without the key.
impl std::fmt::Debug for SlaveIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlaveIdentity")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("address", &self.address)
            .field("pin", &self.pin)
            .finish_non_exhaustive()
    }
}

fn file_of(dir: &Path) -> PathBuf {
    dir.join("identity.toml")
}

pub(super) fn certificate_to_pem(certificate: &CertificateDer<'_>) -> String {
    to_pem("CERTIFICATE", certificate)
}

fn to_pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
