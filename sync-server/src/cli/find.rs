//! Resolving names: the ids of things, each given as such or by a name.

use anyhow::Context as _;
use carepost_protocol::record::MAX_REPLACED;
use carepost_protocol::text::{fold, plain};
use serde_json::{Value, json};

use super::client::Client;
use super::confirm::Confirm;
use super::names::{DEVICE, FACILITY, NAMED, ORGANIZATION, PATIENT, USER, is_id, items, text};
use super::show;

/// An organization by slug, else by name; or by id.
pub(super) async fn organization_id(client: &Client, name: &str) -> anyhow::Result<String> {
    id(name, async || ORGANIZATION.id(&client.all("/api/v1/organizations").await?, name)).await
}

/// A facility by name, by words of its name that no other has, or by id. Which of two a name may have meant is said.
pub(super) async fn facility_id(client: &Client, name: &str) -> anyhow::Result<String> {
    let look_up = async || {
        let list = client.all("/api/v1/facilities").await?;
        let found = facility_of(&list, name)?;
        if let Some(said) = which_of_two(items(&list), name) {
            show::say_error(&said);
        }
        Ok(found)
    };
    id(name, look_up).await
}

/// Asks about the name that a facility is given, itself by `own` where it has one, where it is part of another's name,
/// or another's is part of it: from then on commands find one by what the other was found by.
pub(super) async fn ask_about_name(
    client: &Client,
    own: Option<&str>,
    name: &str,
    confirm: &Confirm,
) -> anyhow::Result<()> {
    if !confirm.asks() {
        return Ok(());
    }
    let facilities = client.all("/api/v1/facilities").await?;
    shared_words(items(&facilities), own, name).map_or(Ok(()), |what| confirm.ask(&what))
}

/// A user by username, else by the name that people see; or by id.
pub(super) async fn user_id(client: &Client, name: &str) -> anyhow::Result<String> {
    let look_up = async || {
        let list = client.all("/api/v1/users").await?;
        USER.id(&client.with_facilities(list).await?, name)
    };
    id(name, look_up).await
}

/// A patient by medical record number, else by name; or by id.
pub(super) async fn patient_id(client: &Client, name: &str) -> anyhow::Result<String> {
    let look_up = async || {
        let list = client.all("/api/v1/patients").await?;
        patient_of(&client.with_facilities(list).await?, name)
    };
    id(name, look_up).await
}

/// A patient whose place another took, by medical record number, else by name; or by id.
pub(super) async fn replaced_id(client: &Client, name: &str) -> anyhow::Result<String> {
    let look_up = async || {
        let list = client.with_facilities(client.all("/api/v1/patients").await?).await?;
        let mut found = PATIENT.named(items(&list), name);
        if found.iter().any(|patient| text(patient, "replaced_by").is_some()) {
            found.retain(|patient| text(patient, "replaced_by").is_some());
        }
        PATIENT.one(&found, items(&list), name)
    };
    id(name, look_up).await
}

/// A device by name or id: of several of one name, the one that is not deactivated.
pub(super) async fn device_id(client: &Client, name: &str) -> anyhow::Result<String> {
    device_in(client, name, |state| state != "REVOKED").await
}

/// A device by name or id: of several of one name, those in such a state.
pub(super) async fn device_in(
    client: &Client,
    name: &str,
    wanted: fn(&str) -> bool,
) -> anyhow::Result<String> {
    let look_up = async || {
        let devices = client.with_facilities(devices(client).await?).await?;
        let mut found = DEVICE.named(items(&devices), name);
        let is_wanted = |device: &&Value| device.get("state").and_then(Value::as_str).is_none_or(wanted);
        if found.iter().any(is_wanted) {
            found.retain(is_wanted);
        }
        DEVICE.one(&found, items(&devices), name)
    };
    id(name, look_up).await
}

/// All devices: a name means one of them.
pub(super) async fn devices(client: &Client) -> anyhow::Result<Value> {
    let facilities = client.all("/api/v1/facilities").await?;
    let mut devices = Vec::new();
    for facility in items(&facilities) {
        let id = text(facility, "id").context("a facility without id")?;
        let list = client.all(&format!("/api/v1/facilities/{id}/devices")).await?;
        devices.extend(items(&list).iter().cloned());
    }
    Ok(json!({ "items": devices }))
}

/// What is an id already, or the one that is looked up.
async fn id(name: &str, look_up: impl AsyncFnOnce() -> anyhow::Result<String>) -> anyhow::Result<String> {
    if is_id(name) { Ok(name.to_owned()) } else { look_up().await }
}

/// The id of the only facility of that name, else of the only one in whose name it stands in whole words.
fn facility_of(list: &Value, name: &str) -> anyhow::Result<String> {
    let items = items(list);
    let mut found = FACILITY.named(items, name);
    if found.is_empty() {
        found = items.iter().filter(|item| stands_in(name, text(item, "name"))).collect();
    }
    FACILITY.one(&found, items, name)
}

/// Whether a name stands in another in whole words.
fn stands_in(name: &str, whole: Option<&str>) -> bool {
    let words = plain(name);
    let stands = |whole: &str| format!(" {} ", plain(whole)).contains(&format!(" {words} "));
    !words.is_empty() && whole.is_some_and(stands)
}

/// Which facility a name means that is the whole of one's and part of others'.
fn which_of_two(facilities: &[Value], name: &str) -> Option<String> {
    let whole = FACILITY.named(facilities, name);
    let meant = whole.first()?;
    let others = facilities.iter().filter(|it| !whole.contains(it) && stands_in(name, text(it, "name")));
    let others: Vec<_> = others.take(NAMED).map(|it| FACILITY.described(it)).collect();
    let meant = FACILITY.described(meant);
    (!others.is_empty())
        .then(|| format!("{name:?} is {meant} by its whole name, and not {}", others.join(", or ")))
}

