//! The settings as others read them: a JSON Schema for editors and the table of `deploy/README.md`.
//! Both follow from the fields.

use serde_json::{Value, json};

use super::{Field, JsonType, Settings};

/// The JSON Schema of a file of settings.
pub fn schema() -> Value {
    let mut root = section();
    for field in Settings::fields() {
        let mut names: Vec<&str> = field.path.split('.').collect();
        let name = names.pop().unwrap_or_default();
        let mut parent = &mut root;
        for name in names {
            parent = &mut parent["properties"][name];
            if parent.is_null() {
                *parent = section();
            }
        }
        parent["properties"][name] = value(field);
    }
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("Settings of evenkeel");
    root
}

fn section() -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": {} })
}

fn value(field: &Field) -> Value {
    let (kinds, read): (&[&str], fn(&str) -> Value) = match field.json {
        JsonType::Integer => (&["integer"], number),
        JsonType::Number => (&["number"], number),
        JsonType::Text => (&["string"], |text| json!(text)),
        JsonType::Size => (&["string", "integer"], |text| json!(text)),
        JsonType::Texts => (&["array"], |text| {
            json!(text.split(',').collect::<Vec<_>>())
        }),
    };
    let is_optional = field.default == "null";
    let null = is_optional.then_some("null");
    let kinds: Vec<_> = kinds.iter().copied().chain(null).collect();
    let mut value = json!({
        "type": match kinds.as_slice() {
            [kind] => json!(kind),
            kinds => json!(kinds),
        },
        "default": if is_optional { Value::Null } else { read(field.default) },
        "description": format!("{} Accepted: {}.", field.meaning.trim(), field.accepted()),
        "x-hot": field.is_hot,
    });
    if let (JsonType::Integer | JsonType::Number, Some((low, high))) = (field.json, field.bounds) {
        value["minimum"] = number(low);
        value["maximum"] = number(high);
    }
    if field.json == JsonType::Texts {
        value["items"] = json!({ "type": "string" });
        value["minItems"] = json!(1);
    }
    if !field.choices.is_empty() {
        value["enum"] = json!(field.choices);
    }
    value
}

fn number(text: &str) -> Value {
    serde_json::from_str(text).expect("BUG: a number of the settings is none of JSON's")
}

/// The table of all fields that `deploy/README.md` shows.
pub fn markdown_table() -> String {
    let mut table = String::from("| field | default | hot | meaning |\n|---|---|---|---|\n");
    for field in Settings::fields() {
        let default = if field.default.is_empty() {
            "\"\""
        } else {
            field.default
        };
        let hot = if field.is_hot { "hot" } else { "" };
        let mut meaning = field.meaning.trim().to_owned();
        if !field.choices.is_empty() {
            meaning += &format!(" One of {}.", field.choices.join(", "));
        }
        table += &format!("| `{}` | `{default}` | {hot} | {meaning} |\n", field.path);
    }
    table
}
