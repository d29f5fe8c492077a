//! Programs made of a few instructions, for processors that this machine need not have: no
//! compiler for them is needed to test what runs them.

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// `linux/amd64`
    Amd64,
    /// `linux/arm64`
    Arm64,
}

impl Processor {
    /// As platforms name it.
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// Where the program is loaded.
const BASE: u64 = 0x40_0000;
/// Headers in front of the code: one of the file, one of its only segment.
const HEADERS: u64 = 64 + 56;

/// A program that makes the file `path` (absolute) with this content, and ends with code 0; with
/// another when it could not open the file. Static, without sections.
pub fn program(processor: Processor, path: &str, content: &str) -> Vec<u8> {
    let length = content.len() as u32;
    let path_at = code(processor, 0, 0, length).len() as u64;
    let content_at = path_at + path.len() as u64 + 1;
    let code = code(processor, path_at, content_at, length);
    let texts = [path.as_bytes(), &[0], content.as_bytes()].concat();
    executable(processor, [code, texts].concat())
}

/// A program that becomes the program at `path` (absolute), with no other argument; it ends with
/// code 1 when it cannot.
pub fn launcher(processor: Processor, path: &str) -> Vec<u8> {
    let path_at = launching(processor, 0).len() as u64;
    let texts = [path.as_bytes(), &[0]].concat();
    executable(processor, [launching(processor, path_at), texts].concat())
}

/// Code and texts with the headers that make them a program.
fn executable(processor: Processor, body: Vec<u8>) -> Vec<u8> {
    let machine: u16 = match processor {
        Processor::Amd64 => 62,
        Processor::Arm64 => 183,
    };
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let halves = |file: &mut Vec<u8>, halves: &[u16]| {
        file.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
    };
    let longs = |file: &mut Vec<u8>, longs: &[u64]| {
        file.extend(longs.iter().flat_map(|long| long.to_le_bytes()));
    };
    halves(&mut file, &[2, machine]);
    file.extend(1_u32.to_le_bytes());
    longs(&mut file, &[BASE + HEADERS, 64, 0]);
    file.extend(0_u32.to_le_bytes());
    halves(&mut file, &[64, 56, 1, 0, 0, 0]);
    // PT_LOAD, readable and executable.
    file.extend([1_u32, 5].iter().flat_map(|word| word.to_le_bytes()));
    let bytes = HEADERS + body.len() as u64;
    longs(&mut file, &[0, BASE, BASE, bytes, bytes, 0x1000]);
    file.extend(body);
    file
}

/// `O_WRONLY | O_CREAT | O_TRUNC`
const FLAGS: u32 = 0x241;
const MODE: u32 = 0o644;

/// The instructions, with the places of the texts counted from the first.
fn code(processor: Processor, path_at: u64, content_at: u64, length: u32) -> Vec<u8> {
    match processor {
        Processor::Amd64 => {
            let mut code = Vec::new();
            // lea: the place is relative to the next instruction.
            let lea = |code: &mut Vec<u8>, register: u8, place: u64| {
                let next = code.len() as u64 + 7;
                code.extend([0x48, 0x8d, register]);
                code.extend((place as i64 - next as i64).to_le_bytes()[..4].iter());
            };
            let mov = |code: &mut Vec<u8>, register: u8, value: u32| {
                code.push(register);
                code.extend(value.to_le_bytes());
            };
            let (eax, edx, esi, rdi, rsi) = (0xb8, 0xba, 0xbe, 0x3d, 0x35);
            lea(&mut code, rdi, path_at);
            mov(&mut code, esi, FLAGS);
            mov(&mut code, edx, MODE);
            mov(&mut code, eax, 2); // open
            code.extend([0x0f, 0x05]);
            code.extend([0x89, 0xc7]); // mov edi, eax
            lea(&mut code, rsi, content_at);
            mov(&mut code, edx, length);
            mov(&mut code, eax, 1); // write
            code.extend([0x0f, 0x05]);
            // The code: 0 when all of it was written.
            code.extend([0x29, 0xd0, 0x89, 0xc7]); // sub eax, edx; mov edi, eax
            mov(&mut code, eax, 60); // exit
            code.extend([0x0f, 0x05]);
            code
        }
        Processor::Arm64 => {
            let mut code: Vec<u32> = Vec::new();
            let movz = |register: u32, value: u32| 0xd280_0000 | value << 5 | register;
            let adr = |code: &[u32], register: u32, place: u64| {
                let offset = (place as i64 - code.len() as i64 * 4) as u32;
                0x1000_0000 | (offset & 3) << 29 | (offset >> 2 & 0x7_ffff) << 5 | register
            };
            let svc = 0xd400_0001;
            code.push(0x9280_0000 | 99 << 5); // movn x0, #99: AT_FDCWD
            code.push(adr(&code, 1, path_at));
            code.push(movz(2, FLAGS));
            code.push(movz(3, MODE));
            code.push(movz(8, 56)); // openat
            code.push(svc);
            code.push(adr(&code, 1, content_at));
            code.push(movz(2, length));
            code.push(movz(8, 64)); // write
            code.push(svc);
            code.push(0xcb02_0000); // sub x0, x0, x2
            code.push(movz(8, 93)); // exit
            code.push(svc);
            code.iter().flat_map(|word| word.to_le_bytes()).collect()
        }
    }
}

/// The instructions of a launcher.
fn launching(processor: Processor, path_at: u64) -> Vec<u8> {
    match processor {
        Processor::Amd64 => {
            let next = 7;
            let mut code = vec![0x48, 0x8d, 0x3d]; // lea rdi, path
            code.extend((path_at as i64 - next).to_le_bytes()[..4].iter());
            code.extend([0x6a, 0x00, 0x57]); // push 0; push rdi
            code.extend([0x48, 0x89, 0xe6]); // mov rsi, rsp
            code.extend([0x31, 0xd2]); // xor edx, edx
            code.extend([0xb8, 59, 0, 0, 0, 0x0f, 0x05]); // execve
            code.extend([0xbf, 1, 0, 0, 0]); // mov edi, 1
            code.extend([0xb8, 60, 0, 0, 0, 0x0f, 0x05]); // exit
            code
        }
        Processor::Arm64 => {
            let offset = path_at as u32;
            let code: [u32; 11] = [
                0x1000_0000 | (offset & 3) << 29 | (offset >> 2 & 0x7_ffff) << 5, // adr x0, path
                0xd100_43ff,                                                      // sub sp, sp, #16
                0xf900_03e0,                                                      // str x0, [sp]
                0xf900_07ff,                // str xzr, [sp, #8]
                0x9100_03e1,                // mov x1, sp
                0xd280_0002,                // mov x2, #0
                0xd280_0000 | 221 << 5 | 8, // execve
                0xd400_0001,                // svc #0
                0xd280_0020,                // mov x0, #1
                0xd280_0000 | 93 << 5 | 8,  // exit
                0xd400_0001,                // svc #0
            ];
            code.iter().flat_map(|word| word.to_le_bytes()).collect()
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn programs_do_what_they_say() {
        let directory = std::env::temp_dir().join(format!("kiln-program-{}", std::process::id()));
        std::fs::create_dir(&directory).expect("a directory");
        let (program, made) = (directory.join("program"), directory.join("made"));
        let bytes = super::program(
            super::Processor::Amd64,
            made.to_str().expect("UTF-8"),
            "hi\n",
        );
        std::fs::write(&program, bytes).expect("a program");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("a program");
        let start = directory.join("start");
        let bytes = super::launcher(super::Processor::Amd64, program.to_str().expect("UTF-8"));
        std::fs::write(&start, bytes).expect("a program");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&start, mode).expect("a program");
        let status = std::process::Command::new(&start)
            .status()
            .expect("it starts");
        let content = std::fs::read_to_string(&made);
        std::fs::remove_dir_all(&directory).expect("our directory");
        assert!(status.success(), "{status}");
        assert_eq!(content.expect("a file"), "hi\n");
    }
}
