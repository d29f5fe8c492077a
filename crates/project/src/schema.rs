//! The form of `kiln.yaml` as a JSON Schema (2020-12), made from the types.

use serde_json::Value;

/// The schema that editors understand, and that [`crate::read()`] checks against: the words and the
/// rules cannot come apart.
pub fn schema() -> Value {
    let mut schema = schema_of::<crate::Project>();
    schema["title"] = "kiln.yaml".into();
    schema
}

/// The schema of a type.
pub(crate) fn schema_of<T: schemars::JsonSchema>() -> Value {
    let mut schema = schemars::schema_for!(T).to_value();
    refuse_null(&mut schema);
    schema
}

/// A value that may be left out is left out: writing nothing behind its key is a mistake.
fn refuse_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get("type")
                && let [one, null] = types.as_slice()
                && null == "null"
            {
                let one = one.clone();
                map.insert("type".to_owned(), one);
            }
            if let Some(Value::Array(choices)) = map.get("anyOf")
                && let [one, null] = choices.as_slice()
                && null["type"] == "null"
                && let Value::Object(one) = one.clone()
            {
                map.remove("anyOf");
                map.extend(one);
            }
            if map.get("default").is_some_and(Value::is_null) {
                map.remove("default");
            }
            map.values_mut().for_each(refuse_null);
        }
        Value::Array(items) => items.iter_mut().for_each(refuse_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
