//! Opening a listening socket.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::{Address, Peer};

/// A listening socket, TCP or Unix-domain.
///
/// Its type below is `TcpListener`, and those that it accepts are `TcpStream`s, for both kinds of
/// stream socket: what the system does with them is the same, addresses apart, and everything above
/// is written once. The path of a Unix-domain socket is removed when its listener is dropped.
#[derive(Debug)]
pub struct Listener {
    // Dropped first: who finds nobody at the path takes it over, and it would be theirs.
    pub(crate) path: Option<BoundPath>,
    pub(crate) socket: TcpListener,
    pub(crate) address: Address,
}

impl Listener {
    /// Where it listens, with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The socket. Its own `accept` fails on a Unix-domain socket.
    #[must_use]
    pub fn socket(&self) -> &TcpListener {
        &self.socket
    }

    /// Accepts a connection; the call blocks, unless the socket is non-blocking.
    ///
    /// # Portability
    ///
    /// On Linux the connection blocks; elsewhere it takes that over from the listener.
    ///
    /// # Errors
    ///
    /// What `accept` says.
    pub fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        if self.path.is_some() {
            let (stream, _) = SockRef::from(&self.socket).accept()?;
            return Ok((stream.into(), Peer::UNIX));
        }
        let (stream, peer) = self.socket.accept()?;
        Ok((stream, peer.into()))
    }
}

/// Says whether an error of `accept` concerns only the connection that it would have been, so that
/// the next call may succeed at once: the peer left while it waited in the backlog, which Windows
/// tells as a reset, or a signal came.
#[must_use]
pub fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// For whoever accepts otherwise. The path of a Unix-domain socket is theirs to remove.
impl From<Listener> for TcpListener {
    fn from(listener: Listener) -> TcpListener {
        std::mem::forget(listener.path);
        listener.socket
    }
}

/// The path of a Unix-domain socket, which goes when the process that bound it is done with it.
#[derive(Debug)]
pub(crate) struct BoundPath {
    path: PathBuf,
    /// A forked child drops its copy too.
    owner: u32,
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        if self.owner == process::id() {
            // Somebody else may have been quicker.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens on `address`, with `backlog` connections held by the kernel. The listener blocks: for a
/// loop, set it non-blocking.
///
/// `TCP_NODELAY` is set on the listener, from which accepted connections take it: a server answers
/// when it has the answer, and one call is spared for each connection. On Unix the address can be
/// used again at once after a restart (`SO_REUSEADDR`, which on Windows would let two programs
/// share it); a path that a server left behind which did not end properly is taken over.
///
/// # Errors
///
/// What the system says, with the address and, where one is known, what to do.
pub fn listen(address: &Address, backlog: u32) -> io::Result<Listener> {
    let opened = match address {
        Address::Ip(address) => open_tcp(*address, backlog, |_| Ok(())),
        Address::Unix(path) => open_unix(path, backlog),
    };
    explained(address, opened)
}

/// As [`listen`], on all of `addresses`.
///
/// # Errors
///
/// As there; `InvalidInput` if there are none.
pub fn listen_all(addresses: &[Address], backlog: u32) -> io::Result<Vec<Listener>> {
    expect_some(addresses)?;
    addresses.iter().map(|address| listen(address, backlog)).collect()
}

/// Refuses to listen nowhere.
pub(crate) fn expect_some(addresses: &[Address]) -> io::Result<()> {
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on"));
    }
    Ok(())
}

/// As [`listen`], at an address where others of this program may listen as well: the kernel spreads
/// connections over them.
pub(crate) fn listen_beside(address: &Address, backlog: u32) -> io::Result<Listener> {
    let opened = match address {
        Address::Ip(address) => open_tcp(*address, backlog, share_port),
        Address::Unix(_) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a path can't be shared by several listeners; one loop can accept for all",
        )),
    };
    explained(address, opened)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn share_port(_: &Socket) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "listeners that share a port: Linux only; one loop can accept for all",
    ))
}

fn explained<T>(address: &Address, opened: io::Result<T>) -> io::Result<T> {
    opened.map_err(|error| refused(address, &error))
}

/// The error of a socket that could not be opened at `address`: what to do about it, where that is
/// known.
pub(crate) fn refused(address: &Address, error: &io::Error) -> io::Error {
    let kind = error.kind();
    let advice = match (kind, address) {
        (io::ErrorKind::AddrInUse, Address::Ip(_)) => {
            "; another program listens there: choose another port, or 0"
        }
        (io::ErrorKind::AddrInUse, Address::Unix(_)) => {
            "; another program listens there: choose another path"
        }
        (io::ErrorKind::AlreadyExists, _) => "; choose another path, or remove it",
        (io::ErrorKind::PermissionDenied, Address::Ip(_)) => {
            "; ports below 1024 need privileges: choose a higher one"
        }
        (io::ErrorKind::PermissionDenied, Address::Unix(_)) => {
            "; choose a directory that you may write to"
        }
        (io::ErrorKind::NotFound, _) => "; make the directory first",
        (io::ErrorKind::InvalidInput, Address::Unix(path)) if !path.as_os_str().is_empty() => {
            "; choose a shorter path"
        }
        (io::ErrorKind::AddrNotAvailable, _) => "; this machine does not have that address",
        _ => "",
    };
    io::Error::new(kind, format!("cannot listen on {address}: {error}{advice}"))
}

