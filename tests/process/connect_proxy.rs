//! An HTTP proxy that knows CONNECT, in threads of the test.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// What a proxy does when it is asked for a way.
#[derive(Clone, Copy)]
pub(crate) enum Manner {
    /// Leads to the port on loopback, whatever the name.
    Leads,
    /// As [`Self::Leads`] for whoever shows these credentials, else 407.
    Asks(&'static str),
    /// Answers this.
    Answers(&'static str),
}

/// A CONNECT proxy, and the first line of each request that it got.
pub(crate) struct ConnectProxy {
    pub(crate) address: SocketAddr,
    requests: Receiver<String>,
}

impl ConnectProxy {
    pub(crate) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, (noted, requests)) = (listener.local_addr().unwrap(), channel());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let noted = noted.clone();
                thread::spawn(move || serve(stream, manner, &noted));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.try_iter().collect()
    }
}

fn serve(mut stream: TcpStream, manner: Manner, noted: &Sender<String>) {
    let reader = BufReader::with_capacity(1, stream.try_clone().unwrap());
    let head: Vec<String> =
        reader.lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let Some(first) = head.first() else { return };
    noted.send(first.clone()).ok();
    let refusal = match manner {
        Manner::Leads => None,
        Manner::Asks(credentials) => {
            let expected = format!("Proxy-Authorization: Basic {credentials}");
            let refusal =
                "407 Proxy Authentication Required\r\nContent-Length: 9\r\n\r\nlog in!\r\n";
            (!head.contains(&expected)).then_some(refusal)
        }
        Manner::Answers(answer) => Some(answer),
    };
    if let Some(refusal) = refusal {
        stream.write_all(format!("HTTP/1.1 {refusal}").as_bytes()).ok();
        return;
    }
    let target = first.split(' ').nth(1).unwrap();
    let port: u16 = target.rsplit(':').next().unwrap().parse().unwrap();
    let exchange = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
    let (from, to) = (stream.try_clone().unwrap(), exchange.try_clone().unwrap());
    thread::spawn(move || copy(from, to));
    copy(exchange, stream);
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    std::io::copy(&mut from, &mut to).ok();
    to.shutdown(Shutdown::Both).ok();
}
