//! Pipes, with and without a name.

use super::scenario::{only, Group, Scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "pipe",
        what: "the reading end of a pipe",
        why: "A pipe has two ends with one direction each: the reading end is never writable, \
              whatever is asked of it.",
        see: &["pipe(7)"],
        group: Group::Pipes,
        play: only!(unix: play::reader),
    },
    Scenario {
        name: "pipe-writer-gone",
        what: "the last writer closed",
        why: "Linux tells HUP and not IN when the writers are gone and nothing is left to read, \
              though a read would not block (it returns zero). Code that looks at IN only never \
              sees the end, or spins on a HUP that it does not know. polyloop tells a hang-up as \
              whatever was asked for, since neither a read nor a write would block. select has no word for a hang-up: there it is \
              readable alone.",
        see: &["pipe(7)", "poll(2) on POLLHUP"],
        group: Group::Pipes,
        play: only!(unix: play::writer_gone),
    },
    Scenario {
        name: "pipe-data-gone",
        what: "data, and then the writer closed",
        why:
            "IN and HUP stand side by side: HUP does not mean that there is nothing to read. Read \
              until zero; only then close.",
        see: &["pipe(7)", "poll(2) on POLLHUP"],
        group: Group::Pipes,
        play: only!(unix: play::data_gone),
    },
    Scenario {
        name: "pipe-full",
        what: "the writing end of a full pipe",
        why: "A pipe is a ring of pages. One byte less in it frees nothing; the end is writable \
              again when a whole page has been read, so that PIPE_BUF bytes (4096 on Linux) fit \
              without being torn apart.",
        see: &["pipe(7) on PIPE_BUF and pipe capacity", "write(2)"],
        group: Group::Pipes,
        play: only!(unix: play::full),
    },
    Scenario {
        name: "pipe-reader-gone",
        what: "the last reader closed",
        why:
            "A write would fail with EPIPE (and raise SIGPIPE): ERR, though it is an ordinary end. \
              OUT stands beside it only while there is room, so who waits for OUT alone waits for \
              ever on a full pipe. polyloop folds an error into writable. Some systems tell HUP \
              here instead.",
        see: &["pipe(7)", "poll(2) on POLLERR", "write(2) on EPIPE"],
        group: Group::Pipes,
        play: only!(unix: play::reader_gone),
    },
    Scenario {
        name: "fifo",
        what: "a named pipe that nobody has written to",
        why: "Opened for reading without blocking, before any writer came: a read returns zero as \
              if it were over, and yet nothing is told, since Linux tells HUP only after there was \
              a writer. When the last of them goes it is told, and it goes on being told until the \
              next one comes.",
        see: &["fifo(7)", "pipe(7)", "open(2) on O_NONBLOCK"],
        group: Group::Pipes,
        play: only!(linux: play::fifo),
    },
];

#[cfg(unix)]
mod play {
    use std::io::{self, Read, Write};

    use mio::unix::pipe;

    use crate::atlas::stage::Stage;

    pub(super) fn reader(stage: &mut Stage<'_>) -> io::Result<()> {
        let (mut writer, mut reader) = pipe::new()?;
        stage.watch(&mut reader);
        stage.now(&reader, "nothing was written")?;
        writer.write_all(b"x")?;
        stage.now(&reader, "a byte was written")
    }

    pub(super) fn writer_gone(stage: &mut Stage<'_>) -> io::Result<()> {
        let (writer, mut reader) = pipe::new()?;
        stage.watch(&mut reader);
        drop(writer);
        stage.now(&reader, "no writer is left")
    }

    pub(super) fn data_gone(stage: &mut Stage<'_>) -> io::Result<()> {
        let (mut writer, mut reader) = pipe::new()?;
        stage.watch(&mut reader);
        writer.write_all(b"x")?;
        drop(writer);
        stage.now(&reader, "a byte, and no writer")?;
        stage.input(&reader, || (&reader).read(&mut [0; 64]))?;
        stage.now(&reader, "the byte was read")
    }

    pub(super) fn full(stage: &mut Stage<'_>) -> io::Result<()> {
        let (mut writer, mut reader) = pipe::new()?;
        stage.watch(&mut writer);
        stage.now(&writer, "nothing was written")?;
        stage.fill(&writer, |bytes| (&writer).write(bytes))?;
        stage.now(&writer, "a write said EAGAIN")?;
        reader.read_exact(&mut [0; 1])?;
        stage.now(&writer, "one byte of it was read")?;
        reader.read_exact(&mut [0; 4095])?;
        stage.now(&writer, "a page of it was read")
    }

    pub(super) fn reader_gone(stage: &mut Stage<'_>) -> io::Result<()> {
        let (mut writer, reader) = pipe::new()?;
        stage.watch(&mut writer);
        drop(reader);
        stage.now(&writer, "no reader is left")?;
        let (mut full, reader) = pipe::new()?;
        stage.watch(&mut full);
        stage.fill(&full, |bytes| (&full).write(bytes))?;
        drop(reader);
        stage.now(&full, "nor of a full pipe")
    }

    #[cfg(target_os = "linux")]
    pub(super) fn fifo(stage: &mut Stage<'_>) -> io::Result<()> {
        use nix::sys::stat::Mode;
        use std::fs::OpenOptions;
        use std::os::fd::OwnedFd;
        use std::os::unix::fs::OpenOptionsExt;

        let directory = tempfile::tempdir()?;
        let path = directory.path().join("fifo");
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let unblocked = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let reader = OpenOptions::new().read(true).custom_flags(unblocked).open(&path)?;
        let mut reader = pipe::Receiver::from(OwnedFd::from(reader));
        stage.watch(&mut reader);
        stage.now(&reader, "no writer has come yet")?;
        let writer = OpenOptions::new().write(true).open(&path)?;
        stage.now(&reader, "a writer has come")?;
        drop(writer);
        stage.now(&reader, "the writer has gone")
    }
}
