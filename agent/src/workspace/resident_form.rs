//! Resident forms: what an admission, an edit, a discharge and a readmission ask, and a resident's values as they are
//! filled in. All of it follows from the protocol's list of a resident's fields.

use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::WorkflowId;
use carepost_protocol::patient::{self, FIELDS};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::workflow::{Field, Workflow};
use serde_json::{Map, Value};

/// What a decision that two are one person says: who goes, and who stays.
pub(crate) const REPLACED: &str = "replaced";
/// See [`REPLACED`].
pub(crate) const REPLACED_BY: &str = "replaced_by";

/// What a form about a resident asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// All about somebody new.
    Admission,
    /// The same of somebody who is known.
    Edit,
    /// Nothing: that it is so is all there is to say.
    Discharge,
    /// Where the resident lives from now on.
    Readmission,
}

impl Asks {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Admission => "Admit a resident",
            Self::Edit => "Edit resident",
            Self::Discharge => "Discharge",
            Self::Readmission => "Readmit",
        }
    }

    fn asks(self, field: &patient::Field) -> bool {
        match self {
            Self::Admission | Self::Edit => field.is_asked(),
            Self::Discharge => false,
            Self::Readmission => field.key == "room",
        }
    }

    /// Whether the resident lives here from then on, where the form is about that.
    pub(crate) const fn lives_here(self) -> Option<bool> {
        match self {
            Self::Admission | Self::Edit => None,
            Self::Discharge => Some(false),
            Self::Readmission => Some(true),
        }
    }
}

/// What people call a resident's field.
pub(crate) fn label(key: &str) -> String {
    patient::field(key).map_or(key, |field| field.label).to_owned()
}

/// A form about a resident on a device that is sent so much of one: it asks nothing that is there and not sent.
pub(crate) fn form(asks: Asks, sent: PhiMode) -> Workflow {
    let is_known = asks != Asks::Admission;
    form_of(asks.label(), |field| asks.asks(field) && (!is_known || field.is_sent(sent)))
}

/// The form of an edit that was rejected: what it changed was typed here.
pub(crate) fn resubmission(changed: &Map<String, Value>, sent: PhiMode) -> Workflow {
    let asks = Asks::Edit;
    form_of(asks.label(), |field| {
        asks.asks(field) && (field.is_sent(sent) || changed.contains_key(field.key))
    })
}

/// All that is known of a resident, as a form: what puts it into words.
pub(crate) fn whole() -> Workflow {
    form_of(Asks::Edit.label(), |_| true)
}

fn form_of(label: &str, asks: impl Fn(&patient::Field) -> bool) -> Workflow {
    let asked = FIELDS.iter().filter(|field| asks(field));
    let fields = asked.zip(1..).map(|(field, order)| Field {
        required: field.missing.is_some(),
        display_order: order,
        ..Field::new(field.key, field.label, field.field_type)
    });
    Workflow {
        id: WorkflowId::from_bytes([0; 16]),
        key: "resident".to_owned(),
        label: label.to_owned(),
        version: 1,
        enabled: true,
        fields: fields.collect(),
        rules: Vec::new(),
        corrected_by: Vec::new(),
    }
}

/// A resident's values by field, as they are stored, as far as they are sent.
pub(crate) fn values(resident: &PatientDocument, sent: PhiMode) -> Map<String, Value> {
    let sent = FIELDS.iter().filter(|field| field.is_sent(sent));
    let value = |field: &patient::Field| {
        let value = field.of(resident);
        if value == "" { Value::Null } else { value }
    };
    sent.map(|field| (field.key.to_owned(), value(field))).collect()
}

/// The same as pages show them.
pub(crate) fn shown(values: &Map<String, Value>) -> Map<String, Value> {
    let shown = |(key, value): (&String, &Value)| {
        let as_read = patient::field(key).zip(value.as_str()).map(|(field, text)| field.read_as(text));
        (key.clone(), as_read.map_or_else(|| value.clone(), Value::from))
    };
    values.iter().map(shown).collect()
}
