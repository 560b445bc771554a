//! Regular files, directories and devices.

use super::scenario::{only, Group, Scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "file",
        what: "a regular file",
        why: "Readiness says that a call would not block, and by definition none on a file does: \
              it may wait long for a disk, but never for somebody else. So select and poll answer \
              \"always\", and epoll refuses the question (EPERM). kqueue accepts it. Files belong \
              on threads or on io_uring. A backend declares in its caps whether it takes them, and \
              one that does not says who does.",
        see: &["select(2)", "POSIX poll", "epoll_ctl(2) on EPERM"],
        group: Group::Files,
        play: only!(unix: play::file),
    },
    Scenario {
        name: "file-at-end",
        what: "a regular file, read to its end",
        why: "Still always ready: a read at the end returns zero without waiting. Readiness is no \
              way to follow a file that grows; inotify and kqueue have one.",
        see: &["POSIX poll", "inotify(7)"],
        group: Group::Files,
        play: only!(unix: play::file_at_end),
    },
    Scenario {
        name: "directory",
        what: "a directory",
        why: "As a regular file: the kernel's part that keeps it has no way to be waited for, so \
              poll says \"always\" and epoll says EPERM. A read fails with EISDIR.",
        see: &["epoll_ctl(2) on EPERM", "read(2) on EISDIR"],
        group: Group::Files,
        play: only!(unix: play::directory),
    },
    Scenario {
        name: "/dev/null",
        what: "the device that swallows everything",
        why:
            "Never blocks, and cannot be waited for either: on Linux the device has no poll of its \
              own, which is what makes epoll say EPERM. A daemon whose standard input is /dev/null \
              meets it when it registers descriptor 0.",
        see: &["null(4)", "epoll_ctl(2) on EPERM"],
        group: Group::Files,
        play: only!(unix: play::null),
    },
    Scenario {
        name: "/dev/zero",
        what: "the device without an end",
        why: "As /dev/null. A handler that reads until EAGAIN never comes back from it: a budget \
              for each turn is needed for sources as for peers.",
        see: &["zero(4)", "epoll_ctl(2) on EPERM"],
        group: Group::Files,
        play: only!(unix: play::zero),
    },
    Scenario {
        name: "/dev/random",
        what: "a device with a poll of its own",
        why: "This driver can be waited for, so epoll takes it: /dev/random is readable once the \
              generator has been seeded, soon after the start, and writable until then. Its twin /dev/urandom \
              never blocks, has no poll, and is refused as /dev/zero is. What decides is not what \
              kind of file it is but whether its driver implements poll.",
        see: &["random(4)", "epoll_ctl(2) on EPERM"],
        group: Group::Files,
        play: only!(linux: play::random),
    },
];

#[cfg(unix)]
mod play {
    use std::fs::{File, OpenOptions};
    use std::io::{self, Read, Seek, SeekFrom, Write};

    use polyloop::Descriptor;

    use crate::atlas::stage::Stage;

    fn show(stage: &mut Stage<'_>, file: File, moment: &'static str) -> io::Result<()> {
        let mut source = Descriptor(file);
        stage.watch(&mut source);
        stage.now(&source, moment)
    }

    fn with_content() -> io::Result<File> {
        let mut file = tempfile::tempfile()?;
        file.write_all(b"content")?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }

    pub(super) fn file(stage: &mut Stage<'_>) -> io::Result<()> {
        show(stage, with_content()?, "opened to read and write")
    }

    pub(super) fn file_at_end(stage: &mut Stage<'_>) -> io::Result<()> {
        let mut file = with_content()?;
        file.read_to_end(&mut Vec::new())?;
        show(stage, file, "everything was read")
    }

    pub(super) fn directory(stage: &mut Stage<'_>) -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        show(stage, File::open(directory.path())?, "opened to read")
    }

    fn device(stage: &mut Stage<'_>, path: &str) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        show(stage, file, "opened to read and write")
    }

    pub(super) fn null(stage: &mut Stage<'_>) -> io::Result<()> {
        device(stage, "/dev/null")
    }

    pub(super) fn zero(stage: &mut Stage<'_>) -> io::Result<()> {
        device(stage, "/dev/zero")
    }

    #[cfg(target_os = "linux")]
    pub(super) fn random(stage: &mut Stage<'_>) -> io::Result<()> {
        show(stage, File::open("/dev/random")?, "opened to read")
    }
}
