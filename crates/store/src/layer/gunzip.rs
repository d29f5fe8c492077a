//! Undoes gzip (RFC 1952), every member of it, and finds the places where that can begin again.
//!
//! Such a place is the end of a deflate block. The decompressor stops there when it is asked to,
//! but it does not say which bit of the last byte the next block begins with. So all eight are
//! tried on what follows: a place counts only once decompression from there has given the same
//! bytes. That takes no more than a hundredth of the time, and what is remembered is proved.
//!
//! To begin at a bit inside of a byte, empty blocks are put in front whose lengths add up to the
//! missing bits.

use std::io::{self, BufRead, Read};

use zlib_rs::{Inflate, InflateFlush, Status};

use super::restart::{Cutter, WINDOW_BYTES};

/// Bytes of tar that a place is tried on.
const TRIAL_BYTES: usize = 4 * 1024;
/// Compressed bytes that a trial may take: a block that stores its bytes has a few more.
const TRIAL_COMPRESSED_BYTES_MAX: usize = 64 * 1024;
/// How quickly windows are compressed, which is more than how well.
const WINDOW_LEVEL: i32 = 1;
/// Bytes of a name, comment or extra field in a header that are skipped at most.
const HEADER_BYTES_MAX: u64 = 1 << 20;
/// log₂ of the window of deflate.
const WINDOW_BITS: u8 = 15;

/// A gzip stream being undone.
pub(super) struct Gunzip<R> {
    input: R,
    inflate: Box<Inflate>,
    state: State,
    /// Bytes of input so far.
    consumed: u64,
    /// Bytes of output so far.
    produced: u64,
    /// Of the current member; `None` when its beginning was not seen.
    check: Option<Check>,
    finder: Option<Finder>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Body,
    Trailer,
    End,
}

/// What the end of a member says of it.
#[derive(Default)]
struct Check {
    crc: u32,
    bytes: u32,
}

/// What finds places to begin again.
struct Finder {
    cutter: Cutter,
    /// The last bytes of output, up to [`WINDOW_BYTES`].
    tail: Vec<u8>,
    /// The last byte of input.
    last_byte: u8,
    trial: Option<Trial>,
    inflate: Box<Inflate>,
    zstd: zstd::bulk::Compressor<'static>,
}

/// A place that is to be proved.
struct Trial {
    number: usize,
    window: Vec<u8>,
    /// The byte in front of it and what follows.
    compressed: Vec<u8>,
    output: Vec<u8>,
}

impl<R: BufRead> Gunzip<R> {
    /// Undoes a whole stream and finds places on the way.
    pub(super) fn finding(input: R) -> io::Result<Self> {
        let finder = Finder {
            cutter: Cutter::new(),
            tail: Vec::with_capacity(2 * WINDOW_BYTES),
            last_byte: 0,
            trial: None,
            inflate: inflate(),
            zstd: zstd::bulk::Compressor::new(WINDOW_LEVEL)?,
        };
        Ok(Self {
            finder: Some(finder),
            ..Self::from_member(input)
        })
    }

    /// Undoes a stream from the beginning of a member.
    pub(super) fn from_member(input: R) -> Self {
        Self {
            input,
            inflate: inflate(),
            state: State::Header,
            consumed: 0,
            produced: 0,
            check: None,
            finder: None,
        }
    }

    pub(super) fn cutter(&mut self) -> Option<&mut Cutter> {
        self.finder.as_mut().map(|finder| &mut finder.cutter)
    }

    pub(super) fn into_cutter(self) -> Option<Cutter> {
        self.finder.map(|finder| finder.cutter)
    }

    fn body(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut room = buffer.len();
        let mut flush = InflateFlush::NoFlush;
        if let Some(finder) = &mut self.finder {
            room = room.min(finder.cutter.room(self.produced, self.consumed));
            match &finder.trial {
                Some(trial) => room = room.min(TRIAL_BYTES - trial.output.len()),
                None if finder.cutter.wants_block(self.produced) => flush = InflateFlush::Block,
                None => {}
            }
        }
        let input = self.input.fill_buf()?;
        let offered = input.len();
        let (in_before, out_before) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(input, &mut buffer[..room], flush)
            .map_err(|error| damaged(error.as_str()))?;
        let used = (self.inflate.total_in() - in_before) as usize;
        let made = (self.inflate.total_out() - out_before) as usize;
        let made_bytes = &buffer[..made];
        if let Some(finder) = &mut self.finder {
            finder.see(&input[..used], made_bytes);
        }
        self.input.consume(used);
        self.consumed += used as u64;
        self.produced += made as u64;
        if let Some(check) = &mut self.check {
            check.crc = zlib_rs::crc32::crc32(check.crc, made_bytes);
            check.bytes = check.bytes.wrapping_add(made as u32);
        }
        match status {
            Status::StreamEnd => self.state = State::Trailer,
            Status::Ok | Status::BufError => {
                if offered == 0 && made == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                // Neither bytes nor room have run out: it stands at the end of a block.
                let stopped = used < offered && made < room && status == Status::Ok;
                if let Some(finder) = &mut self.finder
                    && flush == InflateFlush::Block
                    && stopped
                {
                    finder.begin_trial(self.produced, self.consumed);
                }
            }
        }
        if let Some(finder) = &mut self.finder {
            finder.end_trial(self.state != State::Body)?;
        }
        Ok(made)
    }

