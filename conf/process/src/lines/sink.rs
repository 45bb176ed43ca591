//! Where lines go: a file, or one of the standard streams.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::OFlags,
};

/// Where both standard streams are the same pipe, what is longer than a page is not written in one call: two writers
/// would tear each other's lines.
static STANDARD: Mutex<()> = Mutex::new(());

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// A file, which lines are appended to; it is made if it is missing. A named pipe or a device will do.
    File(PathBuf),
    Stdout,
    Stderr,
}

impl Sink {
    /// `stdout` and `stderr` are the streams; any other path is that of a file, relative to `folder`.
    pub fn of(path: &Path, folder: &Path) -> Self {
        match path.to_str() {
            Some("stdout") => Self::Stdout,
            Some("stderr") => Self::Stderr,
            _ => Self::File(folder.join(path)),
        }
    }

    pub(super) fn open(&self) -> io::Result<Output> {
        match self {
            Self::File(path) => open_file(path).map(Output::File),
            Self::Stdout => duplicate(io::stdout().as_fd()),
            Self::Stderr => duplicate(io::stderr().as_fd()),
        }
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
        }
    }
}

/// An open sink.
#[derive(Debug)]
pub(super) enum Output {
    File(File),
    /// A stream that is the same as the other one.
    Shared(File),
}

impl Output {
    /// Writes whole lines. It may wait for as long as whoever reads them likes.
    ///
    /// # Errors
    /// Those of the file. The lines that are not there, or not as a whole, are counted.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Failed> {
        match self {
            Self::File(file) => write_lines(file, lines),
            Self::Shared(file) => {
                // Nothing of a torn write can be left behind a panic: there is no state.
                let _alone = STANDARD.lock().unwrap_or_else(PoisonError::into_inner);
                write_lines(file, lines)
            }
        }
    }
}

fn duplicate(stream: BorrowedFd<'_>) -> io::Result<Output> {
    let descriptor: OwnedFd = stream.try_clone_to_owned()?;
    let file = File::from(descriptor);
    // Otherwise a reader that sleeps at one of them would silence the other one.
    let is_shared = are_same(io::stdout().as_fd(), io::stderr().as_fd())?;
    Ok(if is_shared {
        Output::Shared(file)
    } else {
        Output::File(file)
    })
}

fn are_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// Opening a named pipe that nobody reads must not wait; writing to it afterwards may.
fn open_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
        .open(path)?;
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Why lines could not be written.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: io::Error,
    /// Those that are not in the file, or not as a whole.
    pub(super) lines: usize,
}

fn write_lines(
    file: &mut (impl io::Write + std::os::fd::AsFd),
    mut lines: &[u8],
) -> Result<(), Failed> {
    while !lines.is_empty() {
        let error = match file.write(lines) {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(count) => {
                lines = &lines[count..];
                continue;
            }
            Err(error) => error,
        };
        let error = match error.kind() {
            io::ErrorKind::Interrupted => continue,
            // Somebody who shares the stream, such as a shell, has set this.
            io::ErrorKind::WouldBlock => match wait_for_room(file.as_fd()) {
                Ok(()) => continue,
                Err(error) => error,
            },
            _ => error,
        };
        let lines = lines.split_inclusive(|byte| *byte == b'\n').count();
        return Err(Failed { error, lines });
    }
    Ok(())
}

fn wait_for_room(file: BorrowedFd<'_>) -> io::Result<()> {
    poll(&mut [PollFd::new(&file, PollFlags::OUT)], None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    /// Takes so many bytes, a few at a time and interrupted in between, and is full then.
    struct Narrow {
        room: usize,
        is_interrupted: bool,
        /// What it is polled by, which it never is.
        unused: File,
    }

    impl io::Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.is_interrupted = !self.is_interrupted;
            if self.is_interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if self.room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(self.room).min(3);
            self.room -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl AsFd for Narrow {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.unused.as_fd()
        }
    }

    #[test]
    fn a_line_that_is_torn_is_lost_and_those_before_it_are_not() {
        let lines = b"one\ntwo\nthree\n";
        for (room, lost) in [(0, 3), (3, 3), (4, 2), (7, 2), (8, 1), (13, 1), (14, 0)] {
            let mut file = Narrow {
                room,
                is_interrupted: false,
                unused: File::open("/dev/null").unwrap(),
            };
            let failed = write_lines(&mut file, lines).err();
            let counted = failed.map_or(0, |failed| failed.lines);
            assert_eq!(counted, lost, "room for {room} bytes");
        }
    }

    #[test]
    fn the_standard_streams_have_names() {
        let folder = Path::new("/etc");
        assert_eq!(Sink::of(Path::new("stdout"), folder), Sink::Stdout);
        assert_eq!(Sink::of(Path::new("stderr"), folder), Sink::Stderr);
        let file = Sink::File("/etc/logs/stdout".into());
        assert_eq!(Sink::of(Path::new("logs/stdout"), folder), file);
    }

    #[test]
    fn streams_are_the_same_only_if_they_lead_to_the_same_place() {
        let (_reader, writer) = io::pipe().unwrap();
        let (_other_reader, other) = io::pipe().unwrap();
        let twice = writer.try_clone().unwrap();
        assert!(are_same(writer.as_fd(), twice.as_fd()).unwrap());
        assert!(!are_same(writer.as_fd(), other.as_fd()).unwrap());
    }

    #[test]
    fn a_pipe_without_a_reader_is_an_error_and_no_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(Sink::File(path).open().is_err());
    }

    /// Another program that has the same pipe can make it non-blocking for all.
    #[test]
    fn a_pipe_that_says_it_would_block_is_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut file = File::from(OwnedFd::from(writer));
        let reading = std::thread::spawn(move || io::read_to_string(reader).unwrap().len());
        let lines = b"a line\n".repeat(100_000);
        write_lines(&mut file, &lines).unwrap();
        drop(file);
        assert_eq!(reading.join().unwrap(), lines.len());
    }
}