/// What commands mean by a name that is given to a facility, and by those that share words with it. One that another has
/// already is the server's to refuse.
fn shared_words(facilities: &[Value], own: Option<&str>, name: &str) -> Option<String> {
    let meaning = |other: &Value| {
        let (theirs, said) = (text(other, "name")?, FACILITY.described(other));
        match (stands_in(name, Some(theirs)), stands_in(theirs, Some(name))) {
            (true, _) => Some(format!("{name:?} means this one then, and not {said}")),
            (false, true) => Some(format!("{theirs:?} goes on meaning {said}, and not this one")),
            (false, false) => None,
        }
    };
    let others = facilities.iter().filter(|it| text(it, "id") != own);
    let others = others.filter(|it| text(it, "name").is_none_or(|theirs| fold(theirs) != fold(name)));
    let meanings: Vec<_> = others.filter_map(meaning).take(NAMED).collect();
    (!meanings.is_empty())
        .then(|| format!("call a facility {name:?}. In commands, {}", meanings.join(", and ")))
}

/// The id of the only patient of that number or name; of one whose place another took, that one's.
fn patient_of(list: &Value, name: &str) -> anyhow::Result<String> {
    let items = items(list);
    let mut found: Vec<_> =
        PATIENT.named(items, name).into_iter().map(|patient| present(items, patient)).collect();
    found.dedup();
    PATIENT.one(&found, items, name)
}

/// A patient, or the last who took that one's place.
fn present<'a>(items: &'a [Value], patient: &'a Value) -> &'a Value {
    let mut present = patient;
    for _ in 0..MAX_REPLACED {
        let Some(next) = present.get("replaced_by").filter(|next| next.is_string()) else { break };
        let Some(next) = items.iter().find(|item| item.get("id") == Some(next)) else { break };
        present = next;
    }
    present
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_facility_is_found_by_words_of_its_name_that_no_other_has() {
        let list = json!({"items": [
            {"id": "1", "name": "Golden Years ALF - Riverside"},
            {"id": "2", "name": "Golden Years SNF – Hillside"},
            {"id": "3", "name": "Hillside"},
        ]});
        for (name, id) in [
            ("Riverside", "1"),
            ("alf riverside", "1"),
            ("ALF - Riverside", "1"),
            ("hillside", "3"),
            ("snf", "2"),
        ] {
            assert_eq!(facility_of(&list, name).unwrap(), id, "{name}");
        }
        for (name, why) in
            [("Golden Years", "several are called"), ("River", "no facility"), ("-", "no facility")]
        {
            assert!(facility_of(&list, name).unwrap_err().to_string().contains(why), "{name}");
        }
        let said = which_of_two(items(&list), "hillside").unwrap();
        let others = "and not Golden Years SNF – Hillside";
        assert_eq!(said, format!("\"hillside\" is Hillside by its whole name, {others}"));
        assert_eq!(which_of_two(items(&list), "Riverside"), None);
    }

    #[test]
    fn a_facilitys_name_that_shares_words_with_anothers_is_asked_about() {
        let list = json!({"items": [
            {"id": "1", "name": "Golden Years ALF - Riverside", "facility_type": "ALF"},
            {"id": "2", "name": "Hillside", "facility_type": "SNF"},
        ]});
        let asked = |own, name| shared_words(items(&list), own, name);
        assert_eq!(
            asked(None, "Riverside").as_deref(),
            Some(
                "call a facility \"Riverside\". In commands, \"Riverside\" means this one then, and not Golden Years \
                 ALF - Riverside (ALF)"
            )
        );
        assert_eq!(
            asked(None, "Hillside Manor").as_deref(),
            Some(
                "call a facility \"Hillside Manor\". In commands, \"Hillside\" goes on meaning Hillside (SNF), and not \
                 this one"
            )
        );
        assert!(asked(Some("2"), "Riverside").is_some() && asked(Some("2"), "ALF – Riverside").is_some());
        assert_eq!(asked(Some("2"), "Hillside Manor"), None, "its own name is no other's");
        for other in ["River", "Lakeside", "HILLSIDE", "-"] {
            assert_eq!(asked(None, other), None, "{other}");
        }
    }

    #[test]
    fn by_number_or_name_of_whose_place_another_took_that_one_is_chosen() {
        let list = json!({"items": [
            {"id": "1", "mrn": "R-1", "name": "Bea Example", "replaced_by": "2"},
            {"id": "2", "mrn": "R-1", "name": "Bea Example"},
            {"id": "3", "mrn": "R-3", "name": "Ada Amberly", "replaced_by": "1"},
            {"id": "4", "mrn": "R-4", "name": "Émile Ö"},
            {"id": "5", "mrn": "R-5", "name": "Cy Example"},
            {"id": "6", "mrn": "R-6", "name": "Cy Example"},
            {"id": "7", "mrn": "", "name": "Dee Example"},
        ]});
        for name in ["R-1", "r 1", "R–1", "bea example", "R-3", "Ada Amberly"] {
            assert_eq!(patient_of(&list, name).unwrap(), "2", "{name}");
        }
        assert_eq!(patient_of(&list, "émile ö").unwrap(), "4", "compared as everywhere");
        for name in ["Cy Example", "R-7", "", " "] {
            patient_of(&list, name).unwrap_err();
        }
    }
}
