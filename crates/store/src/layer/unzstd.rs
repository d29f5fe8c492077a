//! Undoes Zstandard (RFC 8878), every frame of it, and notes where frames begin. Inside of a frame
//! there is no place to begin again: what blocks refer back to can be megabytes, and entropy tables
//! are carried from block to block. A layer of one frame can only be read from its first byte.

use std::io::{self, BufRead, Read};

use zstd::stream::raw::{DParameter, Decoder, Operation as _};

use super::decompress::ZSTD_WINDOW_LOG_MAX;
use super::restart::Cutter;

/// A Zstandard stream being undone.
pub(super) struct Unzstd<R> {
    input: R,
    decoder: Decoder<'static>,
    in_frame: bool,
    consumed: u64,
    produced: u64,
    cutter: Option<Cutter>,
}

impl<R: BufRead> Unzstd<R> {
    /// Undoes a stream from the beginning of a frame. With a `cutter` it is told where frames are.
    pub(super) fn new(input: R, cutter: Option<Cutter>) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
        Ok(Self {
            input,
            decoder,
            in_frame: false,
            consumed: 0,
            produced: 0,
            cutter,
        })
    }

    pub(super) fn cutter(&mut self) -> Option<&mut Cutter> {
        self.cutter.as_mut()
    }

    pub(super) fn into_cutter(self) -> Option<Cutter> {
        self.cutter
    }
}

impl<R: BufRead> Read for Unzstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let mut room = buffer.len();
            if let Some(cutter) = &mut self.cutter {
                room = room.min(cutter.room(self.produced, self.consumed));
            }
            let input = self.input.fill_buf()?;
            let at_end = input.is_empty();
            if at_end && !self.in_frame {
                return Ok(0);
            }
            // Asked at the end of the input too: it may hold back output.
            let status = self.decoder.run_on_buffers(input, &mut buffer[..room])?;
            self.input.consume(status.bytes_read);
            self.consumed += status.bytes_read as u64;
            self.produced += status.bytes_written as u64;
            self.in_frame = status.remaining != 0;
            if !self.in_frame
                && let Some(cutter) = &mut self.cutter
            {
                cutter.whole(self.produced, self.consumed);
            }
            if status.bytes_written > 0 {
                return Ok(status.bytes_written);
            }
            if at_end && self.in_frame {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "incomplete frame",
                ));
            }
        }
    }
}
