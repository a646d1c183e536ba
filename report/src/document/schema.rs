//! The published JSON Schema.

use schemars::generate::SchemaSettings;

use super::Document;

/// The JSON Schema (2020-12) of `report.json`, as it is written: fields that may be absent are the `…_at_least` flags
/// alone.
pub fn schema() -> serde_json::Value {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<Document>()
        .into()
}
