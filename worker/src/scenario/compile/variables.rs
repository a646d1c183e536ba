//! Plan variables: those that nothing changes become constants.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::encode::Encoding;
use super::super::error::{PrepareError, StepProblem};
use super::super::text::Text;
use super::link::{Known, Linker};

/// The values at the beginning of an iteration, and the variables that are made anew for each.
pub(super) type Declared = (Vec<Option<Arc<str>>>, Vec<(u32, Text)>);

/// Gives every variable its place or its constant value.
pub(super) fn declare(linker: &mut Linker<'_>) -> Result<Declared, PrepareError> {
    let plan = linker.plan;
    let context = linker.context;
    let written = plan.written();
    let mut base: Vec<Option<Arc<str>>> = Vec::new();
    let mut initials = Vec::new();
    for (name, value) in &context.secrets {
        linker.outside.secrets.push(value.clone());
        let known = constant(name, value.as_str().into(), &written, &mut base);
        linker.names.insert(name.clone(), known);
    }
    let given: BTreeSet<&String> = context.secrets.iter().map(|(name, _)| name).collect();
    for variable in plan.variables.iter().filter(|variable| !given.contains(&variable.name)) {
        let name = &variable.name;
        let text = linker
            .text(&variable.value, Encoding::Plain)
            .map_err(|source| match source {
                StepProblem::Outside(error) => *error,
                source => PrepareError::Variable {
                    name: name.clone(),
                    source,
                },
            })?;
        let known = if let Some(bytes) = text.as_static() {
            let value = String::from_utf8_lossy(bytes);
            if variable.secret {
                linker.outside.secrets.push(value.clone().into_owned());
            }
            constant(name, value.as_ref().into(), &written, &mut base)
        } else {
            let slot = new_slot(&mut base, None);
            initials.push((slot, text));
            Known::Slot(slot)
        };
        linker.names.insert(name.clone(), known);
    }
    for name in written {
        if !linker.names.contains_key(name) {
            let slot = new_slot(&mut base, None);
            linker.names.insert(name.to_owned(), Known::Slot(slot));
        }
    }
    Ok((base, initials))
}

fn constant(name: &str, value: Arc<str>, written: &BTreeSet<&str>, base: &mut Vec<Option<Arc<str>>>) -> Known {
    if written.contains(name) {
        Known::Slot(new_slot(base, Some(value)))
    } else {
        Known::Constant(value)
    }
}

fn new_slot(base: &mut Vec<Option<Arc<str>>>, value: Option<Arc<str>>) -> u32 {
    base.push(value);
    base.len() as u32 - 1
}
