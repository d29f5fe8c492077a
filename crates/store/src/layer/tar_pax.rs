//! PAX extended headers: records of `length keyword=value` (POSIX pax,
//! "pax Extended Header").

use std::collections::BTreeMap;

use super::sparse::{self, Segment};

/// Why a PAX header is refused. Skipping what is broken would let one reader
/// see an attribute that another does not (RUSTSEC-2026-0066).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaxError {
    /// A record's length is not digits and a blank, or does not fit.
    #[error("a record has no proper length")]
    Length,
    /// A record without `=` or without its line break.
    #[error("a record is not `keyword=value` and a line break")]
    Form,
    /// A keyword that is empty or not UTF-8.
    #[error("a keyword is empty or not UTF-8")]
    Keyword,
    /// A value that its keyword cannot have.
    #[error("`{keyword}` cannot be `{value}`")]
    Value {
        /// The keyword.
        keyword: String,
        /// The value, shortened.
        value: String,
    },
    /// A global record for something that only one entry can have.
    #[error("`{0}` in a global header would apply to every entry")]
    Global(&'static str),
    /// A keyword that changes what the content means, and that kiln does not
    /// read.
    #[error("`{0}` is not supported")]
    Unsupported(String),
}

/// What PAX records say about an entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<i64>,
    pub(super) device_major: Option<u32>,
    pub(super) device_minor: Option<u32>,
    pub(super) xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
    pub(super) sparse: Option<SparseRecords>,
}

/// A sparse file as PAX describes it.
#[derive(Clone, Debug, Default)]
pub(super) struct SparseRecords {
    /// The real name; the entry's own is for readers that know nothing.
    pub(super) name: Option<Vec<u8>>,
    /// Dense size.
    pub(super) size: u64,
    /// `None` when it stands in front of the content (format 1.0).
    pub(super) map: Option<Vec<Segment>>,
}

/// The `GNU.sparse` records of formats 0.0, 0.1 and 1.0, as found.
#[derive(Default)]
struct SparseParts {
    major: Option<u64>,
    minor: Option<u64>,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    count: Option<u64>,
    /// Of 0.0: offset and length alternate, in records of their own.
    numbers: Vec<u64>,
    expects_length: bool,
    map: Option<Vec<Segment>>,
}

const XATTR: &str = "SCHILY.xattr.";
const SPARSE: &str = "GNU.sparse.";

impl Records {
    pub(super) fn parse(mut body: &[u8]) -> Result<Self, PaxError> {
        let mut records = Self::default();
        let mut sparse = None;
        while !body.is_empty() {
            let (keyword, value, rest) = record(body)?;
            body = rest;
            if let Some(keyword) = keyword.strip_prefix(SPARSE) {
                sparse
                    .get_or_insert_with(SparseParts::default)
                    .take(keyword, value)?;
            } else {
                records.take(keyword, value)?;
            }
        }
        records.sparse = sparse.map(SparseParts::finish).transpose()?;
        Ok(records)
    }

    fn take(&mut self, keyword: &str, value: &[u8]) -> Result<(), PaxError> {
        let bad = || bad_value(keyword, value);
        // An empty value takes a record back.
        let number = || match value {
            b"" => Ok(None),
            _ => sparse::decimal(value).map(Some).ok_or_else(bad),
        };
        let path = || match value {
            b"" => Ok(None),
            _ if value.contains(&0) => Err(bad()),
            _ => Ok(Some(value.to_vec())),
        };
        match keyword {
            "path" => self.path = path()?,
            "linkpath" => self.link = path()?,
            "size" => self.size = number()?,
            "uid" => self.uid = number()?,
            "gid" => self.gid = number()?,
            "mtime" => {
                self.mtime = match value {
                    b"" => None,
                    _ => Some(seconds(value).ok_or_else(bad)?),
                }
            }
            "SCHILY.devmajor" => {
                self.device_major = number()?
                    .map(u32::try_from)
                    .transpose()
                    .map_err(|_| bad())?;
            }
            "SCHILY.devminor" => {
                self.device_minor = number()?
                    .map(u32::try_from)
                    .transpose()
                    .map_err(|_| bad())?;
            }
            // star's notation for sparse files: without it the content is
            // something else.
            "SCHILY.realsize" => return Err(PaxError::Unsupported(keyword.into())),
            _ => {
                if let Some(name) = keyword.strip_prefix(XATTR) {
                    if name.is_empty() || name.contains('\0') {
                        return Err(bad());
                    }
                    self.xattrs.insert(name.as_bytes().into(), value.into());
                }
                // POSIX: unknown keywords are to be ignored. Names of users,
                // access times and comments have no place in a layer.
            }
        }
        Ok(())
    }