    /// The ten bytes and what may follow them (RFC 1952, section 2.3.1).
    fn header(&mut self) -> io::Result<()> {
        let fixed = self.take::<10>()?;
        let [0x1f, 0x8b, 8, flags, ..] = fixed else {
            return Err(damaged("invalid gzip header"));
        };
        if flags & 0xe0 != 0 {
            return Err(damaged("gzip header with reserved flags"));
        }
        let mut crc = zlib_rs::crc32::crc32(0, &fixed);
        if flags & 4 != 0 {
            let length = self.take::<2>()?;
            crc = zlib_rs::crc32::crc32(crc, &length);
            for _ in 0..u16::from_le_bytes(length) {
                crc = zlib_rs::crc32::crc32(crc, &self.take::<1>()?);
            }
        }
        for _ in 0..(flags >> 3 & 1) + (flags >> 4 & 1) {
            // A name, a comment.
            let begin = self.consumed;
            loop {
                let byte = self.take::<1>()?;
                crc = zlib_rs::crc32::crc32(crc, &byte);
                if byte == [0] {
                    break;
                }
                if self.consumed - begin > HEADER_BYTES_MAX {
                    return Err(damaged("gzip header without an end"));
                }
            }
        }
        if flags & 2 != 0 {
            let expected = self.take::<2>()?;
            if expected != crc.to_le_bytes()[..2] {
                return Err(damaged("gzip header with a wrong checksum"));
            }
        }
        Ok(())
    }

    fn trailer(&mut self) -> io::Result<()> {
        let trailer = self.take::<8>()?;
        if let Some(check) = self.check.take() {
            let mut expected = [0; 8];
            expected[..4].copy_from_slice(&check.crc.to_le_bytes());
            expected[4..].copy_from_slice(&check.bytes.to_le_bytes());
            if trailer != expected {
                return Err(damaged(
                    "corrupt gzip stream does not have a matching checksum",
                ));
            }
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.consumed += N as u64;
        Ok(bytes)
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                State::End => return Ok(0),
                State::Header => {
                    let at_end = self.input.fill_buf()?.is_empty();
                    if at_end && self.consumed > 0 {
                        self.state = State::End;
                        continue;
                    }
                    if let Some(finder) = &mut self.finder {
                        finder.cutter.whole(self.produced, self.consumed);
                    }
                    self.header()?;
                    self.inflate.reset(false);
                    self.check = Some(Check::default());
                    self.state = State::Body;
                }
                State::Body => match self.body(buffer)? {
                    0 => {}
                    made => return Ok(made),
                },
                State::Trailer => {
                    self.trailer()?;
                    self.state = State::Header;
                }
            }
        }
    }
}

impl Finder {
    /// Takes note of what went in and what came out.
    fn see(&mut self, used: &[u8], made: &[u8]) {
        if let Some(last) = used.last() {
            self.last_byte = *last;
        }
        if let Some(trial) = &mut self.trial {
            trial.compressed.extend_from_slice(used);
            trial.output.extend_from_slice(made);
        }
        if made.len() >= WINDOW_BYTES {
            self.tail.clear();
            self.tail
                .extend_from_slice(&made[made.len() - WINDOW_BYTES..]);
        } else {
            // Moved only once it has twice the bytes.
            if self.tail.len() + made.len() > 2 * WINDOW_BYTES {
                let keep = WINDOW_BYTES - made.len();
                self.tail
                    .drain(..self.tail.len() - keep.min(self.tail.len()));
            }
            self.tail.extend_from_slice(made);
        }
    }

    fn begin_trial(&mut self, produced: u64, consumed: u64) {
        let window = &self.tail[self.tail.len().saturating_sub(WINDOW_BYTES)..];
        self.trial = Some(Trial {
            number: self.cutter.later(produced, consumed),
            window: window.to_vec(),
            compressed: vec![self.last_byte],
            output: Vec::with_capacity(TRIAL_BYTES),
        });
    }

