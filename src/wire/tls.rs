//! TLS: the roots that are trusted for exchanges, our certificate for clients, and a TLS session of
//! either role over byte queues. Owns the choice of the cryptography provider. Opens no file and no
//! socket.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};

use super::pipe::ByteQueue;

/// Why a TLS configuration cannot be made.
#[derive(Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The PEM text has no certificate, or one that cannot be read.
    Certificate(String),
    /// The PEM text has no private key, or one that cannot be read, or that of another certificate.
    Key(String),
    /// The provider refused its own protocol versions; never seen.
    Versions(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(why) => write!(f, "no usable certificate in the PEM file: {why}"),
            Self::Key(why) => write!(f, "no usable private key in the PEM file: {why}"),
            Self::Versions(why) => write!(f, "no usable TLS version: {why}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// The public web's roots, and those in `extra_pem` if given. Invalid certificates are left out.
/// Errors: there is no valid certificate in `extra_pem`.
pub fn root_store(extra_pem: Option<&[u8]>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let Some(pem) = extra_pem else { return Ok(roots) };
    let readable = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    match roots.add_parsable_certificates(readable) {
        (0, 0) => Err(TlsError::Certificate("it holds no CERTIFICATE block".to_owned())),
        (0, _) => Err(TlsError::Certificate("none of its certificates makes sense".to_owned())),
        _ => Ok(roots),
    }
}

/// Number of certificates in `pem` that [`root_store`] leaves out because they are invalid.
pub fn odd_certificates(pem: &[u8]) -> usize {
    let blocks: Vec<_> = CertificateDer::pem_slice_iter(pem).collect();
    let all = blocks.len();
    let mut roots = RootCertStore::empty();
    all - roots.add_parsable_certificates(blocks.into_iter().filter_map(Result::ok)).0
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(TlsError::Certificate("it holds no CERTIFICATE block".to_owned()))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(TlsError::Certificate(error.to_string())),
    }
}

/// The TLS configuration for clients: the certificate in `chain_pem`, ours first and its issuers
/// after it, and its key in `key_pem`. Errors: either cannot be read, or they do not belong
/// together.
pub fn server_config(chain_pem: &[u8], key_pem: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(chain_pem)?;
    let key =
        PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| TlsError::Key(key_words(&error)))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Versions(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Key(error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Why the key cannot be read. The text of the library is not used: if the lines of the file were
/// joined, it repeats the whole key.
fn key_words(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "it holds no PRIVATE KEY block".to_owned(),
        pem::Error::IllegalSectionStart { .. } | pem::Error::MissingSectionEnd { .. } => {
            "its BEGIN and END must be lines of their own".to_owned()
        }
        other => other.to_string(),
    }
}

/// The TLS configuration for exchanges. Sessions resume, so that a reconnect saves a round trip.
pub fn client_config(extra_pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Versions(error.to_string()))?
        .with_root_certificates(root_store(extra_pem)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// One TLS session: ciphertext on the socket's side, plain text on ours.
pub(super) struct TlsSession {
    connection: Connection,
    /// Nothing has arrived so far.
    is_fresh: bool,
}

impl TlsSession {
    pub(super) fn client(config: &Arc<ClientConfig>, host: &str) -> Result<Self, rustls::Error> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| rustls::Error::General(format!("{host:?} is no host name")))?;
        let mut connection = ClientConnection::new(Arc::clone(config), name)?;
        connection.set_buffer_limit(None);
        Ok(Self { connection: Connection::Client(connection), is_fresh: true })
    }

    pub(super) fn server(config: &Arc<ServerConfig>) -> Self {
        let mut connection = ServerConnection::new(Arc::clone(config))
            .expect("only a wrong fragment size is refused, and none is set");
        connection.set_buffer_limit(None);
        Self { connection: Connection::Server(connection), is_fresh: true }
    }

    /// Returns whether nothing has arrived so far.
    pub(super) fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Encrypts the alert that nothing follows.
    pub(super) fn finish(&mut self) {
        self.connection.send_close_notify();
    }

    /// Decrypts `ciphertext` into `plain`. After an error, an alert may be waiting for
    /// [`Self::encrypt`].
    pub(super) fn decrypt(
        &mut self,
        mut ciphertext: &[u8],
        plain: &mut ByteQueue,
    ) -> Result<(), rustls::Error> {
        let mut chunk = [0; DECRYPT_CHUNK_BYTES];
        self.is_fresh = false;
        while !ciphertext.is_empty() {
            let read = self.connection.read_tls(&mut ciphertext);
            if read.map_err(|error| rustls::Error::General(error.to_string()))? == 0 {
                // The peer has announced that nothing follows. Later bytes are dropped.
                break;
            }
            self.connection.process_new_packets()?;
            while let Ok(count @ 1..) = self.connection.reader().read(&mut chunk) {
                plain.push(&chunk[..count]);
            }
        }
        // rustls frees the buffer of a long record at the next read, which may never happen.
        let _would_block = self.connection.read_tls(&mut NothingYet);
        Ok(())
    }

    /// Encrypts `plain`, and the pending messages of the handshake, into `ciphertext`.
    pub(super) fn encrypt(&mut self, plain: &[u8], ciphertext: &mut ByteQueue) {
        if !plain.is_empty() {
            let written = self.connection.writer().write_all(plain);
            written.expect("the writer buffers without limit");
        }
        while self.connection.wants_write() {
            self.connection.write_tls(ciphertext).expect("a byte queue takes every write");
        }
    }
}

/// A socket without bytes.
struct NothingYet;

impl Read for NothingYet {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// Most bytes of ciphertext for `count` plain bytes that are encrypted at once.
pub(super) fn encrypted_bytes(count: usize) -> usize {
    count + (count / RECORD_BYTES + 1) * RECORD_EXTRA_BYTES
}

/// Plain bytes of a full record. Source: RFC 8446, section 5.1.
const RECORD_BYTES: usize = 16 * 1024;

/// Bytes of a record beside the plain bytes. Source: head, nonce and tag of AES-GCM in TLS 1.2 (RFC
/// 5288); TLS 1.3 has 22.
const RECORD_EXTRA_BYTES: usize = 5 + 8 + 16;

/// Plain bytes moved at a time.
const DECRYPT_CHUNK_BYTES: usize = RECORD_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pem_file_without_certificates_is_refused_with_the_reason() {
        let error = client_config(Some(b"hello")).unwrap_err();
        assert!(error.to_string().contains("no CERTIFICATE block"), "{error}");
    }

    #[test]
    fn a_servers_certificate_and_key_must_be_there_and_belong_together() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (chain, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        let why = |chain: &str, key: &str| {
            server_config(chain.as_bytes(), key.as_bytes()).map(drop).map_err(|e| e.to_string())
        };
        assert_eq!(why(&chain, &key), Ok(()));
        assert!(why("", &key).unwrap_err().contains("no CERTIFICATE block"));
        assert!(why(&chain, &chain).unwrap_err().contains("no PRIVATE KEY block"));
        assert!(why(&chain, &other.signing_key.serialize_pem()).is_err());
    }

    #[test]
    fn a_key_whose_lines_were_joined_is_refused_without_being_shown() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (chain, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        for between in [" ", "\\n"] {
            for joined in
                [key.lines().collect::<Vec<_>>().join(between), key.replace('\n', between)]
            {
                let error = server_config(chain.as_bytes(), joined.as_bytes()).unwrap_err();
                let why = error.to_string();
                assert!(why.len() < 120 && why.contains("lines of their own"), "{why}");
            }
        }
    }

    #[test]
    fn one_odd_certificate_costs_only_itself() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        let block = |body: &str| {
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        };
        let public = root_store(None).unwrap().len();
        for odd in [block("bm90IGEgY2VydGlmaWNhdGU="), block("!!!")] {
            for pem in [format!("{odd}{own}"), format!("{own}{odd}")] {
                assert_eq!(root_store(Some(pem.as_bytes())).unwrap().len(), public + 1, "{odd}");
                assert_eq!(odd_certificates(pem.as_bytes()), 1, "{odd}");
            }
            let why = root_store(Some(odd.as_bytes())).unwrap_err().to_string();
            assert!(why.contains("CERTIFICATE") || why.contains("none of its"), "{why}");
        }
    }

    #[test]
    fn an_extra_root_is_added_to_the_public_ones() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let public = root_store(None).unwrap().len();
        let both = root_store(Some(own.cert.pem().as_bytes())).unwrap().len();
        assert_eq!(both, public + 1);
    }
}
