//! How REST reaches an exchange: the name that is looked up, TCP, the proxy on the way, TLS. Parts
//! of ureq's chain; what is asked and answered is [`super`]'s.

use std::fmt;
use std::io::{self, Read, Write as _};
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, TcpConnector,
    Transport, TransportAdapter,
};

use crate::config::{Proxies, Proxy};
use crate::cores::ops::poison::Poisoned;
use crate::cores::shard::passage::Passage;

/// Host, port and, where one leads there, the proxy.
fn route<'p>(proxies: &'p Proxies, uri: &Uri) -> (String, u16, Option<&'p Proxy>) {
    let tls = uri.scheme_str() == Some("https");
    let host = uri.host().unwrap_or("");
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let proxy = proxies.of(tls, &host, port);
    (host, port, proxy)
}

fn proxy_failed(why: String) -> ureq::Error {
    ureq::Error::ConnectProxyFailed(why)
}

/// Looks up what is connected: the exchange, or the proxy that leads there and knows its name.
#[derive(Debug)]
pub(crate) struct RouteResolver {
    proxies: Proxies,
    poisoned: Arc<Poisoned>,
    resolver: DefaultResolver,
}

impl RouteResolver {
    pub(crate) fn new(proxies: Proxies, poisoned: Arc<Poisoned>) -> Self {
        Self { proxies, poisoned, resolver: DefaultResolver::default() }
    }
}

impl Resolver for RouteResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (host, port, proxy) = route(&self.proxies, uri);
        let Some(proxy) = proxy else {
            let found = self.resolver.resolve(uri, config, timeout)?;
            if host.parse::<IpAddr>().is_ok() {
                return Ok(found);
            }
            self.poisoned.note(&host, &found);
            let real = super::real_addresses(found.iter().copied());
            let real = real.map_err(|why| ureq::Error::from(io::Error::other(why)))?;
            let mut kept = self.empty();
            real.into_iter().for_each(|address| kept.push(address));
            return Ok(kept);
        };
        let failed =
            |why: &dyn fmt::Display| proxy_failed(Passage::new(proxy, &host, port).failed(why));
        let uri: Uri = proxy.to_string().parse().map_err(|why| failed(&why))?;
        self.resolver.resolve(&uri, config, timeout).map_err(|why| failed(&why))
    }
}

/// TCP to what was looked up, and the proxy's answer if that is a proxy.
#[derive(Debug)]
pub(crate) struct TunnelConnector {
    proxies: Proxies,
    tcp: TcpConnector,
}

impl TunnelConnector {
    pub(crate) fn new(proxies: Proxies) -> Self {
        Self { proxies, tcp: TcpConnector::default() }
    }
}

impl<In: Transport> Connector<In> for TunnelConnector {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let (host, port, proxy) = route(&self.proxies, details.uri);
        let tcp = self.tcp.connect(details, chained);
        let Some(proxy) = proxy else {
            return tcp.map(|tcp| tcp.map(|tcp| Box::new(tcp) as Self::Out));
        };
        let mut passage = Passage::new(proxy, &host, port);
        let tcp = tcp.map_err(|why| proxy_failed(passage.failed(&why)))?;
        let Some(tcp) = tcp else { return Ok(None) };
        let mut tcp: Self::Out = Box::new(tcp);
        ask_for_passage(&mut *tcp, &mut passage, details)?;
        Ok(Some(tcp))
    }
}

/// Asks the proxy at the other end of `tcp`, for as long as connecting may take.
fn ask_for_passage(
    tcp: &mut dyn Transport,
    passage: &mut Passage,
    details: &ConnectionDetails<'_>,
) -> Result<(), ureq::Error> {
    let until = details.now + details.timeout.after;
    let length = passage.request().len();
    let request = tcp.buffers().output().get_mut(..length);
    let request = request.ok_or_else(|| proxy_failed(passage.failed(&"its URL is too long")))?;
    request.copy_from_slice(passage.request());
    let sent = tcp.transmit_output(length, details.timeout);
    sent.map_err(|why| proxy_failed(passage.failed(&why)))?;
    loop {
        let more = tcp.await_input(details.timeout);
        let more = more.map_err(|why| proxy_failed(passage.failed(&why)))?;
        let input = tcp.buffers().input();
        let count = input.len();
        let taken = passage.take(input, !more).map_err(proxy_failed)?;
        tcp.buffers().input_consume(taken.unwrap_or(count));
        if taken.is_some() {
            return Ok(());
        }
        if (details.current_time)() >= until {
            return Err(proxy_failed(passage.failed(&"its answer to CONNECT does not end")));
        }
    }
}

/// TLS with the program's own client configuration: ureq's cannot add a root to the public ones.
#[derive(Debug)]
pub(crate) struct TlsConnector {
    tls: Arc<ClientConfig>,
}

impl TlsConnector {
    pub(crate) fn new(tls: Arc<ClientConfig>) -> Self {
        Self { tls }
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(tcp) = chained else { return Ok(None) };
        if !details.needs_tls() {
            return Ok(Some(Either::A(tcp)));
        }
        let host = details.uri.host().unwrap_or("");
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_string();
        let name = ServerName::try_from(bare).map_err(|_| ureq::Error::Tls("invalid name"))?;
        let mut session = ClientConnection::new(Arc::clone(&self.tls), name)?;
        let mut socket = TransportAdapter::new(tcp.boxed(), details.current_time.clone());
        socket.set_timeout(details.timeout);
        session.complete_io(&mut socket)?;
        let (input, output) =
            (details.config.input_buffer_size(), details.config.output_buffer_size());
        let stream = StreamOwned::new(session, socket);
        Ok(Some(Either::B(TlsTransport { buffers: LazyBuffers::new(input, output), stream })))
    }
}

pub(crate) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTransport").finish_non_exhaustive()
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = Read::read(&mut self.stream, self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
