//! An echo server on tokio, as its own documentation would write it: one thread, a task for
//! each connection.

use std::io;

use polyloop::concerns_one_connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::{CONNECTION_BUFFER, REST};

/// Serves for ever.
///
/// # Errors
///
/// The runtime can't be made; what goes wrong with one connection ends that one only.
pub fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(accept(listener))
}

async fn accept(listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(async move {
                    // A failure concerns this connection only, which ends with it.
                    let _ = echo(stream).await;
                });
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(_) => sleep(REST).await,
        }
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; CONNECTION_BUFFER];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length]).await?,
        }
    }
}
