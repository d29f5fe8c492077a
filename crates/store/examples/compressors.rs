//! What each compressor costs on given files, cut into blocks as layers are.
//!
//! ```text
//! bench/compressors FILE...        a tar of what you build, for example
//! ```
//!
//! For each compressor and level: compressed size, ratio, and megabytes of input for each second
//! of one processor. Nothing is written to disk. Compressors that need more than a C compiler to be
//! built are not here.

use std::io::{self, Write as _};
use std::time::Duration;

use libdeflater::{CompressionLvl, Compressor as Deflater};
use rustix::time::{ClockId, clock_gettime};
use store::layer::BLOCK_BYTES;

fn main() -> io::Result<()> {
    let mut input = Vec::new();
    for path in std::env::args_os().skip(1) {
        input.extend(std::fs::read(path)?);
    }
    if input.is_empty() {
        return Err(io::Error::other("name files to compress"));
    }
    let blocks = BLOCK_BYTES >> 10;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} MB in blocks of {blocks} KiB\n",
        input.len() / 1_000_000
    )?;
    writeln!(
        out,
        "| compressor | level | MB | ratio | MB per CPU second |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    for level in 0..=9 {
        let level_of = CompressionLvl::new(level).map_err(|_| io::Error::other("a level"))?;
        let mut deflater = Deflater::new(level_of);
        report(&mut out, "libdeflate", level, &input, |block, output| {
            output.resize(deflater.gzip_compress_bound(block.len()), 0);
            deflater
                .gzip_compress(block, output)
                .map_err(|error| io::Error::other(error.to_string()))
        })?;
    }
    for level in 1..=6 {
        report(&mut out, "zlib-rs", level, &input, |block, output| {
            output.clear();
            let level = flate2::Compression::new(level.unsigned_abs());
            let mut encoder = flate2::write::GzEncoder::new(output, level);
            encoder.write_all(block)?;
            Ok(encoder.finish()?.len())
        })?;
    }
    for level in [-3, -1, 1, 2, 3, 6] {
        let mut compressor = zstd::bulk::Compressor::new(level)?;
        report(&mut out, "zstd", level, &input, |block, output| {
            output.clear();
            output.reserve(zstd::zstd_safe::compress_bound(block.len()));
            compressor.compress_to_buffer(block, output)
        })?;
    }
    Ok(())
}

fn report(
    out: &mut impl io::Write,
    name: &str,
    level: i32,
    input: &[u8],
    mut compress: impl FnMut(&[u8], &mut Vec<u8>) -> io::Result<usize>,
) -> io::Result<()> {
    let mut output = Vec::new();
    let mut size = 0;
    let began = processor_time();
    for block in input.chunks(BLOCK_BYTES) {
        size += compress(block, &mut output)?;
    }
    let seconds = (processor_time() - began).as_secs_f64();
    let (given, made) = (input.len() as f64, size as f64);
    writeln!(
        out,
        "| {name} | {level} | {:.1} | {:.2} | {:.0} |",
        made / 1e6,
        given / made,
        given / 1e6 / seconds
    )
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