    /// Takes over the records of a global header.
    pub(super) fn add_global(&mut self, records: Self) -> Result<(), PaxError> {
        let Self {
            path,
            link,
            size,
            uid,
            gid,
            mtime,
            device_major,
            device_minor,
            xattrs,
            sparse,
        } = records;
        let single = [
            ("path", path.is_some()),
            ("linkpath", link.is_some()),
            ("size", size.is_some()),
            ("SCHILY.devmajor", device_major.is_some()),
            ("SCHILY.devminor", device_minor.is_some()),
            ("GNU.sparse", sparse.is_some()),
        ];
        if let Some((keyword, _)) = single.iter().find(|(_, present)| *present) {
            return Err(PaxError::Global(keyword));
        }
        self.uid = uid.or(self.uid);
        self.gid = gid.or(self.gid);
        self.mtime = mtime.or(self.mtime);
        self.xattrs.extend(xattrs);
        Ok(())
    }
}

impl SparseParts {
    fn take(&mut self, keyword: &str, value: &[u8]) -> Result<(), PaxError> {
        let bad = || bad_value(&format!("{SPARSE}{keyword}"), value);
        let number = || sparse::decimal(value).ok_or_else(bad);
        match keyword {
            "major" => self.major = Some(number()?),
            "minor" => self.minor = Some(number()?),
            "name" if value.is_empty() || value.contains(&0) => return Err(bad()),
            "name" => self.name = Some(value.to_vec()),
            "size" | "realsize" => self.size = Some(number()?),
            "numblocks" => self.count = Some(number()?),
            "offset" | "numbytes" => {
                if self.expects_length != (keyword == "numbytes") {
                    return Err(bad());
                }
                self.expects_length = !self.expects_length;
                self.numbers.push(number()?);
            }
            "map" => {
                let numbers: Vec<u64> = match value {
                    b"" => Vec::new(),
                    _ => value
                        .split(|byte| *byte == b',')
                        .map(|number| sparse::decimal(number).ok_or_else(bad))
                        .collect::<Result<_, _>>()?,
                };
                self.map = Some(sparse::pairs(&numbers).map_err(|_| bad())?);
            }
            _ => return Err(PaxError::Unsupported(format!("{SPARSE}{keyword}"))),
        }
        Ok(())
    }

    fn finish(self) -> Result<SparseRecords, PaxError> {
        let unsupported = |what: &str| PaxError::Unsupported(format!("{SPARSE}{what}"));
        let size = self.size.ok_or_else(|| unsupported("* without a size"))?;
        let map = match (self.major, self.minor) {
            (Some(1), Some(0)) => {
                if self.map.is_some() || !self.numbers.is_empty() {
                    return Err(unsupported("map in format 1.0"));
                }
                None
            }
            (None | Some(0), None | Some(0 | 1)) => {
                let map = match self.map {
                    Some(map) if self.numbers.is_empty() => map,
                    Some(_) => return Err(unsupported("map beside offsets")),
                    None => sparse::pairs(&self.numbers)
                        .map_err(|_| unsupported("offset without its length"))?,
                };
                if self.count.is_some_and(|count| count != map.len() as u64) {
                    return Err(unsupported("numblocks that is not the number of parts"));
                }
                Some(map)
            }
            _ => return Err(unsupported("major of an unknown format")),
        };
        Ok(SparseRecords {
            name: self.name,
            size,
            map,
        })
    }
}

