//! A server takes the listening sockets over from the running one, over a Unix socket at
//! `CONNECTOR_TAKEOVER_SOCKET`, so that some server listens at every moment: both hold the same
//! sockets until the successor serves, and only then does the predecessor drain. If the successor
//! fails earlier, the predecessor serves on as before. A predecessor that was stopped still hands
//! the sockets over until its drain is over.
//!
//! ```text
//! successor ── connects ──────────────────────────> predecessor
//!           <─ HANDED and the sockets (SCM_RIGHTS) ─
//!           ── SERVING, when it is warm ────────────>
//!           <─ LEAVING ────────────────────────────   and tells its clients to move
//! ```

use std::fs::{self, Permissions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::io::retry_on_intr;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use socket2::SockRef;

use crate::cores::process::listen_error::ListenError;
use crate::limits::{TAKEOVER_PATIENCE, TAKEOVER_PAUSE};

/// One byte for each message. Another version of this protocol uses other bytes.
const HANDED: u8 = b'1';
const SERVING: u8 = b'2';
const LEAVING: u8 = b'3';

/// The clients' socket, and that of the ops port.
const SOCKETS_MAX: usize = 2;

/// The sockets on which the predecessor listens.
pub(crate) struct Handed {
    pub(crate) clients: TcpListener,
    /// `None`: it serves no health and metrics.
    pub(crate) ops: Option<TcpListener>,
}

/// The running server, which waits until this one serves.
pub(crate) struct Predecessor {
    stream: UnixStream,
    path: PathBuf,
}

/// Asks the server at `path` for its sockets. `None`: no server is there, or its socket was left
/// behind by a dead one.
///
/// # Errors
/// The server cannot be asked, or does not answer as this protocol requires.
pub(crate) fn ask(path: &Path) -> Result<Option<(Predecessor, Handed)>, String> {
    let stream = match uninterrupted(|| UnixStream::connect(path)) {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
            _ => return Err(format!("the server that runs cannot be asked: {error}")),
        },
    };
    let handed = receive(&stream)
        .map_err(|error| format!("the server that runs does not hand over its sockets: {error}"))?;
    Ok(Some((Predecessor { stream, path: path.to_owned() }, handed)))
}

impl Predecessor {
    /// This server serves: the predecessor may go down. Returns when it has begun to.
    pub(crate) fn relieve(mut self) -> Result<(), ListenError> {
        let mut answer = [0];
        let mut notify = || {
            self.stream.write_all(&[SERVING])?;
            self.stream.read_exact(&mut answer)
        };
        match notify() {
            Ok(()) if answer == [LEAVING] => {
                tracing::info!("took the ports over from process {}", peer(&self.stream));
                Ok(())
            }
            other => Err(ListenError::Takeover {
                path: self.path,
                why: format!(
                    "the server that runs did not hear that this one serves ({}); it serves on",
                    other.err().map_or("another answer was expected".to_owned(), |e| e.to_string())
                ),
            }),
        }
    }
}

/// Repeats a call that a signal has interrupted. An interrupted connect to a Unix socket has made
/// no connection.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn receive(stream: &UnixStream) -> io::Result<Handed> {
    stream.set_read_timeout(Some(TAKEOVER_PATIENCE))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received =
        retry_on_intr(|| recvmsg(stream, &mut [IoSliceMut::new(&mut word)], &mut control, flags))?;
    let mut listeners = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sockets) = message {
            listeners.extend(sockets.map(listener));
        }
    }
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    if (received.bytes, word) != (1, [HANDED]) {
        return Err(invalid("another answer was expected; is it of another version?"));
    }
    let mut listeners = listeners.into_iter();
    let clients = listeners.next().ok_or_else(|| invalid("none came"))??;
    Ok(Handed { clients, ops: listeners.next().transpose()? })
}

fn listener(socket: OwnedFd) -> io::Result<TcpListener> {
    if !SockRef::from(&socket).is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "one does not listen"));
    }
    Ok(TcpListener::from(socket))
}

/// Where a successor asks for this server's sockets.
pub(crate) struct Handover {
    listener: UnixListener,
    /// The path at which it was bound, beside that of a predecessor, and its final path.
    bound: PathBuf,
    path: PathBuf,
    sockets: Vec<OwnedFd>,
}

impl Handover {
    /// Prepares the socket at `path`. [`Self::open`] opens it. `sockets`: the clients' first.
    ///
    /// Errors: the socket cannot be created in that folder, or the path is too long for a socket.
    pub(crate) fn new(path: &Path, sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let mut bound = path.as_os_str().to_owned();
        bound.push(format!(".{}", std::process::id()));
        let bound = PathBuf::from(bound);
        let listener = UnixListener::bind(&bound)?;
        let handover = Self { listener, bound, path: path.to_owned(), sockets };
        // Only our user may connect: a process that gets the sockets gets the clients.
        fs::set_permissions(&handover.bound, Permissions::from_mode(0o600))?;
        Ok(handover)
    }