    /// Tries a place once enough has followed it. `ended`: nothing more will.
    fn end_trial(&mut self, ended: bool) -> io::Result<()> {
        let Some(trial) = &self.trial else {
            return Ok(());
        };
        let given_up = trial.compressed.len() > TRIAL_COMPRESSED_BYTES_MAX;
        if trial.output.len() < TRIAL_BYTES && !ended && !given_up {
            return Ok(());
        }
        let Some(trial) = self.trial.take() else {
            return Ok(());
        };
        if trial.output.is_empty() || given_up {
            return Ok(());
        }
        let mut output = vec![0; trial.output.len()];
        for bits in 0..8 {
            let first = aligned(trial.compressed[0], bits);
            if begin(&mut self.inflate, &trial.window)
                && fills(
                    &mut self.inflate,
                    &[&first, &trial.compressed[1..]],
                    &mut output,
                )
                && output == trial.output
            {
                let window = self.zstd.compress(&trial.window)?;
                self.cutter.block(trial.number, bits, window.into());
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Undoes gzip from the end of a deflate block on. `input` begins with the byte in front of the
/// place, of which the highest `bits` bits belong to what follows.
pub(super) fn from_block<R: BufRead>(
    mut input: R,
    bits: u8,
    window: &[u8],
) -> io::Result<Gunzip<impl BufRead + use<R>>> {
    let mut first = [0];
    input.read_exact(&mut first)?;
    let first = io::Cursor::new(aligned(first[0], bits));
    let mut gunzip = Gunzip::from_member(first.chain(input));
    if !begin(&mut gunzip.inflate, window) {
        return Err(damaged("a window that cannot be one"));
    }
    gunzip.state = State::Body;
    Ok(gunzip)
}

fn inflate() -> Box<Inflate> {
    Box::new(Inflate::new(false, WINDOW_BITS))
}

fn begin(inflate: &mut Inflate, window: &[u8]) -> bool {
    inflate.reset(false);
    inflate.set_dictionary(window).is_ok()
}

/// Whether the pieces give as many bytes as `output` has.
fn fills(inflate: &mut Inflate, pieces: &[&[u8]], output: &mut [u8]) -> bool {
    for piece in pieces {
        let (in_before, filled) = (inflate.total_in(), inflate.total_out() as usize);
        match inflate.decompress(piece, &mut output[filled..], InflateFlush::NoFlush) {
            Ok(Status::Ok | Status::BufError) => {}
            Ok(Status::StreamEnd) => break,
            Err(_) => return false,
        }
        if inflate.total_out() as usize == output.len() {
            break;
        }
        if (inflate.total_in() - in_before) as usize != piece.len() {
            return false;
        }
    }
    inflate.total_out() as usize == output.len()
}

/// A deflate block with fixed codes and nothing in it: 10 bits, the first one lowest (RFC 1951,
/// section 3.2.6).
const EMPTY: (u128, u32) = (0b10, 10);

/// A deflate block with codes of its own and nothing in it, of an odd number of bits (RFC 1951,
/// section 3.2.7): 257 lengths of literals, all zero but that of the end, and 11 of distances, all
/// zero.
const EMPTY_ODD: (u128, u32) = {
    let (bits, at) = (0, 0);
    let (bits, at) = with(bits, at, 0b100, 3); // not the last; codes of its own
    let (bits, at) = with(bits, at, 0, 5); // 257 literals
    let (bits, at) = with(bits, at, 10, 5); // 11 distances
    let (bits, at) = with(bits, at, 14, 4); // 18 lengths of lengths
    let (bits, at) = with(bits, at, 1 << 6 | 1 << 51, 54); // of "zeros" and of "1": one bit
    let (bits, at) = with(bits, at, 1 | 127 << 1, 8); // 138 zeros
    let (bits, at) = with(bits, at, 1 | 107 << 1, 8); // 118 zeros
    let (bits, at) = with(bits, at, 0, 1); // the end of the block has one bit
    let (bits, at) = with(bits, at, 1, 8); // 11 zeros
    with(bits, at, 0, 1) // the end of the block
};

const fn with(bits: u128, at: u32, more: u128, count: u32) -> (u128, u32) {
    (bits | more << at, at + count)
}

/// What has to stand in front of a stream that begins with the highest `bits` bits of `byte`, and
/// that byte.
fn aligned(byte: u8, bits: u8) -> Vec<u8> {
    if bits == 0 {
        return Vec::new();
    }
    let (mut stream, mut at) = (0, 0);
    if bits % 2 == 1 {
        (stream, at) = EMPTY_ODD;
    }
    while at % 8 != 8 - u32::from(bits) {
        (stream, at) = with(stream, at, EMPTY.0, EMPTY.1);
    }
    let high = u128::from(byte >> (8 - bits));
    (stream, at) = with(stream, at, high, bits.into());
    stream.to_le_bytes()[..(at / 8) as usize].to_vec()
}

fn damaged(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
