//! An echo server on tokio, as its own documentation would write it: one thread, a task for
//! each connection.
#![forbid(unsafe_code)]

use std::io;
use std::process::ExitCode;

use polyloop_benches::{concerns_one_connection, CONNECTION_BUFFER, REST};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

fn main() -> ExitCode {
    polyloop_benches::main(|listener| {
        listener.set_nonblocking(true)?;
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(serve(listener))
    })
}

async fn serve(listener: std::net::TcpListener) -> io::Result<()> {
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
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; CONNECTION_BUFFER];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length]).await?,
        }
    }
}
