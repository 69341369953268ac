//! The files for admission: certificate, key and tokens. Reads them at the start, and again on
//! request. A bad file changes nothing. Runs on ordinary threads; the fan-out core receives the
//! parsed contents.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::Sender;
use rustls::ServerConfig;

use crate::config::Config;
use crate::cores::machine::doorbell::Doorbell;
use crate::fanout::{Access, Tokens};
use crate::limits::CREDENTIALS_BYTES_MAX;
use crate::wire::host::Hosts;
use crate::wire::tls;

/// Why clients cannot be admitted.
#[derive(Debug)]
pub struct CredentialsError {
    /// The variable that names the file.
    pub variable: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}: {}", self.variable, self.path.display(), self.why)
    }
}

/// A file that was read again, for the fan-out core.
pub enum Renewal {
    /// The certificate of connections from now on.
    Tls(Arc<ServerConfig>),
    /// The tokens from now on.
    Tokens(Tokens),
}

/// The admission rules of `config`. A file that others than its owner may use is logged at WARNING.
///
/// Errors: a file cannot be read or is not valid.
pub fn access(config: &Config) -> Result<Access, CredentialsError> {
    for (variable, path) in [TOKENS, KEY].map(|(variable, path)| (variable, path(config))) {
        if let Some(path) = path.filter(|path| is_open_to_others(path)) {
            tracing::warn!(
                "{variable}={}: others than its owner may read or change it; chmod 600 it",
                path.display()
            );
        }
    }
    Ok(Access {
        tls: read_tls(config)?,
        tokens: read_tokens(config)?,
        // The server sets it when its address is known.
        hosts: Hosts::ANY,
        origins: config.wss_origins.clone(),
        connections_per_address_max: config.wss_connections_per_ip_max,
        client_series_max: config.wss_subscriptions_max,
        handshake_timeout: config.wss_handshake_timeout,
        idle_timeout: config.wss_idle_timeout,
    })
}

/// Reads the files again on request, from any thread.
pub struct Reloader {
    config: Config,
    renewals: Sender<Renewal>,
    bell: Arc<Doorbell>,
}

impl Reloader {
    /// `renewals` is the channel to the fan-out core, and `bell` wakes that core.
    pub(crate) fn new(config: Config, renewals: Sender<Renewal>, bell: Arc<Doorbell>) -> Self {
        Self { config, renewals, bell }
    }

    /// Reads certificate, key and tokens again. A bad file is logged at ERROR, and the earlier
    /// contents stay.
    pub fn reload(&self) {
        if self.config.wss_tls_cert_file.is_none() && self.config.wss_tokens_file.is_none() {
            tracing::info!(
                "SIGHUP: the log file is the one of its name again; neither a certificate nor tokens \
                 are configured to be read again"
            );
        }
        match read_tls(&self.config) {
            Ok(None) => {}
            Ok(Some(tls)) => {
                self.renew(Renewal::Tls(tls), "the certificate of new connections".to_owned());
            }
            Err(error) => tracing::error!("{error}; the certificate stays the one before"),
        }
        match read_tokens(&self.config) {
            Ok(None) => {}
            Ok(Some(tokens)) => {
                let what = format!("{} tokens", tokens.count());
                self.renew(Renewal::Tokens(tokens), what);
            }
            Err(error) => tracing::error!("{error}; the tokens stay those before"),
        }
    }

    fn renew(&self, renewal: Renewal, what: String) {
        // It must not wait, because this thread also receives the signals to stop.
        match self.renewals.try_send(renewal) {
            Ok(()) => {
                self.bell.ring();
                tracing::info!("read again: {what}");
            }
            Err(_) => tracing::error!("cannot renew {what}: the fan-out core is busy; try again"),
        }
    }
}

/// A variable's name and its value.
type FileVariable = (&'static str, fn(&Config) -> Option<&Path>);

const CERTIFICATE: FileVariable =
    ("CONNECTOR_WSS_TLS_CERT_FILE", |config| config.wss_tls_cert_file.as_deref());
const KEY: FileVariable =
    ("CONNECTOR_WSS_TLS_KEY_FILE", |config| config.wss_tls_key_file.as_deref());
const TOKENS: FileVariable =
    ("CONNECTOR_WSS_TOKENS_FILE", |config| config.wss_tokens_file.as_deref());

fn read_tls(config: &Config) -> Result<Option<Arc<ServerConfig>>, CredentialsError> {
    let (Some(chain), Some(key)) = (read(config, CERTIFICATE)?, read(config, KEY)?) else {
        return Ok(None);
    };
    tls::server_config(&chain, &key).map(Some).map_err(|error| {
        let variable = if matches!(error, tls::TlsError::Key(_)) { KEY } else { CERTIFICATE };
        refused(config, variable, &error)
    })
}

fn read_tokens(config: &Config) -> Result<Option<Tokens>, CredentialsError> {
    let Some(text) = read(config, TOKENS)? else { return Ok(None) };
    Tokens::parse(&text).map(Some).map_err(|error| refused(config, TOKENS, &error))
}

fn read(config: &Config, variable: FileVariable) -> Result<Option<Vec<u8>>, CredentialsError> {
    let Some(path) = variable.1(config) else { return Ok(None) };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(CREDENTIALS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| refused(config, variable, &error))?;
    if bytes.len() > CREDENTIALS_BYTES_MAX {
        let why = format!("it is larger than {CREDENTIALS_BYTES_MAX} bytes");
        return Err(refused(config, variable, &why));
    }
    Ok(Some(bytes))
}

fn refused(config: &Config, variable: FileVariable, why: &dyn fmt::Display) -> CredentialsError {
    let (variable, path) = (variable.0, variable.1(config).unwrap_or(Path::new("")));
    CredentialsError { variable, path: path.to_owned(), why: why.to_string() }
}

/// Returns whether every user may read the file, or a user other than the owner may write it. A
/// group may read it, because services share files in that way.
fn is_open_to_others(path: &Path) -> bool {
    const READ_BY_ALL_OR_WRITTEN_BY_OTHERS: u32 = 0o026;
    std::fs::metadata(path)
        .is_ok_and(|found| found.permissions().mode() & READ_BY_ALL_OR_WRITTEN_BY_OTHERS != 0)
}
