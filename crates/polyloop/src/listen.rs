//! Opening a listening socket.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Listens on `address`, with `backlog` connections held by the kernel. The listener blocks: for a
/// loop, set it non-blocking and hand it to `mio::net::TcpListener::from_std`.
///
/// `TCP_NODELAY` is set on the listener, from which accepted connections take it: a server answers
/// when it has the answer, and one call is spared for each connection. On Unix the address can be
/// used again at once after a restart (`SO_REUSEADDR`, which on Windows would let two programs
/// share it).
///
/// # Errors
///
/// What the system says, with the address and, where one is known, what to do.
pub fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    open(address, backlog).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "; another program listens there: choose another port, or 0"
            }
            io::ErrorKind::PermissionDenied => {
                "; ports below 1024 need privileges: choose a higher one"
            }
            io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{advice}"))
    })
}

fn open(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if cfg!(unix) {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    socket.set_tcp_nodelay(true)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn an_accepted_connection_sends_without_delay() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), 8).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }

    #[test]
    fn says_which_address_is_in_use() {
        let first = listen("127.0.0.1:0".parse().unwrap(), 8).unwrap();
        let address = first.local_addr().unwrap();
        let error = listen(address, 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
