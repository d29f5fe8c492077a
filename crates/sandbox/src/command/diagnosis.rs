//! Why the kernel did not start a program: its one number per failure says less than the file.
//!
//! Runs in the sandbox, after all rights are given up, on files of the root. Everything read is
//! bounded and hostile.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::run::ExecFailure;

/// As much of a file as the kernel itself looks at to tell its format (`BINPRM_BUF_SIZE`).
const HEADER_BYTES: u64 = 256;

/// The most program headers that are looked through for an interpreter.
const PROGRAM_HEADERS_MAX: u16 = 64;

/// The kernel's answer in words; `None` when there is no such file.
pub(super) fn explain(path: &Path, error: &io::Error) -> Option<ExecFailure> {
    let program = path.display().to_string();
    let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
    match errno {
        libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG => {
            if !path.exists() {
                return None;
            }
            let interpreter = interpreter(path).unwrap_or_else(|| "its interpreter".to_owned());
            Some(ExecFailure::InterpreterMissing {
                program,
                interpreter,
            })
        }
        libc::EACCES | libc::EPERM | libc::EISDIR => Some(ExecFailure::NotExecutable { program }),
        libc::ENOEXEC => Some(match foreign_machine(path) {
            Some(found) => ExecFailure::WrongArchitecture {
                program,
                found,
                host: std::env::consts::ARCH.to_owned(),
            },
            None => ExecFailure::WrongFormat { program },
        }),
        errno => Some(ExecFailure::Other { program, errno }),
    }
}

/// The processor an ELF file is for, if not this one.
fn foreign_machine(path: &Path) -> Option<String> {
    let header = header(path)?;
    let machine = elf_machine(&header)?;
    let name = match machine {
        3 => "x86 (32-bit)".to_owned(),
        8 => "mips".to_owned(),
        20 => "powerpc".to_owned(),
        21 => "powerpc64".to_owned(),
        22 => "s390x".to_owned(),
        40 => "arm (32-bit)".to_owned(),
        62 => "x86_64".to_owned(),
        183 => "aarch64".to_owned(),
        243 => "riscv64".to_owned(),
        258 => "loongarch64".to_owned(),
        other => format!("ELF machine {other}"),
    };
    (name != std::env::consts::ARCH).then_some(name)
}

/// `e_machine` (ELF specification, "ELF Header"), in the file's own byte order.
fn elf_machine(header: &[u8]) -> Option<u16> {
    let magic = header.strip_prefix(b"\x7fELF")?;
    let machine = [*header.get(18)?, *header.get(19)?];
    match magic.get(1)? {
        2 => Some(u16::from_be_bytes(machine)),
        _little => Some(u16::from_le_bytes(machine)),
    }
}

/// What a script's first line or a binary's program header names to run it.
fn interpreter(path: &Path) -> Option<String> {
    let header = header(path)?;
    if let Some(line) = header.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next()?;
        let text = String::from_utf8_lossy(line);
        return text.split_ascii_whitespace().next().map(str::to_owned);
    }
    elf_interpreter(path, &header)
}

/// `PT_INTERP` of a 64-bit little-endian binary.
fn elf_interpreter(path: &Path, header: &[u8]) -> Option<String> {
    const PT_INTERP: u32 = 3;
    if header.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let word = |bytes: &[u8], at: usize| -> Option<u64> {
        Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
    };
    let half = |at: usize| -> Option<u16> {
        Some(u16::from_le_bytes(header.get(at..at + 2)?.try_into().ok()?))
    };
    let (table, entry_bytes, entries) = (word(header, 32)?, half(54)?, half(56)?);
    let mut file = File::open(path).ok()?;
    for number in 0..entries.min(PROGRAM_HEADERS_MAX) {
        let at = table.checked_add(u64::from(number) * u64::from(entry_bytes))?;
        file.seek(SeekFrom::Start(at)).ok()?;
        let mut entry = [0; 40];
        file.read_exact(&mut entry).ok()?;
        if u32::from_le_bytes(entry[..4].try_into().ok()?) == PT_INTERP {
            file.seek(SeekFrom::Start(word(&entry, 8)?)).ok()?;
            let mut name = Vec::new();
            file.take(word(&entry, 32)?.min(HEADER_BYTES))
                .read_to_end(&mut name)
                .ok()?;
            let name = name.split(|&byte| byte == 0).next()?;
            return Some(String::from_utf8_lossy(name).into_owned());
        }
    }
    None
}

fn header(path: &Path) -> Option<Vec<u8>> {
    // Opening a FIFO would wait for ever, opening a device may do anything.
    let kind = path.metadata().ok()?.file_type();
    if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() || !kind.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(HEADER_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}
