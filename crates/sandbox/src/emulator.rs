//! Programs of another processor: the kernel is told of an interpreter for them, inside of the
//! sandbox's user namespace only.
//!
//! Since Linux 6.7 every user namespace can have a table of its own (`binfmt_misc`, kernel
//! documentation "Kernel Support for miscellaneous Binary Formats"). It lives as long as its file
//! system is open somewhere: init holds it, and never attaches it, so that the command sees nothing
//! of it and nothing outside changes. The interpreter is opened when it is registered (flag F):
//! it need not be in the root, and is not.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::{Deserialize, Serialize};

use crate::failure::{Doing, Failure};
use crate::mounts::{DATA_ONLY, new_file_system};
use crate::process::{Process, encoding};

/// The name of the entry. Nobody but the kernel reads it.
const NAME: &str = "emulator";

/// Keep the program's own first argument (P, Linux 5.12), hand over the program as a descriptor
/// (O), with what its set-user-id bits give (C), and open the interpreter now (F).
const FLAGS: &str = "POCF";

/// The most bytes of a program's beginning that the kernel compares (`BINPRM_BUF_SIZE`).
pub const MAGIC_BYTES_MAX: usize = 256;

/// An interpreter for programs that begin with certain bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emulator {
    /// The program that runs them. Outside of the root, and linked statically: there are no
    /// libraries for it inside.
    #[serde(with = "encoding::path")]
    pub interpreter: PathBuf,
    /// What a program begins with, at most [`MAGIC_BYTES_MAX`].
    pub magic: Vec<u8>,
    /// Which bits of that are compared. As long as `magic`.
    pub mask: Vec<u8>,
}

/// Opens the interpreter with the caller's rights.
pub(crate) fn open(process: &Process) -> Result<Option<OwnedFd>, Failure> {
    let Some(emulator) = &process.emulator else {
        return Ok(None);
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(CWD, &emulator.interpreter, flags, Mode::empty())
        .doing(|| format!("open the emulator {}", emulator.interpreter.display()))
        .map(Some)
}

/// Registers the interpreter. What is given back must be kept: with it the entry goes.
pub(crate) fn register(
    process: &Process,
    interpreter: Option<OwnedFd>,
) -> Result<Option<OwnedFd>, Failure> {
    let (Some(emulator), Some(interpreter)) = (&process.emulator, interpreter) else {
        return Ok(None);
    };
    if emulator.magic.is_empty()
        || emulator.magic.len() > MAGIC_BYTES_MAX
        || emulator.mask.len() != emulator.magic.len()
    {
        return Err(Failure::Invalid {
            reason: "the bytes that an emulator is for and their mask do not fit".to_owned(),
        });
    }
    let entry = || -> io::Result<OwnedFd> {
        let table = new_file_system("binfmt_misc", &[], DATA_ONLY)?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let register = openat(&table, "register", flags, Mode::empty())?;
        let line = line(emulator, interpreter.as_fd());
        // The kernel takes an entry in one write.
        std::fs::File::from(register).write_all(line.as_bytes())?;
        Ok(table)
    };
    entry()
        .doing(|| "register an emulator in the sandbox (binfmt_misc)".to_owned())
        .map(Some)
}

/// The interpreter by its descriptor: its path may be long or hold the separator.
fn line(emulator: &Emulator, interpreter: BorrowedFd<'_>) -> String {
    let bytes =
        |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect() };
    format!(
        ":{NAME}:M::{}:{}:/proc/self/fd/{}:{FLAGS}",
        bytes(&emulator.magic),
        bytes(&emulator.mask),
        interpreter.as_raw_fd()
    )
}
