//! Reads a gzip layer as a build does that knows nothing of it, for measuring:
//! `cargo run --release -p kiln-store --example scan -- LAYER.tar.gz`.

#![allow(clippy::print_stdout)]

use std::fs::File;

use oci::Compression;
use store::layer::{Limits, ScanOptions, scan};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args_os().skip(1) {
        let options = ScanOptions {
            compression: Compression::Gzip,
            expected_blob: None,
            expected_diff_id: None,
            limits: Limits::default(),
            unpack: None,
        };
        let scanned = scan(File::open(&path)?, options)?;
        let index = scanned.index;
        println!(
            "{} {} entries, {} spans, index of {} bytes, table of {}",
            index.diff_id.0,
            index.entries.len(),
            scanned.table.len(),
            index.encode().len(),
            scanned.table.encode(&index.diff_id.0).len()
        );
    }
    Ok(())
}
