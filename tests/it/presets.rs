//! The workflows that come with the server.

use std::path::Path;

use carepost_protocol::id::WorkflowId;
use carepost_protocol::workflow::{Field, FieldType, Workflow};
use serde_json::{Value, json};

fn preset(name: &str) -> Workflow {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sync-server/presets");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let mut preset: Value = serde_json::from_str(&text).unwrap();
    preset["id"] = json!(WorkflowId::from_bytes([1; 16]));
    preset["version"] = json!(1);
    preset["enabled"] = json!(true);
    serde_json::from_value(preset).unwrap()
}

#[test]
fn every_preset_is_a_schema_that_the_server_takes() {
    for name in ["adl", "patient_questions", "prior_auth", "vitals"] {
        let mut workflow = preset(name);
        assert_eq!(workflow.key, name);
        assert_eq!(workflow.check(), Ok(()), "{name}");
        let orders: Vec<u32> = workflow.fields.iter().map(|field| field.display_order).collect();
        assert_eq!(
            orders,
            (1..=orders.len() as u32).collect::<Vec<_>>(),
            "{name} is in the order it is shown"
        );
    }
}

#[test]
fn prior_authorization_asks_exactly_its_thirteen_fields() {
    use FieldType::{Date, Datetime, Select, String};
    let asked = preset("prior_auth").fields;
    let told: Vec<_> = asked
        .iter()
        .map(|Field { key, label, field_type, required, display_in_list, .. }| {
            (key.as_str(), label.as_str(), *field_type, *required, *display_in_list)
        })
        .collect();
    let expected = [
        ("patient_name", "Patient Name", String, true, true),
        ("date_of_birth", "Date of Birth", Date, true, true),
        ("insurance_member_id", "Member ID", String, true, true),
        ("insurance_company_name", "Insurance Company", String, true, false),
        ("insurance_phone", "Insurance Phone", String, true, true),
        ("facility_name", "Facility", String, true, false),
        ("provider_name", "Provider Name", String, true, false),
        ("provider_npi", "Provider NPI", String, true, false),
        ("cpt_code", "CPT Code", String, true, true),
        ("appointment_time", "Appointment Time", Datetime, true, false),
        ("supervisor_phone", "Supervisor Phone", String, false, false),
        ("prior_auth_status", "Auth Status", Select, false, true),
        ("reference_number", "Reference #", String, false, true),
    ];
    assert_eq!(told, expected);
    assert_eq!(asked[11].options, ["Pending", "Approved", "Denied"]);
    assert_eq!(asked[11].default.as_deref(), Some("Pending"));
}
