//! The two listening sockets: bound here, inherited from the supervisor (systemd's socket
//! activation), or taken over from the running server. Owns where they come from; the cores accept.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::config::Config;
use crate::cores::process::listen_error::ListenError;
use crate::cores::process::takeover::{self, Predecessor};
use crate::fanout::DrainKind;
use crate::limits::{LISTEN_BACKLOG, OPS_SEND_BUFFER_BYTES};

/// The sockets that the supervisor has passed to this process, if any.
pub struct Inherited(ListenFd);

impl Inherited {
    /// Takes the sockets that the environment names, and removes the variables. Called before the
    /// first thread starts.
    pub fn take() -> Self {
        Self(ListenFd::from_env())
    }

    /// Nothing.
    pub fn none() -> Self {
        Self(ListenFd::empty())
    }
}

/// Both listening sockets, non-blocking.
pub(crate) struct Listeners {
    pub(crate) clients: TcpListener,
    /// `None`: health and metrics are not served.
    pub(crate) ops: Option<TcpListener>,
    /// The predecessor, which waits until this server serves.
    pub(crate) predecessor: Option<Predecessor>,
    /// What becomes of the sockets when this server stops.
    pub(crate) drain_kind: DrainKind,
}

impl Listeners {
    /// Opens the sockets as `config` and the supervisor determine.
    pub(crate) fn open(config: &Config, inherited: Inherited) -> Result<Self, ListenError> {
        let listeners = if inherited.0.len() > 0 {
            Self::inherit(config, inherited.0).map_err(ListenError::Inherited)?
        } else if let Some(listeners) = Self::take_over(config)? {
            listeners
        } else {
            Self::bind(config)?
        };
        listeners.prepare().map_err(ListenError::Prepare)?;
        Ok(listeners)
    }

    fn bind(config: &Config) -> Result<Self, ListenError> {
        let address = |port| SocketAddr::new(config.wss_address, port);
        let clients = bind("CONNECTOR_WSS_PORT", address(config.wss_port))?;
        let ops = config
            .health_check_enabled
            .then(|| bind("CONNECTOR_WSS_HEALTH_CHECK_PORT", address(config.health_check_port)));
        let (ops, drain_kind) = (ops.transpose()?, DrainKind::Closed);
        Ok(Self { clients, ops, predecessor: None, drain_kind })
    }

    /// The sockets are distinguished by their ports, because systemd gives all sockets of a unit
    /// one name.
    fn inherit(config: &Config, mut given: ListenFd) -> Result<Self, String> {
        let (mut clients, mut ops) = (None, None);
        for index in 0..given.len() {
            let listener = given.take_tcp_listener(index).map_err(|error| error.to_string())?;
            let listener = listener.ok_or("one is missing")?;
            let address = listener.local_addr().map_err(|error| error.to_string())?;
            let place = match address.port() {
                port if port == config.wss_port => &mut clients,
                port if port == config.health_check_port => &mut ops,
                port => {
                    let (wss, health) = (config.wss_port, config.health_check_port);
                    return Err(format!("{address} has port {port}, neither {wss} nor {health}"));
                }
            };
            if place.replace(listener).is_some() {
                return Err(format!("there are two for port {}", address.port()));
            }
        }
        let clients = clients.ok_or_else(|| format!("none is for port {}", config.wss_port))?;
        if config.health_check_enabled && ops.is_none() {
            return Err(format!("none is for port {}", config.health_check_port));
        }
        let (ops, drain_kind) = (ops.filter(|_| config.health_check_enabled), DrainKind::Kept);
        Ok(Self { clients, ops, predecessor: None, drain_kind })
    }

    /// `None`: there is no server to take over from.
    fn take_over(config: &Config) -> Result<Option<Self>, ListenError> {
        let Some(path) = &config.takeover_socket else { return Ok(None) };
        let failed = |why| ListenError::Takeover { path: path.clone(), why };
        let Some((predecessor, handed)) = takeover::ask(path).map_err(failed)? else {
            return Ok(None);
        };
        let fits = |listener: &TcpListener, port: u16| {
            let configured = SocketAddr::new(config.wss_address, port);
            match listener.local_addr() {
                Err(error) => Err(error.to_string()),
                Ok(found) if found.ip() == configured.ip() && [0, found.port()].contains(&port) => {
                    Ok(())
                }
                Ok(found) => Err(format!(
                    "the server that runs listens on {found}, and {configured} is configured here: \
                     give the same address, or another CONNECTOR_TAKEOVER_SOCKET"
                )),
            }
        };
        fits(&handed.clients, config.wss_port).map_err(failed)?;
        let ops = match handed.ops {
            Some(listener) if config.health_check_enabled => {
                fits(&listener, config.health_check_port).map_err(failed)?;
                Some(listener)
            }
            None if config.health_check_enabled => {
                let address = SocketAddr::new(config.wss_address, config.health_check_port);
                Some(bind("CONNECTOR_WSS_HEALTH_CHECK_PORT", address)?)
            }
            _ => None,
        };
        let (clients, drain_kind) = (handed.clients, DrainKind::Closed);
        Ok(Some(Self { clients, ops, predecessor: Some(predecessor), drain_kind }))
    }

    fn prepare(&self) -> io::Result<()> {
        self.clients.set_nonblocking(true)?;
        if let Some(ops) = &self.ops {
            ops.set_nonblocking(true)?;
            // Connections inherit the options of their listener.
            SockRef::from(ops).set_send_buffer_size(OPS_SEND_BUFFER_BYTES)?;
        }
        Ok(())
    }
}

fn bind(variable: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    let bound = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(LISTEN_BACKLOG)?;
        Ok(socket.into())
    };
    bound().map_err(|error| ListenError::Bind { variable, address, error })
}
