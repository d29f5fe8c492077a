//! How programs of a platform are run on this machine, found out before any is.
//!
//! In this order: the processor runs them; the kernel has been told of an emulator that needs
//! nothing of the root (`binfmt_misc` with flag F); there is an emulator, and the sandbox tells the
//! kernel of it for itself alone. Nothing of this is in a key: what a program does must not depend
//! on what runs it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oci::Platform;
use sandbox::{Emulator, ProbeError, Rung};

use crate::machine::Machine;

/// Where the kernel shows what it was told (kernel documentation, "Kernel Support for
/// miscellaneous Binary Formats").
const TABLE: &str = "/proc/sys/fs/binfmt_misc";
/// The longest description of an entry that is read, in bytes. The kernel's own limit is 1920 for
/// what was written.
const ENTRY_BYTES_MAX: u64 = 16 * 1024;
/// The most headers that are looked through for a loader.
const PROGRAM_HEADERS_MAX: u16 = 64;
/// How often a program that somebody still has open for writing is tried.
const BUSY_TRIES: u32 = 50;

/// What runs programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The processor.
    Native,
    /// An emulator that the kernel knows.
    Registered {
        /// As the kernel names it.
        interpreter: String,
    },
    /// An emulator that the sandbox has to be given.
    Given(Emulator),
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmulationError {
    /// Nobody emulates that.
    #[error("nothing runs programs for {0} on this machine")]
    NoMachine(String),
    /// There is no emulator.
    #[error(
        "{platform} cannot run on this machine, which is {host}, and there is no emulator for it"
    )]
    NoEmulator {
        platform: String,
        host: String,
        qemu: &'static str,
    },
    /// There is one that would need its libraries in every root.
    #[error("the emulator {} needs libraries that an image for {platform} does not have", path.display())]
    Dynamic { platform: String, path: PathBuf },
    /// The kernel does not take it.
    #[error("the emulator {} for {platform} cannot be used", path.display())]
    Sandbox {
        platform: String,
        path: PathBuf,
        source: Box<ProbeError>,
    },
}

impl EmulationError {
    /// What the user can do about it.
    pub(crate) fn advice(&self) -> String {
        match self {
            Self::NoMachine(_) => {
                "build the stage on `--platform=$BUILDPLATFORM`, where its RUN need not be emulated"
                    .to_owned()
            }
            Self::NoEmulator { qemu, .. } => format!(
                "install qemu-{qemu}-static (Debian: `apt-get install qemu-user-static`), name its \
                 directory with `--emulator-dir`, or build the stage on \
                 `--platform=$BUILDPLATFORM`"
            ),
            Self::Dynamic { .. } => {
                "install one that is linked statically (Debian: `apt-get install \
                 qemu-user-static`)"
                    .to_owned()
            }
            Self::Sandbox { .. } => {
                "register emulators with the kernel (Debian: `apt-get install qemu-user-static \
                 binfmt-support`), which needs root once, or use Linux 6.7 or newer"
                    .to_owned()
            }
        }
    }
}

/// Why nothing runs programs of a platform here.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct NotRunnable {
    /// Why.
    pub reason: String,
    /// What the user can do about it.
    pub advice: String,
}

/// What runs programs of a platform on this machine, in words. Starts processes: call it where that
/// may take its time. `scratch` is where trials may be made.
///
/// # Errors
///
/// [`NotRunnable`].
pub fn runner_of(
    platform: &Platform,
    program_path: OsString,
    scratch: &Path,
    rung: Rung,
) -> Result<String, NotRunnable> {
    let emulation = Emulation {
        host: Platform::host(),
        directory: None,
        program_path,
        scratch: scratch.to_owned(),
    };
    match emulation.find(platform, rung) {
        Ok(Way::Native) => Ok("this processor".to_owned()),
        Ok(Way::Registered { interpreter }) => Ok(format!("{interpreter}, which the kernel knows")),
        Ok(Way::Given(emulator)) => Ok(emulator.interpreter.display().to_string()),
        Err(error) => Err(NotRunnable {
            reason: error.to_string(),
            advice: error.advice(),
        }),
    }
}

