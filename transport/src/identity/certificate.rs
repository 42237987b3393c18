//! Reading and making single certificates.

use super::{CaPin, IdentityError};
use crate::tls::sha256;
use common::{SlaveId, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, SerialNumber};
use rustls_pki_types::CertificateDer;
use std::time::{Duration, SystemTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Certificates are valid from long before they are made, so that a clock that is behind, or is set back, does not
/// stop anybody: before a key exists nobody can use its certificate anyway. More than a year, as a wrong year is the
/// most common large mistake of a clock.
const BACKDATED: Duration = Duration::from_secs(400 * 86_400);
const SLAVE_URI: &str = "ruche://slave/";

/// SHA-256 of a certificate's SubjectPublicKeyInfo.
pub(crate) fn pin_of(certificate: &CertificateDer<'_>) -> Option<CaPin> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(pin_of_key(parsed.tbs_certificate.subject_pki.raw))
}

pub(super) fn pin_of_key(subject_public_key_info: &[u8]) -> CaPin {
    CaPin(sha256(subject_public_key_info))
}

/// The one slave that a certificate names; `None` when it names none or several.
pub(crate) fn slave_of(certificate: &CertificateDer<'_>) -> Option<SlaveId> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    match names.value.general_names.as_slice() {
        [GeneralName::URI(uri)] => uri.strip_prefix(SLAVE_URI)?.parse().ok(),
        _ => None,
    }
}

pub(super) fn slave_uri(id: SlaveId) -> String {
    format!("{SLAVE_URI}{id}")
}

/// When a certificate ends.
pub(crate) fn ends_at(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (end, _) = validity(certificate)?;
    let micros = end.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_micros();
    Some(Timestamp(u64::try_from(micros).ok()?))
}

/// When a certificate ends, and for how long it was made.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<(SystemTime, Duration)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).ok();
    let (begin, end) = (seconds(parsed.validity().not_before)?, seconds(parsed.validity().not_after)?);
    let valid = Duration::from_secs(end.checked_sub(begin)?);
    let life = valid.checked_sub(BACKDATED).unwrap_or(valid);
    Some((SystemTime::UNIX_EPOCH + Duration::from_secs(end), life))
}

/// What all our certificates share: a name for people, a random serial number and the time of validity.
pub(super) fn parameters(common_name: &str, life: Duration) -> Result<CertificateParams, IdentityError> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(IdentityError::crypto)?;
    serial[0] = serial[0] & 0x7f | 0x40; // Positive, and never shorter.
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = true;
    let now = SystemTime::now();
    // The last second counts as valid (RFC 5280), so a life of zero is over at once.
    let end = now + life - Duration::from_secs(1);
    params.not_before = (now - BACKDATED).into();
    params.not_after = end.into();
    Ok(params)
}
