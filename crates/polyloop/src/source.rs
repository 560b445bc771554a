//! What can be watched.

use std::io;

use mio::{event, Interest as MioInterest, Registry, Token as MioToken};

#[cfg(unix)]
use std::os::fd::{AsFd as AsDescriptor, AsRawFd as _, BorrowedFd as Borrowed, RawFd as Raw};
#[cfg(windows)]
use std::os::windows::io::{
    AsRawSocket as _, AsSocket as AsDescriptor, BorrowedSocket as Borrowed, RawSocket as Raw,
};

/// The number by which a kernel knows a source: a descriptor, on Windows a socket.
pub type RawSource = Raw;

/// A source's descriptor or socket, open for as long as it is lent.
pub type BorrowedSource<'a> = Borrowed<'a>;

/// Something that a [`Backend`](crate::Backend) can watch: a mio source that also shows its
/// descriptor or socket.
///
/// Every type of `mio::net` is one, and on Unix the ends of `mio::unix::pipe`. They work with
/// every backend: a source that is not registered with mio passes its input and output straight
/// through. For any other descriptor there is [`Descriptor`].
pub trait Source: event::Source {
    /// The descriptor or socket, to be handed to the system now.
    fn borrowed(&self) -> BorrowedSource<'_>;

    /// The same as a number, under which a backend knows the source from then on.
    fn raw(&self) -> RawSource {
        #[cfg(unix)]
        {
            self.borrowed().as_raw_fd()
        }
        #[cfg(windows)]
        {
            self.borrowed().as_raw_socket()
        }
    }
}

impl<T: event::Source + AsDescriptor> Source for T {
    #[cfg(unix)]
    fn borrowed(&self) -> BorrowedSource<'_> {
        self.as_fd()
    }
    #[cfg(windows)]
    fn borrowed(&self) -> BorrowedSource<'_> {
        self.as_socket()
    }
}

/// Any descriptor (on Windows, any socket) as a [`Source`]: a terminal, an eventfd, a device.
///
/// It is the owner of `T`. Setting it non-blocking is up to the caller; the loop's rule that only
/// `WouldBlock` ends a read holds for it too.
///
/// # Portability
///
/// On Windows only the backends that take a raw socket can watch it; mio answers
/// [`io::ErrorKind::Unsupported`]. Where mio emulates itself on poll(2)
/// (`mio_unsupported_force_poll_poll`) it is told once and never again.
#[derive(Debug)]
pub struct Descriptor<T>(pub T);

#[cfg(unix)]
impl<T: AsDescriptor> AsDescriptor for Descriptor<T> {
    fn as_fd(&self) -> Borrowed<'_> {
        self.0.as_fd()
    }
}

#[cfg(windows)]
impl<T: AsDescriptor> AsDescriptor for Descriptor<T> {
    fn as_socket(&self) -> Borrowed<'_> {
        self.0.as_socket()
    }
}

#[cfg(unix)]
impl<T: AsDescriptor> event::Source for Descriptor<T> {
    fn register(
        &mut self,
        registry: &Registry,
        token: MioToken,
        interest: MioInterest,
    ) -> io::Result<()> {
        mio::unix::SourceFd(&self.raw()).register(registry, token, interest)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: MioToken,
        interest: MioInterest,
    ) -> io::Result<()> {
        mio::unix::SourceFd(&self.raw()).reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        mio::unix::SourceFd(&self.raw()).deregister(registry)
    }
}

#[cfg(windows)]
impl<T: AsDescriptor> event::Source for Descriptor<T> {
    fn register(&mut self, _: &Registry, _: MioToken, _: MioInterest) -> io::Result<()> {
        Err(unsupported())
    }

    fn reregister(&mut self, _: &Registry, _: MioToken, _: MioInterest) -> io::Result<()> {
        Err(unsupported())
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        Err(unsupported())
    }
}

#[cfg(windows)]
fn unsupported() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "mio on Windows watches only its own socket types; the poll backend takes any socket",
    )
}