/// Where to look.
#[derive(Clone, Debug)]
pub(crate) struct Emulation {
    /// What this machine is.
    pub host: Platform,
    /// A directory with emulators, before all others.
    pub directory: Option<PathBuf>,
    /// As in the environment variable `PATH`.
    pub program_path: OsString,
    /// Where a trial may be made.
    pub scratch: PathBuf,
}

impl Emulation {
    /// Whether programs of a platform run without anything being found out.
    pub(crate) fn is_native(&self, platform: &Platform) -> bool {
        platform.architecture == self.host.architecture
    }

    /// Finds out what runs programs of a platform. Starts processes: call it where that may take
    /// its time.
    pub(crate) fn find(&self, platform: &Platform, rung: Rung) -> Result<Way, EmulationError> {
        if self.is_native(platform) {
            return Ok(Way::Native);
        }
        let machine = Machine::of_platform(platform)
            .ok_or_else(|| EmulationError::NoMachine(platform.to_string()))?;
        if self.processor_runs(machine) {
            return Ok(Way::Native);
        }
        if let Some(interpreter) = registered(Path::new(TABLE), machine) {
            return Ok(Way::Registered { interpreter });
        }
        let mut dynamic = None;
        for path in self.candidates(machine) {
            if is_static(&path) {
                let emulator = Emulator {
                    interpreter: path.clone(),
                    magic: machine.magic(),
                    mask: machine.mask(),
                };
                return match sandbox::try_emulator(rung, &self.scratch, &emulator) {
                    Ok(()) => Ok(Way::Given(emulator)),
                    Err(source) => Err(EmulationError::Sandbox {
                        platform: platform.to_string(),
                        path,
                        source: Box::new(source),
                    }),
                };
            }
            dynamic.get_or_insert(path);
        }
        let platform = platform.to_string();
        Err(match dynamic {
            Some(path) => EmulationError::Dynamic { platform, path },
            None => EmulationError::NoEmulator {
                platform,
                host: self.host.to_string(),
                qemu: machine.qemu,
            },
        })
    }

    /// The emulators that there are, the best first.
    fn candidates(&self, machine: &Machine) -> Vec<PathBuf> {
        let names = [
            format!("qemu-{}-static", machine.qemu),
            format!("qemu-{}", machine.qemu),
        ];
        let path = std::env::split_paths(&self.program_path).filter(|one| one.is_absolute());
        let directories: Vec<PathBuf> = self.directory.iter().cloned().chain(path).collect();
        let mut found = Vec::new();
        for name in &names {
            found.extend(directories.iter().map(|one| one.join(name)));
        }
        found.retain(|path| {
            fs::metadata(path)
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        });
        found
    }

    /// Whether the processor itself runs them, as those for amd64 do with programs for 386 if the
    /// kernel lets them: tried with the smallest program.
    fn processor_runs(&self, machine: &Machine) -> bool {
        let program = match (self.host.architecture.as_str(), machine.architecture) {
            ("amd64", "386") => smallest(machine, &EXIT_386),
            ("arm64", "arm") => smallest(machine, &EXIT_ARM),
            _ => return false,
        };
        let path = self.scratch.join(format!("trial-{}", machine.architecture));
        let ran = fs::write(&path, program)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .is_ok()
            && runs(&path);
        // What is left goes with the directory of the build.
        let _ = fs::remove_file(&path);
        ran
    }
}

/// Whether a program ends well. One that another thread's child still has open is tried again.
fn runs(path: &Path) -> bool {
    for _ in 0..BUSY_TRIES {
        let ended = Command::new(path)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match ended {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                std::thread::yield_now();
            }
            ended => return ended.is_ok_and(|status| status.success()),
        }
    }
    false
}

/// `mov eax, 1; xor ebx, ebx; int 0x80`
const EXIT_386: [u8; 9] = [0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80];
/// `mov r0, #0; mov r7, #1; svc 0`
const EXIT_ARM: [u8; 12] = [
    0x00, 0x00, 0xa0, 0xe3, 0x01, 0x70, 0xa0, 0xe3, 0x00, 0x00, 0x00, 0xef,
];

