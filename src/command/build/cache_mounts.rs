//! `--cache-mounts-from` and `--cache-mounts-to`: where the contents of `RUN --mount=type=cache`
//! come from and are kept, in the syntax of `--cache-from`.

use clap::Args;
use engine::{CacheMountsRequest, MountShelf, Scope};

use crate::command::shelf_address::{Fields, Purpose, Variable};
use crate::error::ProgramError;

const FROM: &str = "--cache-mounts-from";
const TO: &str = "--cache-mounts-to";

/// The flags.
#[derive(Args, Debug)]
pub(super) struct CacheMountFlags {
    /// Where the contents of cache mounts come from: type=registry|local|s3|gcs|azblob|gha, with
    /// the fields of --cache-from and scope=NAME; can be repeated, asked in order
    #[arg(long = "cache-mounts-from", value_name = "SPEC")]
    from: Vec<String>,

    /// Where the contents of cache mounts are kept, likewise; on-failure=skip leaves out those of a
    /// build that fails
    #[arg(long = "cache-mounts-to", value_name = "SPEC")]
    to: Vec<String>,
}

impl CacheMountFlags {
    /// Reads the flags.
    pub(super) fn read(&self, variable: Variable<'_>) -> Result<CacheMountsRequest, ProgramError> {
        let mut request = CacheMountsRequest {
            after_failure: true,
            ..CacheMountsRequest::default()
        };
        for text in &self.from {
            for fields in Fields::read(FROM, text)? {
                let place = place(fields, Purpose::From, variable)?;
                if !request.from.contains(&place) {
                    request.from.push(place);
                }
            }
        }
        for text in &self.to {
            for mut fields in Fields::read(TO, text)? {
                let words = [("save", true), ("skip", false)];
                if fields.take_word("on-failure", &words)? == Some(false) {
                    request.after_failure = false;
                }
                let place = place(fields, Purpose::To, variable)?;
                if !request.to.contains(&place) {
                    request.to.push(place);
                }
            }
        }
        Ok(request)
    }
}

fn place(
    mut fields: Fields<'_>,
    purpose: Purpose,
    variable: Variable<'_>,
) -> Result<MountShelf, ProgramError> {
    let scope = match fields.take("scope") {
        None => Scope::default(),
        Some(name) => Scope::new(&name).map_err(|error| fields.wrong(&error.to_string()))?,
    };
    let Some(address) = fields.address(purpose, variable)? else {
        return Err(fields.wrong("an image holds no cache mounts: use another type"));
    };
    fields.finish()?;
    Ok(MountShelf { address, scope })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &[&str], to: &[&str], expected: &str) {
        let owned =
            |texts: &[&str]| -> Vec<String> { texts.iter().map(|&text| text.to_owned()).collect() };
        let flags = CacheMountFlags {
            from: owned(from),
            to: owned(to),
        };
        let shown = |places: &[MountShelf]| -> Vec<String> {
            let places = places.iter();
            places
                .map(|place| format!("{} {}", place.address, place.scope))
                .collect()
        };
        let found = match flags.read(&|_| None) {
            Ok(CacheMountsRequest {
                from,
                to,
                after_failure,
            }) => format!("{:?} {:?} {after_failure}", shown(&from), shown(&to)),
            Err(error) => error.headline,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn scopes_are_read_in_order_and_written_by_name() {
        check(&[], &[], "[] [] true");
        check(
            &[
                "type=registry,ref=r.example/a:c,scope=pr/7",
                "type=registry,ref=r.example/a:c,scope=main",
                "type=registry,ref=r.example/a:c,scope=main",
                "type=local,src=/c",
            ],
            &["type=registry,ref=r.example/a:c,scope=pr/7,on-failure=skip"],
            r#"["r.example/a:c pr/7", "r.example/a:c main", "/c:latest default"] ["r.example/a:c pr/7"] false"#,
        );
        check(
            &["type=inline"],
            &[],
            "--cache-mounts-from type=inline: an image holds no cache mounts: use another type",
        );
        check(
            &[],
            &["type=local,dest=/c,mode=max"],
            "--cache-mounts-to type=local,dest=/c,mode=max: unknown field `mode` for type=local",
        );
        check(
            &[],
            &["type=local,dest=/c,on-failure=never"],
            "--cache-mounts-to type=local,dest=/c,on-failure=…: unknown on-failure `never`: \
             known are save, skip",
        );
    }
}
