//! A resident leaves, and is back: asked first, and undone with one touch.

use carepost_protocol::change::ChangeKind;
use serde_json::Value;

use super::*;

/// The hidden fields of the form that goes there, as a browser sends them.
pub(super) fn fields(html: &str, action: &str) -> String {
    let form =
        html.split(&format!(r#"action="{action}""#)).nth(1).unwrap_or_else(|| panic!("{action}: {html}"));
    let inputs = form.split("</form>").next().unwrap().split(r#"name=""#).skip(1);
    let encoded = |text: &str| {
        let text = text.replace("&#34;", "\"").replace("&#39;", "'").replace("&#38;", "&");
        text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>()
    };
    let pair = |input: &str| {
        let (name, rest) = input.split_once('"').unwrap();
        let value = rest.split(r#"value=""#).nth(1).unwrap().split('"').next().unwrap();
        format!("{name}={}", encoded(value))
    };
    inputs.map(pair).collect::<Vec<_>>().join("&")
}

#[tokio::test]
async fn a_discharge_asks_and_can_be_undone() {
    let device = Device::new();
    device.sign_in(ANNA);
    let page = format!("/residents/{}", patient(4));
    assert!(open(&device.pages, &page).await.body.contains(&format!(r#"href="{page}/discharge""#)));
    let edit = open(&device.pages, &format!("{page}/edit")).await.body;
    assert!(!edit.contains("Lives here"), "nobody is discharged by a wrong touch on another form: {edit}");
    let asked = device.open_form(&format!("{page}/discharge")).await;
    for words in ["Mary Smith", "leaves the list of residents", "can be undone", "Discharge Mary Smith"] {
        assert!(asked.html.contains(words), "{words} is missing in {}", asked.html);
    }
    assert_eq!(device.entries(), [], "asking does nothing");
    let done = post(&device.pages, &asked.path, &fields(&asked.html, &asked.path)).await;
    assert_eq!(done.header("location"), format!("{page}?saved=discharged"), "{}", done.body);
    let change = device.entries().pop().unwrap();
    assert_eq!((change.kind, change.patient), (ChangeKind::Patch, Some(patient(4))));
    assert_eq!(Value::from(change.fields), json!({"is_active": false}));
    assert!(!open(&device.pages, "/").await.body.contains("Mary Smith"));
    // One touch on the page that it led to.
    let left = open(&device.pages, done.header("location")).await.body;
    assert!(left.contains("Discharged") && left.contains("Undo: Mary Smith stays"), "{left}");
    // What is saved about her later is not answered with that.
    let later = open(&device.pages, &format!("{page}?saved=1")).await.body;
    assert!(later.contains("Saved here.") && !later.contains("Undo: Mary Smith stays"), "{later}");
    let readmit = format!("{page}/readmit");
    let undone = post(&device.pages, &readmit, &fields(&left, &readmit)).await;
    assert_eq!(undone.header("location"), format!("{page}?saved=readmitted"), "{}", undone.body);
    let back = open(&device.pages, undone.header("location")).await.body;
    assert!(back.contains("Mary Smith is in care again") && !back.contains("The entry is safe"), "{back}");
    assert_eq!(Value::from(device.entries().pop().unwrap().fields), json!({"is_active": true}));
    let list = open(&device.pages, "/").await.body;
    assert!(list.contains("Mary Smith") && list.contains("104"), "{list}");
}

#[tokio::test]
async fn who_was_discharged_is_readmitted_into_another_room() {
    let device = Device::new();
    device.sign_in(ANNA);
    let page = format!("/residents/{}", patient(4));
    let asked = device.open_form(&format!("{page}/discharge")).await;
    post(&device.pages, &asked.path, &fields(&asked.html, &asked.path)).await;
    let left = open(&device.pages, &page).await.body;
    assert!(left.contains("Discharged: no longer in the list") && !left.contains("Undo:"), "{left}");
    let asked = device.open_form(&format!("{page}/readmit")).await;
    let sent = fields(&asked.html, &asked.path).replace("room=%31%30%34", "room=112");
    assert!(sent.contains("room=112"), "the room that she had is filled in: {sent}");
    let back = post(&device.pages, &asked.path, &sent).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
    let fields = Value::from(device.entries().pop().unwrap().fields);
    assert_eq!(fields, json!({"room": "112", "is_active": true}));
    // Neither is asked about who is so already; that it was looked for is written down.
    for (form, words) in [("readmit", "in care already"), ("discharge", "discharged already")] {
        let said = open(&device.pages, &format!("{page}/{form}")).await;
        assert!(said.status == StatusCode::CONFLICT && said.body.contains(words), "{}", said.body);
        assert!(said.body.contains(&format!(r#"href="{page}""#)), "{}", said.body);
        let refused = (AuditAction::View, false, Some(patient(4).to_string()));
        assert_eq!(device.accesses().last(), Some(&refused), "{form}");
        if form == "readmit" {
            let asked = device.open_form(&format!("{page}/discharge")).await;
            post(&device.pages, &asked.path, &super::leaving::fields(&asked.html, &asked.path)).await;
        }
    }
    // A readmission that was begun stays where it was left, also when somebody else has readmitted her.
    let asked = device.open_form(&format!("{page}/readmit")).await;
    let begun = super::leaving::fields(&asked.html, &asked.path).replace("room=%31%31%32", "room=115");
    assert!(begun.contains("room=115"), "{begun}");
    let kept = post(&device.pages, &format!("{}/draft", asked.path), &begun).await;
    assert_eq!(kept.status, StatusCode::NO_CONTENT, "{}", kept.body);
    device.settle(&[]);
    let here = resident(4, "Mary Smith", "112");
    device.bring(300, Collection::Patients, here.id, &here);
    let draft = device.open_form(&asked.path).await;
    assert!(
        draft.html.contains("You began this earlier") && draft.html.contains(r#"value="115""#),
        "{}",
        draft.html
    );
    let begun = super::leaving::fields(&draft.html, &draft.path);
    let dropped = post(&device.pages, &format!("{}/discard", draft.path), &begun).await;
    assert_eq!(dropped.status, StatusCode::SEE_OTHER, "{}", dropped.body);
    assert_eq!(open(&device.pages, &asked.path).await.status, StatusCode::CONFLICT);
    device.sign_in(AUDITOR);
    for form in ["discharge", "readmit"] {
        assert_eq!(open(&device.pages, &format!("{page}/{form}")).await.status, StatusCode::FORBIDDEN);
    }
}