/// A 32-bit program of one segment: header, program header, code.
fn smallest(machine: &Machine, code: &[u8]) -> Vec<u8> {
    const BASE: u32 = 0x0001_0000;
    const HEADERS: u32 = 52 + 32;
    let bytes = HEADERS + code.len() as u32;
    let mut program = machine.magic();
    let words = |program: &mut Vec<u8>, words: &[u32]| {
        program.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    // e_version, e_entry, e_phoff, e_shoff, e_flags (ARM: EABI 5).
    let flags = if machine.architecture == "arm" {
        0x0500_0000
    } else {
        0
    };
    words(&mut program, &[1, BASE + HEADERS, 52, 0, flags]);
    for half in [52_u16, 32, 1, 0, 0, 0] {
        program.extend(half.to_le_bytes());
    }
    // PT_LOAD, readable and executable.
    words(&mut program, &[1, 0, BASE, BASE, bytes, bytes, 5, 0x1000]);
    program.extend_from_slice(code);
    program
}

/// The emulator that the kernel starts for a machine's programs wherever they are.
fn registered(table: &Path, machine: &Machine) -> Option<String> {
    let read = |path: &Path| -> Option<String> {
        let mut text = String::new();
        File::open(path)
            .ok()?
            .take(ENTRY_BYTES_MAX)
            .read_to_string(&mut text)
            .ok()?;
        Some(text)
    };
    if read(&table.join("status"))?.trim() != "enabled" {
        return None;
    }
    fs::read_dir(table)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name() != OsStr::new("status"))
        .filter(|entry| entry.file_name() != OsStr::new("register"))
        .find_map(|entry| matching(&read(&entry.path())?, &machine.magic()))
}

