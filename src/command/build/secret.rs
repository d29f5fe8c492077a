//! `--secret`: where the secrets of a build come from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dockerfile::suggest::nearest;
use engine::SecretSource;

use super::output::split_csv;
use crate::error::ProgramError;

/// The fields of a value.
const FIELDS: [&str; 5] = ["id", "type", "source", "src", "env"];

/// Reads all of them. `variable`: of the environment.
pub(super) fn read(
    texts: &[String],
    variable: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<BTreeMap<String, SecretSource>, ProgramError> {
    let mut secrets = BTreeMap::new();
    for text in texts {
        let (id, source) = secret(text, variable)?;
        if secrets.insert(id.clone(), source).is_some() {
            let message = format!("--secret: the id `{id}` is given twice");
            return Err(ProgramError::input(message));
        }
    }
    Ok(secrets)
}

fn secret(
    text: &str,
    variable: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<(String, SecretSource), ProgramError> {
    let wrong = |reason: &str| ProgramError::input(format!("--secret {text}: {reason}"));
    let fields = split_csv(text).ok_or_else(|| wrong("a quote is not closed"))?;
    let (mut id, mut kind, mut source, mut env) = (None, None, None, None);
    for field in &fields {
        let Some((key, value)) = field.split_once('=') else {
            return Err(wrong(&format!("expected name=value, not `{field}`")));
        };
        let place = match key.to_ascii_lowercase().as_str() {
            "id" => &mut id,
            "type" => &mut kind,
            "source" | "src" => &mut source,
            "env" => &mut env,
            other => {
                let error = wrong(&format!("unknown field `{key}`"));
                return Err(match nearest(other, FIELDS) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint("the fields are id, src, env and type"),
                });
            }
        };
        if place.replace(value).is_some() {
            return Err(wrong(&format!("the field `{key}` is given twice")));
        }
    }
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return Err(wrong("there is no id").hint("write --secret id=NAME,src=FILE"));
    };
    let from_variable = |name: &str| {
        let value = variable(name).map(SecretSource::Value);
        value.ok_or_else(|| wrong(&format!("the variable `{name}` is not set")))
    };
    let file = |path: &str| SecretSource::File(PathBuf::from(path));
    let source = match (kind, source, env) {
        (Some("env"), Some(name), None) | (None | Some("env"), None, Some(name)) => {
            from_variable(name)?
        }
        (Some("env"), None, None) => from_variable(id)?,
        (None | Some("file"), Some(path), None) => file(path),
        (Some("file"), None, None) => file(id),
        // As buildx: what is in the environment under this name, else the file of this name.
        (None, None, None) => match variable(id) {
            Some(value) => SecretSource::Value(value),
            None => file(id),
        },
        (Some("file" | "env") | None, _, Some(_)) => {
            return Err(wrong(
                "it can come from a file or from a variable, not from both",
            ));
        }
        (Some(other), _, _) => {
            let error = wrong(&format!("unknown type `{other}`"));
            return Err(error.hint("the types are file and env"));
        }
    };
    if let SecretSource::File(path) = &source
        && path.as_os_str().is_empty()
    {
        return Err(wrong("the path is empty"));
    }
    Ok((id.to_owned(), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows: R9
    #[test]
    fn secrets_are_read_as_buildx_reads_them() {
        let check = |text: &str, expected: &str| {
            let variable = |name: &str| (name == "HERE").then(|| b"value".to_vec());
            let found = match secret(text, &variable) {
                Ok((id, SecretSource::File(path))) => format!("{id}: file {}", path.display()),
                Ok((id, SecretSource::Value(value))) => {
                    format!("{id}: {}", String::from_utf8_lossy(&value))
                }
                Err(error) => [vec![error.headline], error.hints].concat().join("; "),
            };
            let expected = expected.replace("SECRET", &format!("--secret {text}"));
            assert_eq!(found, expected);
        };
        check("id=a,src=/b", "a: file /b");
        check("id=a,source=b/c", "a: file b/c");
        check("\"id=a\",\"src=b,c\"", "a: file b,c");
        check("id=a,env=HERE", "a: value");
        check("id=a,type=env,src=HERE", "a: value");
        check("id=HERE,type=env", "HERE: value");
        check("id=HERE", "HERE: value");
        check("id=HERE,type=file", "HERE: file HERE");
        check("id=a", "a: file a");
        check("id=a,env=GONE", "SECRET: the variable `GONE` is not set");
        check(
            "id=a,src=b,env=HERE",
            "SECRET: it can come from a file or from a variable, not from both",
        );
        check(
            "src=b",
            "SECRET: there is no id; write --secret id=NAME,src=FILE",
        );
        check(
            "id=,src=b",
            "SECRET: there is no id; write --secret id=NAME,src=FILE",
        );
        check("id=a,src=", "SECRET: the path is empty");
        check("a", "SECRET: expected name=value, not `a`");
        check(
            "id=a,scr=b",
            "SECRET: unknown field `scr`; did you mean `src`?",
        );
        check("id=a,id=b", "SECRET: the field `id` is given twice");
        check(
            "id=a,type=vault",
            "SECRET: unknown type `vault`; the types are file and env",
        );
        check("\"id=a", "SECRET: a quote is not closed");
    }
}