fn open_tcp(
    address: SocketAddr,
    backlog: u32,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if cfg!(unix) {
        socket.set_reuse_address(true)?;
    }
    prepare(&socket)?;
    socket.bind(&address.into())?;
    socket.set_tcp_nodelay(true)?;
    socket.listen(length(backlog))?;
    let socket = TcpListener::from(socket);
    let address = Address::Ip(socket.local_addr()?);
    Ok(Listener { socket, address, path: None })
}

fn open_unix(path: &Path, backlog: u32) -> io::Result<Listener> {
    if cfg!(not(unix)) {
        let message = "Unix-domain sockets: Unix only";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    if path.as_os_str().is_empty() {
        // Linux would make up a name that nobody knows.
        let message = "a path is missing, as in unix:/tmp/echo.sock";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let address = SockAddr::unix(path)?;
    remove_abandoned(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&address)?;
    let bound = BoundPath { path: path.into(), owner: process::id() };
    socket.listen(length(backlog))?;
    Ok(Listener { socket: socket.into(), address: Address::Unix(path.into()), path: Some(bound) })
}

fn length(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

/// Removes a socket at which nobody listens any more: its file outlives its server.
fn remove_abandoned(path: &Path, address: &SockAddr) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if is_socket(&found) => {}
        Ok(_) => {
            let message = "the path exists and is not a socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Somebody whose backlog is full is alive: the call shall not wait for room.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(unix)]
fn is_socket(found: &fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&found.file_type())
}

#[cfg(not(unix))]
fn is_socket(_: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> Address {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn an_accepted_connection_sends_without_delay() {
        let listener = listen(&any(), 8).unwrap();
        let _client = TcpStream::connect(listener.address().ip().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }

    #[test]
    fn says_which_address_is_in_use() {
        let first = listen(&any(), 8).unwrap();
        let error = listen(first.address(), 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&first.address().to_string()), "{error}");
    }

    #[test]
    fn who_may_not_listen_is_told_where_one_may() {
        let advice = |address: &Address| {
            refused(address, &io::ErrorKind::PermissionDenied.into()).to_string()
        };
        let port = advice(&"127.0.0.1:80".parse().unwrap());
        assert!(
            port.ends_with("; ports below 1024 need privileges: choose a higher one"),
            "{port}"
        );
        let path = advice(&Address::Unix("somewhere/socket".into()));
        assert!(path.ends_with("; choose a directory that you may write to"), "{path}");
    }

    #[cfg(unix)]
    mod unix {
        use super::*;
        use std::os::unix::net::UnixListener;

        fn within(directory: &tempfile::TempDir) -> (PathBuf, Address) {
            let path = directory.path().join("socket");
            (path.clone(), Address::Unix(path))
        }

        #[test]
        fn a_path_in_use_is_left_alone_and_goes_with_its_listener() {
            let directory = tempfile::tempdir().unwrap();
            let (path, address) = within(&directory);
            let first = listen(&address, 8).unwrap();
            let error = listen(&address, 8).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            drop(first);
            assert!(!path.exists());
        }

        #[test]
        fn a_path_that_was_left_behind_is_taken_over() {
            let directory = tempfile::tempdir().unwrap();
            let (path, address) = within(&directory);
            // The standard library's listener leaves its path.
            drop(UnixListener::bind(&path).unwrap());
            assert!(path.exists());
            assert_eq!(listen(&address, 8).unwrap().address(), &address);
        }

        #[test]
        fn a_path_that_no_socket_can_have_is_explained() {
            for (path, explained) in [
                ("x".repeat(200), "; choose a shorter path"),
                (String::new(), ": a path is missing, as in unix:/tmp/echo.sock"),
            ] {
                let error = listen(&Address::Unix(path.into()), 8).unwrap_err().to_string();
                assert!(error.ends_with(explained), "{error}");
            }
        }

        #[test]
        fn a_file_that_is_no_socket_is_not_touched() {
            let directory = tempfile::tempdir().unwrap();
            let (path, address) = within(&directory);
            fs::write(&path, "precious").unwrap();
            let error = listen(&address, 8).unwrap_err().to_string();
            assert!(error.contains("exists and is not a socket; choose another path"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        }
    }
}