/// Splits off the first record: keyword, value, rest.
fn record(body: &[u8]) -> Result<(&str, &[u8], &[u8]), PaxError> {
    // Six digits are a megabyte, which is all that a header may have.
    let blank = body
        .iter()
        .take(8)
        .position(|byte| *byte == b' ')
        .ok_or(PaxError::Length)?;
    let length = sparse::decimal(&body[..blank])
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| *length > blank + 1 && *length <= body.len())
        .ok_or(PaxError::Length)?;
    let (record, rest) = body.split_at(length);
    let record = record[blank + 1..]
        .strip_suffix(b"\n")
        .ok_or(PaxError::Form)?;
    let equals = record
        .iter()
        .position(|byte| *byte == b'=')
        .ok_or(PaxError::Form)?;
    let keyword = std::str::from_utf8(&record[..equals]).map_err(|_| PaxError::Keyword)?;
    if keyword.is_empty() {
        return Err(PaxError::Keyword);
    }
    Ok((keyword, &record[equals + 1..], rest))
}

/// Whole seconds of a decimal fraction, downwards.
fn seconds(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let below_zero = whole.starts_with('-') && fraction.bytes().any(|byte| byte != b'0');
    seconds.checked_sub(i64::from(below_zero))
}

fn bad_value(keyword: &str, value: &[u8]) -> PaxError {
    PaxError::Value {
        keyword: keyword.into(),
        value: String::from_utf8_lossy(&value[..value.len().min(100)]).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &[u8], accepted: bool) {
        let parsed = Records::parse(body);
        assert_eq!(
            parsed.is_ok(),
            accepted,
            "{} {parsed:?}",
            String::from_utf8_lossy(body)
        );
    }

    #[test]
    fn what_is_broken_is_refused_and_never_skipped() {
        check(b"", true);
        check(b"9 path=a\n", true);
        check(b"12 path=\xff\xfe\n", false); // more than there is
        check(b"11 path=\xff\xfe\n", true); // names are bytes
        check(b"8 path=a\n", false);
        check(b"11 path=a\n", false);
        check(b"9 path=a", false);
        check(b"9 pathxa\n", false);
        check(b" 9 path=a\n", false);
        check(b"09 path=a\n", false);
        check(b"+9 path=a\n", false);
        check(b"99999999999999999999 path=a\n", false);
        check(b"9 path=\0\n", false);
        check(b"5 =a\n", false);
        check(b"6 \xff=a\n", false);
        check(b"11 size=-1\n", false);
        check(b"28 size=9223372036854775808\n", false);
        check(b"27 size=9223372036854775807\n", false);
        check(b"28 size=9223372036854775807\n", true);
        check(b"13 mtime=NaN\n", false);
        check(b"25 mtime=1.99999999999999\n", false);
        check(b"26 mtime=1.99999999999999\n", true);
        check(b"18 SCHILY.xattr.=\n", false);
        check(b"22 SCHILY.xattr.a.b=cd\n", false);
        check(b"23 SCHILY.xattr.a.b=cd\n", true);
        check(b"21 SCHILY.realsize=1\n", false);
    }

    #[test]
    fn times_are_whole_seconds_downwards() {
        let cases: [(&str, Option<i64>); 9] = [
            ("0", Some(0)),
            ("1.9", Some(1)),
            ("-1", Some(-1)),
            ("-1.0", Some(-1)),
            ("-1.5", Some(-2)),
            ("1.", Some(1)),
            (".5", None),
            ("1e9", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in cases {
            assert_eq!(seconds(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn the_last_of_two_records_holds() {
        let records = Records::parse(b"9 path=a\n9 path=b\n").unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"b"[..]));
    }

    #[test]
    fn a_global_header_has_no_names_or_sizes() {
        let mut global = Records::default();
        let path = Records::parse(b"9 path=a\n").unwrap();
        assert_eq!(global.add_global(path), Err(PaxError::Global("path")));
        let comment = Records::parse(b"14 comment=abc\n");
        assert!(comment.is_err(), "wrong length");
        let uid = Records::parse(b"8 uid=7\n").unwrap();
        global.add_global(uid).unwrap();
        assert_eq!(global.uid, Some(7));
    }
}
