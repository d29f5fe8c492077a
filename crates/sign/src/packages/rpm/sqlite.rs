//! As much of SQLite's file format as it takes to read the blobs of one table: no indexes, no
//! queries, no journal, and nothing is ever written ("Database File Format",
//! `https://www.sqlite.org/fileformat2.html`, by whose sections the comments go).

/// Pages from root to leaf. Even with the smallest pages no file that is read has more.
const DEPTH_MAX: usize = 24;
/// The largest value that is put together, in bytes.
const VALUE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The most values of a row that are looked at.
const COLUMNS_MAX: usize = 64;

/// Why a file is no database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqliteError {
    /// The header is another file's.
    #[error("it is not an SQLite database")]
    Header,
    /// A page points at something that is not there, or back at itself.
    #[error("the SQLite database is damaged")]
    Damaged,
    /// More rows than were asked for.
    #[error("the SQLite database has too many rows")]
    Rows,
}

/// A database in memory.
pub(super) struct Database<'d> {
    bytes: &'d [u8],
    page_bytes: usize,
    /// Bytes of a page that are used: the rest is kept for extensions (1.3.4).
    usable: usize,
}

/// The page where a table begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root(usize);

/// A value of a row.
enum ColumnValue<'r> {
    Number(u64),
    Bytes(&'r [u8]),
    Other,
}

