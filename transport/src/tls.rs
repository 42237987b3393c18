//! TLS settings: version 1.3 only, ring, our own protocol name, no resumption, and the check of the pin.

use crate::identity::{Authority, CaPin, IdentityError, MASTER_NAME, SlaveIdentity, pin_of};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::{Arc, OnceLock};

/// The protocol's name in ALPN. A peer that does not offer it is refused.
pub(crate) const ALPN: &[u8] = b"ruche/1";
/// Plain text that TLS takes at once: a whole batch of frames becomes few system calls.
pub(crate) const TLS_BUFFER_BYTES: usize = 256 << 10;
/// A chain is the leaf and the CA; a longer one is not ours.
const CHAIN_MAX: usize = 4;

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| {
            let mut provider = ring::default_provider();
            // The master takes what the dialler names first. All of them are beyond anybody's reach; this one costs the
            // least, for a short command most of all: its key schedule is SHA-256, which processors do by themselves.
            provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
            Arc::new(provider)
        })
        .clone()
}

/// SHA-256 by the same code as TLS, which has found out already what this processor can do: asking once more costs
/// tens of microseconds on a virtual machine.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().expect("the suite is one of TLS 1.3");
    suite.common.hash_provider.hash(bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The name that every master's certificate carries.
pub(crate) fn master_name() -> ServerName<'static> {
    ServerName::try_from(MASTER_NAME).expect("the constant is a DNS name")
}

/// The master's side. A peer may come without a certificate, but one that it shows must be of our CA.
pub(crate) fn server_config(authority: &Authority) -> Result<Arc<ServerConfig>, IdentityError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).map_err(IdentityError::crypto)?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(IdentityError::crypto)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(IdentityError::crypto)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(authority.server());
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would carry over an identity that may have been revoked since.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The dialling side.
pub(crate) fn client_config(
    verifier: Arc<PinVerifier>,
    identity: Option<&SlaveIdentity>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => {
            let (chain, key) = identity.certified_key();
            config.with_client_auth_cert(chain, key)?
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Accepts a master whose certificate is signed by the CA with the pin, is valid now, is for servers and has the
/// master's name. Without a pin it accepts the CA that the master shows, and tells its pin.
#[derive(Debug)]
pub(crate) struct PinVerifier {
    pin: Option<CaPin>,
    shown: OnceLock<CaPin>,
}

impl PinVerifier {
    pub(crate) fn expecting(pin: CaPin) -> Arc<Self> {
        Arc::new(Self { pin: Some(pin), shown: OnceLock::new() })
    }

    pub(crate) fn learning() -> Arc<Self> {
        Arc::new(Self { pin: None, shown: OnceLock::new() })
    }

    /// The pin of the CA that the master showed, known once its certificates came.
    pub(crate) fn shown(&self) -> Option<CaPin> {
        self.shown.get().copied()
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown_issuer = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        if intermediates.len() > CHAIN_MAX {
            return Err(unknown_issuer());
        }
        let mut shown = intermediates.iter().filter_map(|ca| Some((ca, pin_of(ca)?)));
        let (ca, pin) = match self.pin {
            Some(expected) => {
                if let Some(last) = intermediates.last().and_then(pin_of) {
                    self.shown.get_or_init(|| last);
                }
                shown.find(|(_, pin)| *pin == expected).ok_or_else(unknown_issuer)?
            }
            None => shown.next_back().ok_or_else(unknown_issuer)?,
        };
        // The pinned CA is the only root: a chain that merely contains it does not verify.
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|_| unknown_issuer())?
            .verify_server_cert(end_entity, &[], server_name, &[], now)?;
        self.shown.get_or_init(|| pin);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}
