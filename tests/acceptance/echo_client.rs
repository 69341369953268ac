//! Our client role as the Autobahn test suite's fuzzing server wants it: asks how many cases there
//! are, runs each, echoing what comes, and has the reports written.
//! `echo_client URL AGENT`; a `wss` URL trusts the certificate in `CONNECTOR_TLS_CA_FILE` too.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use connector_wss::limits::READ_BYTES_MAX;
use connector_wss::wire::{Connection, Endpoint, Event, tls};

/// The largest message that is echoed. Source: Autobahn, cases 9.1.6 and 9.2.6.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Silence after which a case is given up. Source: the suite's own time-outs are below 100 s.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    match run() {
        Ok(cases) => {
            println!("{cases} cases");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("echo_client: {why}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

fn run() -> Result<usize, Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, agent] = &arguments[..] else { return Err("give a URL and a name".into()) };
    let pem = std::env::var_os("CONNECTOR_TLS_CA_FILE").map(std::fs::read).transpose()?;
    let tls = tls::client_config(pem.as_deref()).map_err(|error| error.to_string())?;
    let ask = |target: &str| -> Result<Option<String>, Failure> {
        let endpoint = Endpoint::parse(url).map_err(|_| "no WebSocket URL")?.join(target);
        converse(&endpoint, &tls)
    };
    let count = ask("/getCaseCount")?.ok_or("no case count")?.parse()?;
    for case in 1..=count {
        // How the connection ended is the suite's to judge.
        if let Err(why) = ask(&format!("/runCase?case={case}&agent={agent}")) {
            eprintln!("case {case}: {why}");
        }
    }
    ask(&format!("/updateReports?agent={agent}"))?;
    Ok(count)
}

/// One connection, echoing, until its end. Returns the last text.
fn converse(
    endpoint: &Endpoint,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<Option<String>, Failure> {
    let mut stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut connection = Connection::client(endpoint, tls, [7; 16], &[])?;
    connection.accept_messages_up_to(MESSAGE_BYTES_MAX);
    let (mut text, mut chunk) = (None, vec![0; READ_BYTES_MAX]);
    let mut has_failed = false;
    loop {
        flush(&mut stream, &mut connection)?;
        if has_failed {
            // An error means that the peer is gone; reading will say so.
            let _sent = stream.shutdown(Shutdown::Write);
            has_failed = false;
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(text),
            Ok(count) => has_failed |= connection.handle_bytes(&chunk[..count]).is_err(),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(text),
            Err(error) => return Err(error.into()),
        }
        loop {
            // As the feed does it: what is plain goes past the codec.
            if let Some(received) = connection.next_plain_text().map(str::to_owned) {
                connection.send_text(&received);
                text = Some(received);
                continue;
            }
            match connection.next_event() {
                Ok(Some(Event::Text(received))) => {
                    connection.send_text(&received);
                    text = Some(received.to_string());
                }
                Ok(Some(Event::Binary(received))) => connection.send_binary(received),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    has_failed = true;
                    break;
                }
            }
        }
    }
}

fn flush(stream: &mut TcpStream, connection: &mut Connection) -> std::io::Result<()> {
    let count = connection.outgoing().len();
    stream.write_all(connection.outgoing())?;
    connection.consume_outgoing(count);
    Ok(())
}