impl<'d> Database<'d> {
    pub(super) fn open(bytes: &'d [u8]) -> Result<Self, SqliteError> {
        if !bytes.starts_with(b"SQLite format 3\0") || bytes.len() < 100 {
            return Err(SqliteError::Header);
        }
        let page_bytes = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65536,
            size if size.is_power_of_two() && size >= 512 => usize::from(size),
            _ => return Err(SqliteError::Header),
        };
        let usable = page_bytes - usize::from(bytes[20]);
        if usable < 480 {
            return Err(SqliteError::Header);
        }
        Ok(Self {
            bytes,
            page_bytes,
            usable,
        })
    }

    /// The table of a name: the schema is a table itself, on the first page (2.6).
    pub(super) fn table(&self, wanted: &str) -> Result<Option<Root>, SqliteError> {
        let mut found = None;
        // Type, name, name of the table, page.
        self.rows(Root(1), COLUMNS_MAX * 64, &mut |row| {
            let kind = column(row, 0).ok_or(SqliteError::Damaged)?;
            let name = column(row, 1).ok_or(SqliteError::Damaged)?;
            if let (ColumnValue::Bytes(b"table"), ColumnValue::Bytes(name)) = (kind, name)
                && name == wanted.as_bytes()
                && let Some(ColumnValue::Number(page)) = column(row, 3)
            {
                found = usize::try_from(page).ok().map(Root);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The blobs in one column of a table.
    pub(super) fn blobs(
        &self,
        table: Root,
        number: usize,
        rows_max: usize,
    ) -> Result<Vec<Vec<u8>>, SqliteError> {
        let mut blobs = Vec::new();
        self.rows(table, rows_max, &mut |row| {
            match column(row, number).ok_or(SqliteError::Damaged)? {
                ColumnValue::Bytes(bytes) => blobs.push(bytes.to_vec()),
                ColumnValue::Number(_) | ColumnValue::Other => {}
            }
            Ok(())
        })?;
        Ok(blobs)
    }

    /// A page, and where its header begins: the first one has the file's before it (1.3).
    fn page(&self, number: usize) -> Result<(&'d [u8], usize), SqliteError> {
        let begin = number
            .checked_sub(1)
            .and_then(|n| n.checked_mul(self.page_bytes));
        let begin = begin.ok_or(SqliteError::Damaged)?;
        let end = begin.checked_add(self.usable).ok_or(SqliteError::Damaged)?;
        let page = self.bytes.get(begin..end).ok_or(SqliteError::Damaged)?;
        Ok((page, if number == 1 { 100 } else { 0 }))
    }

    /// Goes through the rows of a table, in order (1.6).
    fn rows(
        &self,
        root: Root,
        rows_max: usize,
        each: &mut dyn FnMut(&[u8]) -> Result<(), SqliteError>,
    ) -> Result<(), SqliteError> {
        const INTERIOR: u8 = 5;
        const LEAF: u8 = 13;
        let pages_max = self.bytes.len() / self.page_bytes;
        let (mut pages, mut rows) = (0, 0);
        let mut pending = vec![(root.0, 0)];
        while let Some((number, depth)) = pending.pop() {
            pages += 1;
            if depth > DEPTH_MAX || pages > pages_max {
                return Err(SqliteError::Damaged);
            }
            let (page, header) = self.page(number)?;
            let cells = short(page, header + 3)?;
            match page.get(header) {
                Some(&INTERIOR) => {
                    let right = word(page, header + 8)?;
                    pending.push((right as usize, depth + 1));
                    for cell in (0..cells).rev() {
                        let place = short(page, header + 12 + 2 * cell)?;
                        pending.push((word(page, place)? as usize, depth + 1));
                    }
                }
                Some(&LEAF) => {
                    for cell in 0..cells {
                        rows += 1;
                        if rows > rows_max {
                            return Err(SqliteError::Rows);
                        }
                        let place = short(page, header + 8 + 2 * cell)?;
                        each(&self.payload(page, place)?)?;
                    }
                }
                _ => return Err(SqliteError::Damaged),
            }
        }
        Ok(())
    }

    /// The bytes of a row, of which those that do not fit are on pages of their own (1.6).
    fn payload(&self, page: &[u8], place: usize) -> Result<Vec<u8>, SqliteError> {
        let (length, after_length) = varint(page, place).ok_or(SqliteError::Damaged)?;
        let (_, start) = varint(page, after_length).ok_or(SqliteError::Damaged)?;
        let length = usize::try_from(length).map_err(|_| SqliteError::Damaged)?;
        if length > VALUE_BYTES_MAX || length > self.bytes.len() {
            return Err(SqliteError::Damaged);
        }
        let local_max = self.usable - 35;
        let local = if length <= local_max {
            length
        } else {
            let least = (self.usable - 12) * 32 / 255 - 23;
            let fitting = least + (length - least) % (self.usable - 4);
            if fitting <= local_max { fitting } else { least }
        };
        let part = start
            .checked_add(local)
            .and_then(|end| page.get(start..end));
        let mut payload = part.ok_or(SqliteError::Damaged)?.to_vec();
        if local == length {
            return Ok(payload);
        }
        let mut next = word(page, start + local)? as usize;
        // Every page brings bytes, so this ends.
        while payload.len() < length {
            let (page, _) = self.page(next)?;
            let rest = &page[4..];
            let count = rest.len().min(length - payload.len());
            payload.extend_from_slice(&rest[..count]);
            next = word(page, 0)? as usize;
        }
        Ok(payload)
    }
}

/// One value of a row (2.1). `None` when the row is damaged; a row may be shorter than its table.
fn column(row: &[u8], wanted: usize) -> Option<ColumnValue<'_>> {
    let (header_bytes, mut at) = varint(row, 0)?;
    let header_bytes = usize::try_from(header_bytes).ok()?;
    let mut body = header_bytes;
    for number in 0..COLUMNS_MAX {
        if at >= header_bytes {
            return Some(ColumnValue::Other);
        }
        let (kind, next) = varint(row, at)?;
        at = next;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => usize::try_from((kind - 12) / 2).ok()?,
        };
        let bytes = row.get(body..body.checked_add(length)?)?;
        body += length;
        if number == wanted {
            return Some(match kind {
                1..=6 => {
                    let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
                    ColumnValue::Number(bytes.iter().fold(0, join))
                }
                8 => ColumnValue::Number(0),
                9 => ColumnValue::Number(1),
                12.. => ColumnValue::Bytes(bytes),
                _ => ColumnValue::Other,
            });
        }
    }
    Some(ColumnValue::Other)
}

/// A number of one to nine bytes, and where it ends (1.6, "varint").
fn varint(bytes: &[u8], place: usize) -> Option<(u64, usize)> {
    let mut number = 0_u64;
    for count in 0..8 {
        let byte = *bytes.get(place.checked_add(count)?)?;
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, place + count + 1));
        }
    }
    let last = *bytes.get(place.checked_add(8)?)?;
    Some((number << 8 | u64::from(last), place + 9))
}

fn short(page: &[u8], place: usize) -> Result<usize, SqliteError> {
    match page.get(place..place + 2) {
        Some(&[high, low]) => Ok(usize::from(high) << 8 | usize::from(low)),
        _ => Err(SqliteError::Damaged),
    }
}

fn word(page: &[u8], place: usize) -> Result<u32, SqliteError> {
    let bytes = place.checked_add(4).and_then(|end| page.get(place..end));
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_be_bytes).ok_or(SqliteError::Damaged)
}
