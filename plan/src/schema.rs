//! The JSON Schema of plans, made from the tables of the language.

use serde_json::{Map, Value, json};

use crate::language::{Object, PLAN, Shape};

const DURATION: &str = r"^\d+(\.\d+)?(d|h|m|s|ms|us)(\d+(\.\d+)?(h|m|s|ms|us))*$";
const RATE: &str = r"^\d+(\.\d+)?[kM]?/(d|h|m|s|ms)$";
const SIZE: &str = r"^\d+(\.\d+)?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$";

/// The JSON Schema (2020-12) of a plan.
///
/// It knows every key, type and word. What needs more than that, such as whether a variable is defined, only reading
/// the plan can tell.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    let mut plan = Map::new();
    plan.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    plan.insert("title".to_owned(), json!("Barrage plan"));
    if let Value::Object(body) = object(&PLAN, &mut definitions) {
        plan.extend(body);
    }
    plan.insert("patternProperties".to_owned(), json!({ "^x-": true }));
    plan.insert("$defs".to_owned(), Value::Object(definitions));
    Value::Object(plan)
}

/// The schema of a map with known keys; its parts go to `definitions`.
fn object(object: &'static Object, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    for key in object.keys {
        let mut schema = shape(&key.shape, definitions);
        if let Value::Object(fields) = &mut schema {
            fields.insert("description".to_owned(), json!(described(key.doc, key.default)));
        }
        properties.insert(key.name.to_owned(), schema);
    }
    let required: Vec<&str> = object
        .keys
        .iter()
        .filter(|key| key.required)
        .map(|key| key.name)
        .collect();
    let mut schema = json!({
        "description": object.doc,
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    let rules: Vec<Value> = object
        .choices
        .iter()
        .map(|choice| rule(choice.keys, choice.required))
        .collect();
    if !rules.is_empty() {
        schema["allOf"] = json!(rules);
    }
    schema
}

/// That exactly one of the keys (or at most one) is given.
fn rule(keys: &[&str], required: bool) -> Value {
    let mut forms: Vec<Value> = keys.iter().map(|key| json!({ "required": [key] })).collect();
    if !required {
        let any = forms.clone();
        forms.push(json!({ "not": { "anyOf": any } }));
    }
    json!({ "oneOf": forms })
}

fn described(doc: &str, default: Option<&str>) -> String {
    match default {
        Some(default) => format!("{doc} Default: {default}."),
        None => doc.to_owned(),
    }
}

/// A reference to the schema of a map with known keys, which is made at its first use.
fn reference(of: &'static Object, definitions: &mut Map<String, Value>) -> Value {
    if !definitions.contains_key(of.name) {
        // Objects may contain themselves: the name is taken before the content is made.
        definitions.insert(of.name.to_owned(), Value::Null);
        let made = object(of, definitions);
        definitions.insert(of.name.to_owned(), made);
    }
    json!({ "$ref": format!("#/$defs/{}", of.name) })
}

fn shape(of: &'static Shape, definitions: &mut Map<String, Value>) -> Value {
    let pattern = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    match of {
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Whole { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Decimal => json!({ "type": "number", "minimum": 0 }),
        Shape::Duration { .. } => pattern(DURATION),
        Shape::Delay => pattern(&format!(
            r"{}(\.\.{})?$",
            DURATION.trim_end_matches('$'),
            &DURATION[1..DURATION.len() - 1]
        )),
        Shape::Rate { .. } => pattern(RATE),
        Shape::Size { .. } => pattern(SIZE),
        Shape::SizeSpan => pattern(&format!(
            r"{}(\.\.{})?$",
            SIZE.trim_end_matches('$'),
            &SIZE[1..SIZE.len() - 1]
        )),
        Shape::Ratio { .. } => json!({ "type": ["string", "number"], "pattern": r"^\d+(\.\d+)?%?$", "minimum": 0 }),
        Shape::Word(words) => json!({ "enum": words }),
        Shape::Name => pattern("^[A-Za-z_][A-Za-z0-9_-]*$"),
        Shape::Text { max } => json!({ "type": ["string", "number", "boolean"], "minLength": 1, "maxLength": max }),
        Shape::Any => json!({ "type": ["string", "number", "boolean", "null"] }),
        Shape::Template => json!({ "type": ["string", "number", "boolean"] }),
        Shape::Condition
        | Shape::Expression
        | Shape::Phase
        | Shape::Regex
        | Shape::Path
        | Shape::Address
        | Shape::ProxyUrl
        | Shape::Resolve => json!({ "type": "string", "minLength": 1 }),
        Shape::JsonPath => pattern(r"^\$"),
        Shape::Url => pattern("^https?://"),
        Shape::Status => json!({ "type": ["integer", "string"], "pattern": r"^([1-5][xX]{2}|\d{3}(\.\.\d{3})?)$" }),
        Shape::Json => json!({}),
        Shape::Object(object) => reference(object, definitions),
        Shape::List { of, min, max } => {
            json!({ "type": "array", "items": shape(of, definitions), "minItems": min, "maxItems": max })
        }
        Shape::Map { of, max } => {
            json!({ "type": "object", "additionalProperties": shape(of, definitions), "maxProperties": max })
        }
        Shape::OneOf(shapes) => {
            let any: Vec<Value> = shapes.iter().map(|one| shape(one, definitions)).collect();
            json!({ "anyOf": any })
        }
        Shape::Later => json!({ "not": {} }),
    }
}
