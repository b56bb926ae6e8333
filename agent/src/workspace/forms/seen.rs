//! Form baselines: what a form showed, answers as somebody would have typed them, and the version of a resident that
//! goes along.

use carepost_protocol::unit::Units;
use carepost_protocol::workflow::{Field, Workflow};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::resident_form;
use crate::workspace::view::{SEEN, Typed};

/// The version of a resident that a form showed: only what differs from it is an edit.
#[derive(Serialize, Deserialize)]
pub(super) struct Seen {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base: Option<u64>,
    pub(super) values: Map<String, Value>,
}

impl Seen {
    /// The one that a form's answers carry.
    pub(super) fn in_answers(answers: &Typed) -> Option<Self> {
        let (_, text) = answers.iter().find(|(key, _)| key == SEEN)?;
        serde_json::from_str(text).ok()
    }

    /// Whether both are of as much of a resident.
    pub(super) fn is_as_much_as(&self, other: &Self) -> bool {
        self.values.keys().eq(other.values.keys())
    }

    /// What a form showed of it.
    pub(super) fn typed(&self, form: &Workflow) -> Vec<(String, String)> {
        typed(form, &resident_form::shown(&self.values), Units::default())
    }
}

/// Values as somebody would type them into the form, who charts in `units`.
pub(super) fn typed(workflow: &Workflow, values: &Map<String, Value>, units: Units) -> Vec<(String, String)> {
    let answer = |field: &Field| match field.shown(values.get(&field.key)?, units) {
        Value::Bool(yes) => Some(if yes { "yes" } else { "no" }.to_owned()),
        Value::String(text) => Some(text),
        Value::Null => None,
        other @ (Value::Number(_) | Value::Array(_) | Value::Object(_)) => Some(other.to_string()),
    };
    let fields = workflow.fields.iter();
    fields.filter_map(|field| Some((field.key.clone(), answer(field)?))).collect()
}
