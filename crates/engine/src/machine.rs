//! Processors: what their programs look like, and what QEMU calls them.

use oci::Platform;

/// A processor in a mode, as the architectures of platforms name them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Go's name, as in platforms.
    pub architecture: &'static str,
    /// `EI_CLASS` of its programs: 1 is 32 bits, 2 is 64 (ELF specification, "ELF Identification").
    class: u8,
    /// `EI_DATA`: 1 is little-endian, 2 big.
    data: u8,
    /// `e_machine`.
    number: u16,
    /// As in `qemu-NAME`.
    pub qemu: &'static str,
}

const fn machine(
    architecture: &'static str,
    (class, data, number): (u8, u8, u16),
    qemu: &'static str,
) -> Machine {
    Machine {
        architecture,
        class,
        data,
        number,
        qemu,
    }
}

const MACHINES: [Machine; 10] = [
    machine("amd64", (2, 1, 62), "x86_64"),
    machine("386", (1, 1, 3), "i386"),
    machine("arm64", (2, 1, 183), "aarch64"),
    machine("arm", (1, 1, 40), "arm"),
    machine("ppc64le", (2, 1, 21), "ppc64le"),
    machine("s390x", (2, 2, 22), "s390x"),
    machine("riscv64", (2, 1, 243), "riscv64"),
    machine("loong64", (2, 1, 258), "loongarch64"),
    machine("mips64le", (2, 1, 8), "mips64el"),
    machine("mips64", (2, 2, 8), "mips64"),
];

/// How much of a file [`Machine::of_program`] looks at, in bytes.
pub(crate) const HEADER_BYTES: usize = 20;

const MAGIC: &[u8; 4] = b"\x7fELF";
/// `EV_CURRENT`.
const VERSION: u8 = 1;
/// `ET_EXEC`; `ET_DYN`, the type of what can be loaded anywhere, differs in the lowest bit.
const EXECUTABLE: u16 = 2;

impl Machine {
    /// What a platform's programs are for; nothing for an architecture without programs, such as
    /// `wasm`.
    pub(crate) fn of_platform(platform: &Platform) -> Option<&'static Self> {
        MACHINES
            .iter()
            .find(|machine| machine.architecture == platform.architecture)
    }

    /// What a program is for, by its first [`HEADER_BYTES`]; nothing for what is not a program, or
    /// for a processor that no platform names.
    pub(crate) fn of_program(header: &[u8]) -> Option<&'static Self> {
        if header.len() < HEADER_BYTES || !header.starts_with(MAGIC) {
            return None;
        }
        let half = |at: usize, data: u8| match data {
            2 => u16::from_be_bytes([header[at], header[at + 1]]),
            _ => u16::from_le_bytes([header[at], header[at + 1]]),
        };
        MACHINES.iter().find(|machine| {
            header[4] == machine.class
                && header[5] == machine.data
                && half(16, machine.data) | 1 == EXECUTABLE | 1
                && half(18, machine.data) == machine.number
        })
    }

    /// The first bytes of its programs.
    pub(crate) fn magic(&self) -> Vec<u8> {
        let half = |number: u16| match self.data {
            2 => number.to_be_bytes(),
            _ => number.to_le_bytes(),
        };
        let mut magic = MAGIC.to_vec();
        magic.extend([self.class, self.data, VERSION]);
        magic.resize(16, 0);
        magic.extend(half(EXECUTABLE));
        magic.extend(half(self.number));
        magic
    }

    /// Which bits of these count: not the system that the program is for (byte 7), nor whether it
    /// can be loaded anywhere.
    pub(crate) fn mask(&self) -> Vec<u8> {
        let mut mask = vec![0xff; HEADER_BYTES];
        mask[7] = 0;
        mask[if self.data == 2 { 17 } else { 16 }] = 0xfe;
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_knows_its_own_programs_and_no_others() {
        for machine in &MACHINES {
            let mut header = machine.magic();
            assert_eq!(Machine::of_program(&header), Some(machine));
            // One that can be loaded anywhere, for another system.
            header[7] = 3;
            header[if machine.data == 2 { 17 } else { 16 }] = 3;
            assert_eq!(Machine::of_program(&header), Some(machine));
            let masked = |bytes: &[u8]| -> Vec<u8> {
                let mask = machine.mask();
                bytes
                    .iter()
                    .zip(mask)
                    .map(|(byte, mask)| byte & mask)
                    .collect()
            };
            assert_eq!(masked(&header), masked(&machine.magic()));
        }
        for other in [&b"#!/bin/sh\necho a script\n"[..], b"\x7fELF", b""] {
            assert_eq!(Machine::of_program(other), None);
        }
        let object = [&MACHINES[0].magic()[..16], &[1, 0, 62, 0]].concat();
        assert_eq!(Machine::of_program(&object), None, "not a program yet");
    }

    /// The line that Debian's package registers (its `qemu-aarch64` in `binfmts`).
    #[test]
    fn the_bytes_are_those_that_everybody_registers() {
        let arm: Platform = "linux/arm64".parse().expect("a platform");
        let machine = Machine::of_platform(&arm).expect("a machine");
        let hex =
            |bytes: Vec<u8>| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        assert_eq!(
            hex(machine.magic()),
            "7f454c460201010000000000000000000200b700"
        );
        assert_eq!(
            hex(machine.mask()),
            "ffffffffffffff00fffffffffffffffffeffffff"
        );
    }
}
