//! Certificates for the simulator: an authority of its own and one leaf for `localhost`,
//! `127.0.0.1` and the names that are asked for. Made at the start; nothing is kept.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What the server needs, and the authority's certificate for those who are to trust it.
pub struct Identity {
    /// For the listening side.
    pub config: Arc<ServerConfig>,
    /// The authority's certificate, PEM.
    pub ca_pem: String,
}

/// Makes an authority and a certificate signed by it, also for the host names `more`. The error has
/// the library's words.
pub fn identity(more: &[String]) -> Result<Identity, String> {
    let (ca, ca_pem) = authority().map_err(|error| error.to_string())?;
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let own = ["localhost", "127.0.0.1"].map(str::to_owned);
    let names: Vec<String> = own.iter().chain(more).cloned().collect();
    let leaf = CertificateParams::new(names)
        .and_then(|mut params| {
            // Strict clients (Python since 3.13) refuse a leaf that does not name its authority's
            // key.
            params.use_authority_key_identifier_extension = true;
            params.signed_by(&key, &ca)
        })
        .map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key)
        })
        .map_err(|error| error.to_string())?;
    Ok(Identity { config: Arc::new(config), ca_pem })
}

fn authority() -> Result<(Issuer<'static, KeyPair>, String), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, "connector-sim");
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((Issuer::new(params, key), pem))
}