/// The interpreter of an entry, if it is enabled, is for programs that begin like this, and needs
/// nothing of the root that they are in.
fn matching(entry: &str, header: &[u8]) -> Option<String> {
    let value = |key: &str| entry.lines().find_map(|line| line.strip_prefix(key));
    if entry.lines().next()? != "enabled" || !value("flags: ")?.contains('F') {
        return None;
    }
    let offset: usize = value("offset ")?.trim().parse().ok()?;
    let magic = unhex(value("magic ")?)?;
    let mask = match value("mask ") {
        Some(mask) => unhex(mask)?,
        None => vec![0xff; magic.len()],
    };
    let found = header.get(offset..offset.checked_add(magic.len())?)?;
    let same = magic
        .iter()
        .zip(found)
        .zip(&mask)
        .all(|((magic, found), mask)| magic & mask == found & mask);
    same.then(|| value("interpreter ").unwrap_or_default().to_owned())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim().as_bytes();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// Whether a program needs no loader: it is 64-bit, little-endian, and no header asks for one.
fn is_static(path: &Path) -> bool {
    const PT_INTERP: u32 = 3;
    let look = || -> Option<bool> {
        let mut file = File::open(path).ok()?;
        let mut header = [0; 64];
        file.read_exact(&mut header).ok()?;
        if header[..6] != *b"\x7fELF\x02\x01" {
            return None;
        }
        let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let table = u64::from_le_bytes(header[32..40].try_into().ok()?);
        for number in 0..half(56).min(PROGRAM_HEADERS_MAX) {
            let at = table.checked_add(u64::from(number) * u64::from(half(54)))?;
            file.seek(SeekFrom::Start(at)).ok()?;
            let mut kind = [0; 4];
            file.read_exact(&mut kind).ok()?;
            if u32::from_le_bytes(kind) == PT_INTERP {
                return Some(false);
            }
        }
        Some(true)
    };
    look().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str) -> &'static Machine {
        let platform: Platform = name.parse().expect("a platform");
        Machine::of_platform(&platform).expect("a machine")
    }

    const ARM64: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\n\
        flags: POCF\noffset 0\nmagic 7f454c460201010000000000000000000200b700\n\
        mask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn an_entry_counts_if_it_is_enabled_matches_and_needs_nothing_of_the_root() {
        let found = |entry: &str, name: &str| matching(entry, &machine(name).magic()).is_some();
        assert!(found(ARM64, "linux/arm64"));
        assert!(!found(ARM64, "linux/riscv64"));
        assert!(!found(&ARM64.replace("enabled", "disabled"), "linux/arm64"));
        assert!(!found(&ARM64.replace("POCF", "POC"), "linux/arm64"));
        assert!(!found(
            &ARM64.replace("offset 0", "offset 900"),
            "linux/arm64"
        ));
        assert!(!found(&ARM64.replace("b700\n", "b7zz\n"), "linux/arm64"));
        assert!(!found("enabled\nextension .exe\n", "linux/arm64"));
    }

    #[test]
    fn the_table_counts_only_while_it_is_enabled() {
        let table = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            fs::write(table.path().join(name), text).expect("a file");
        };
        let find = || registered(table.path(), machine("linux/arm64"));
        assert_eq!(find(), None, "not mounted");
        write("status", "enabled\n");
        write("register", "");
        assert_eq!(find(), None, "nothing there");
        write("qemu-aarch64", ARM64);
        let interpreter = "/usr/libexec/qemu-binfmt/aarch64-binfmt-P";
        assert_eq!(find().as_deref(), Some(interpreter));
        write("status", "disabled\n");
        assert_eq!(find(), None);
    }

    #[test]
    fn a_missing_emulator_says_what_to_install() {
        let scratch = tempfile::tempdir().expect("a directory");
        let emulation = Emulation {
            host: "linux/amd64".parse().expect("a platform"),
            directory: None,
            program_path: "".into(),
            scratch: scratch.path().to_owned(),
        };
        // No kernel knows an emulator for it, unless somebody went to much trouble.
        let platform: Platform = "linux/loong64".parse().expect("a platform");
        match emulation.find(&platform, Rung::Root) {
            Ok(Way::Registered { .. }) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert_eq!(
                    error.to_string(),
                    "linux/loong64 cannot run on this machine, which is linux/amd64, and there is \
                     no emulator for it"
                );
                let advice = error.advice();
                assert!(advice.contains("qemu-loongarch64-static"), "{advice}");
                assert!(
                    advice.contains("apt-get install qemu-user-static"),
                    "{advice}"
                );
            }
        }
    }

    #[test]
    fn programs_that_need_a_loader_are_told_from_those_that_do_not() {
        assert!(!is_static(Path::new("/proc/self/status")));
        assert!(!is_static(Path::new("/no/such/file")));
        let table = tempfile::tempdir().expect("a directory");
        let path = table.path().join("program");
        let mut program = machine("linux/amd64").magic();
        program.resize(64, 0);
        program[32] = 64;
        program[54] = 56;
        program[56] = 1;
        for (kind, expected) in [(1_u32, true), (3, false)] {
            let whole = [program.as_slice(), &kind.to_le_bytes(), &[0; 52]].concat();
            fs::write(&path, whole).expect("a file");
            assert_eq!(is_static(&path), expected);
        }
    }

    /// An emulator runs the trial programs too, wherever it is installed.
    #[test]
    fn the_trial_programs_end_well() {
        let scratch = tempfile::tempdir().expect("a directory");
        for (name, code, emulator) in [
            (
                "linux/386",
                EXIT_386.as_slice(),
                "/usr/bin/qemu-i386-static",
            ),
            ("linux/arm", EXIT_ARM.as_slice(), "/usr/bin/qemu-arm-static"),
        ] {
            let path = scratch.path().join("program");
            fs::write(&path, smallest(machine(name), code)).expect("a program");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our file");
            match Command::new(emulator).arg(&path).status() {
                Ok(status) => assert!(status.success(), "{name}: {status}"),
                #[expect(clippy::print_stderr, reason = "a skipped test says why")]
                Err(error) => eprintln!("skipped: {emulator} cannot be run: {error}"),
            }
        }
    }

    #[test]
    fn the_processor_is_asked_with_a_program() {
        let scratch = tempfile::tempdir().expect("a directory");
        let emulation = Emulation {
            host: Platform::host(),
            directory: None,
            program_path: "".into(),
            scratch: scratch.path().to_owned(),
        };
        assert!(!emulation.processor_runs(machine("linux/s390x")));
        // Whether 32-bit programs run is the kernel's choice; no trial is left in either case.
        emulation.processor_runs(machine("linux/386"));
        assert_eq!(fs::read_dir(scratch.path()).expect("it").count(), 0);
    }
}