    /// Serves successors from now on, in a thread of its own, in place of the process that did so
    /// before. `leave` is called once one of them serves.
    pub(crate) fn open(mut self, leave: impl FnOnce() + Send + 'static) -> io::Result<()> {
        fs::rename(&self.bound, &self.path)?;
        self.bound = PathBuf::new();
        std::thread::Builder::new().name("takeover".to_owned()).spawn(move || {
            // One at a time, because two successors would replace each other.
            for stream in self.listener.incoming() {
                match stream.and_then(|stream| hand_over(stream, &self.sockets)) {
                    Ok(successor) => {
                        tracing::info!("process {successor} has taken the ports over");
                        // That successor serves further ones.
                        drop(self);
                        return leave();
                    }
                    Err(error) => {
                        tracing::warn!("a takeover came to nothing: {error}; serving on");
                        // Without a free file descriptor the next try fails too.
                        std::thread::park_timeout(TAKEOVER_PAUSE);
                    }
                }
            }
        })?;
        Ok(())
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if !self.bound.as_os_str().is_empty() {
            let _gone = fs::remove_file(&self.bound);
        }
    }
}

/// Returns the successor's process id when it serves.
fn hand_over(mut stream: UnixStream, sockets: &[OwnedFd]) -> io::Result<String> {
    stream.set_read_timeout(Some(TAKEOVER_PATIENCE))?;
    stream.set_write_timeout(Some(TAKEOVER_PATIENCE))?;
    let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let has_room = control.push(SendAncillaryMessage::ScmRights(&sockets));
    assert!(has_room, "there are at most {SOCKETS_MAX}");
    let handed = [IoSlice::new(&[HANDED])];
    retry_on_intr(|| sendmsg(&stream, &handed, &mut control, SendFlags::NOSIGNAL))?;
    let mut word = [0];
    stream.read_exact(&mut word).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("the successor did not come to serve"),
        io::ErrorKind::WouldBlock => {
            io::Error::other(format!("the successor did not serve within {TAKEOVER_PATIENCE:?}"))
        }
        _ => error,
    })?;
    if word != [SERVING] {
        return Err(io::Error::other("the successor speaks another version"));
    }
    stream.write_all(&[LEAVING])?;
    Ok(peer(&stream))
}

/// The process at the other end, for people.
fn peer(stream: &UnixStream) -> String {
    socket_peercred(stream)
        .map_or("unknown".to_owned(), |peer| peer.pid.as_raw_nonzero().to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("connector-takeover-{}-{name}", std::process::id()))
    }

    fn handover(path: &Path, listener: &TcpListener) -> Handover {
        Handover::new(path, vec![listener.try_clone().unwrap().into()]).unwrap()
    }

    #[test]
    fn the_sockets_are_handed_over_and_only_a_serving_successor_ends_it() {
        let path = path("whole");
        assert!(ask(&path).unwrap().is_none(), "nobody is there");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (left, leaving) = channel();
        handover(&path, &listener).open(move || left.send(()).unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let (predecessor, handed) = ask(&path).unwrap().unwrap();
        assert_eq!(handed.clients.local_addr().unwrap(), listener.local_addr().unwrap());
        assert!(handed.ops.is_none());
        drop(predecessor);
        assert!(leaving.try_recv().is_err(), "that one did not come to serve");

        let (predecessor, _) = ask(&path).unwrap().unwrap();
        predecessor.relieve().unwrap();
        leaving.recv().unwrap();
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_a_dead_server_has_left_is_nobody() {
        let path = path("left");
        drop(UnixListener::bind(&path).unwrap());
        assert!(ask(&path).unwrap().is_none());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        handover(&path, &listener).open(|| {}).unwrap();
        assert!(ask(&path).unwrap().is_some());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn something_else_at_the_path_is_not_believed() {
        let path = path("else");
        let other = UnixListener::bind(&path).unwrap();
        let asked = std::thread::spawn({
            let path = path.clone();
            move || ask(&path).err()
        });
        other.accept().unwrap().0.write_all(b"hello").unwrap();
        assert!(asked.join().unwrap().is_some_and(|why| why.contains("does not hand over")));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let unopened = handover(&path, &listener);
        let bound = unopened.bound.clone();
        assert!(bound.exists());
        drop(unopened);
        assert!(!bound.exists() && path.exists(), "a start that failed leaves nothing behind");
        fs::remove_file(&path).unwrap();
    }
}
