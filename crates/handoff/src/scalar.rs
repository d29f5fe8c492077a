//! Texts as YAML scalars.

/// `text` as a scalar that every reader of YAML takes for this very text: quoted whenever a plain
/// one could be read as anything else (`1e5`, `no`, `0123456`).
pub(crate) fn scalar(text: &str) -> String {
    let plain_start = |c: char| c.is_ascii_alphabetic() || c == '_';
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./@:".contains(c);
    let word = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let is_plain = text.starts_with(plain_start)
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !text.contains(": ")
        && !word.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_plain {
        return text.to_owned();
    }
    // JSON's strings are YAML's double-quoted ones.
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::scalar;

    #[test]
    fn what_could_be_anything_else_is_quoted() {
        let check = |text: &str, expected: &str| assert_eq!(scalar(text), expected);
        check("epp", "epp");
        check("registry.example:5000/x", "registry.example:5000/x");
        check("v1.2", "v1.2");
        check("0123456", "\"0123456\"");
        check("1e5", "\"1e5\"");
        check("No", "\"No\"");
        check("", "\"\"");
        check("a b", "\"a b\"");
        check("a\"b\\", "\"a\\\"b\\\\\"");
        check("~", "\"~\"");
        check("ends:", "\"ends:\"");
    }
}
