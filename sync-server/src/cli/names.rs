//! Name matching: which thing a name means, compared as everywhere; and what there is to choose from where it means
//! none, or several.

use anyhow::{Context as _, bail};
use carepost_protocol::patient::mrn_key;
use carepost_protocol::text::{fold, plain};
use serde_json::Value;
use uuid::Uuid;

/// How many are named of those to choose from.
pub(super) const NAMED: usize = 5;

/// Things that are called by name.
pub(super) struct Kind {
    /// Its word.
    what: &'static str,
    /// What tells where all of them are.
    list: &'static str,
    /// What people call it: the last of [`Self::names`], or the one before it.
    title: &'static str,
    /// The fields that it is found by: the first in which anything matches.
    names: &'static [&'static str],
    /// What tells one from another of its name: a word before it, and the field.
    marks: &'static [(&'static str, &'static str)],
}

pub(super) const ORGANIZATION: Kind = Kind {
    what: "organization",
    list: "org list",
    title: "name",
    names: &["slug", "name"],
    marks: &[("", "slug")],
};
pub(super) const FACILITY: Kind = Kind {
    what: "facility",
    list: "facility list",
    title: "name",
    names: &["name"],
    marks: &[("", "facility_type")],
};
pub(super) const USER: Kind = Kind {
    what: "user",
    list: "user list",
    title: "display_name",
    names: &["username", "display_name"],
    marks: &[("", "username"), ("", "role"), ("", "facility")],
};
pub(super) const DEVICE: Kind = Kind {
    what: "device",
    list: "device list FACILITY",
    title: "device_name",
    names: &["device_name"],
    marks: &[("", "device_type"), ("", "state"), ("", "facility")],
};
pub(super) const PATIENT: Kind = Kind {
    what: "patient",
    list: "patient list --all",
    title: "name",
    names: &["mrn", "name"],
    marks: &[("MRN ", "mrn"), ("born ", "date_of_birth"), ("room ", "room"), ("", "facility")],
};

impl Kind {
    /// The id of the one that is called so.
    pub(super) fn id(&self, list: &Value, name: &str) -> anyhow::Result<String> {
        let items = items(list);
        self.one(&self.named(items, name), items, name)
    }

    /// All that are called so.
    pub(super) fn named<'a>(&self, items: &'a [Value], name: &str) -> Vec<&'a Value> {
        let is = |item: &Value, field: &str| {
            let key = if field == "mrn" { mrn_key } else { fold };
            // Whoever has no number is not called by none.
            let key_of = |it: &str| Some(key(it)).filter(|key| !key.is_empty());
            let own = item.get(field).and_then(Value::as_str).and_then(key_of);
            own.is_some() && own == key_of(name)
        };
        let by = |field: &&str| items.iter().filter(|item| is(item, field)).collect::<Vec<_>>();
        self.names.iter().map(by).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// The id of the only one found.
    pub(super) fn one(&self, found: &[&Value], items: &[Value], name: &str) -> anyhow::Result<String> {
        let (what, list) = (self.what, self.list);
        match found {
            [one] => Ok(one.get("id").and_then(Value::as_str).context("an item without id")?.to_owned()),
            [] if fold(name).is_empty() => {
                bail!("which {what}? Give a name or an id: `carepost-server {list}` shows them")
            }
            [] if items.is_empty() => bail!("no {what} is called {name:?}, and there is none yet"),
            [] => {
                let near = self.choices(&self.nearest(items, name));
                bail!(
                    "no {what} is called {name:?}. The nearest:{near}\nGive one of these, or see `carepost-server {list}`"
                )
            }
            _ => bail!(
                "several are called {name:?}:{}\nGive the id of the {what} that is meant",
                self.choices(found)
            ),
        }
    }

    /// What somebody may have meant, first what is most like it.
    fn nearest<'a>(&self, items: &'a [Value], name: &str) -> Vec<&'a Value> {
        let name = plain(name);
        let likeness = |item: &Value| {
            let of = |field: &&str| {
                let whole = plain(text(item, field)?);
                // A family's name is in most minds the name.
                let parts = whole.split(' ').chain([whole.as_str()]);
                Some(parts.map(|part| strsim::jaro_winkler(part, &name)).fold(0.0, f64::max))
            };
            self.names.iter().filter_map(of).fold(0.0, f64::max)
        };
        let mut nearest: Vec<_> = items.iter().map(|item| (likeness(item), item)).collect();
        nearest.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        nearest.into_iter().take(NAMED).map(|(_, item)| item).collect()
    }

    /// A line for each: its name, what tells it from others, and its id.
    fn choices(&self, of: &[&Value]) -> String {
        of.iter()
            .map(|item| format!("\n  {}  {}", self.described(item), text(item, "id").unwrap_or("-")))
            .collect()
    }

    /// Its name, and what tells it from others, where anything does.
    pub(super) fn described(&self, item: &Value) -> String {
        let marks: Vec<_> = self
            .marks
            .iter()
            .filter_map(|(word, field)| Some(format!("{word}{}", text(item, field)?)))
            .collect();
        let title = text(item, self.title).unwrap_or_default();
        if marks.is_empty() { title.to_owned() } else { format!("{title} ({})", marks.join(", ")) }
    }
}

pub(super) fn items(list: &Value) -> &[Value] {
    list.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn text<'a>(item: &'a Value, field: &str) -> Option<&'a str> {
    item.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Whether that is an id, and no name.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(kind: &Kind, list: &Value, name: &str) -> String {
        kind.id(list, name).unwrap_err().to_string()
    }

    #[test]
    fn a_name_that_is_nobodys_is_answered_with_the_nearest_first() {
        let list = json!({"items": [
            {"id": "1", "name": "Lakeside", "facility_type": "ALF"},
            {"id": "2", "name": "Riverside Manor", "facility_type": "SNF"},
        ]});
        for typed in ["Riverside", "RIVERSIDE", "rivreside", "river"] {
            let said = said(&FACILITY, &list, typed);
            assert!(
                said.starts_with(&format!(
                    "no facility is called {typed:?}. The nearest:\n  Riverside Manor (SNF)  2\n"
                )),
                "{said}"
            );
            assert!(said.ends_with("`carepost-server facility list`"), "{said}");
        }
        assert!(said(&FACILITY, &list, " ").starts_with("which facility?"));
        assert!(said(&FACILITY, &json!({"items": []}), "A").ends_with("there is none yet"));
        assert_eq!(FACILITY.id(&list, "riverside  MANOR").unwrap(), "2", "compared as everywhere");
    }

    #[test]
    fn who_has_nothing_that_tells_them_apart_is_called_by_the_name_alone() {
        let ada = json!({"name": "Ada Example", "mrn": null, "room": "12"});
        assert_eq!(PATIENT.described(&ada), "Ada Example (room 12)");
        assert_eq!(PATIENT.described(&json!({"name": "Ada Example", "mrn": null})), "Ada Example");
    }

    #[test]
    fn a_user_is_found_by_username_else_by_the_name_that_people_see() {
        let list = json!({"items": [
            {"id": "1", "username": "nora", "display_name": "Nora Quinn", "role": "rn", "facility": "Riverside"},
            {"id": "2", "username": "nq2", "display_name": "Nora Quinn", "role": "lpn", "facility": "Lakeside"},
            {"id": "3", "username": "omar", "display_name": "Omar Example", "role": "rn"},
            {"id": "4", "username": "omar example", "display_name": "Another", "role": "rn"},
        ]});
        assert_eq!(USER.id(&list, "NORA").unwrap(), "1");
        assert_eq!(USER.id(&list, "another").unwrap(), "4");
        assert_eq!(USER.id(&list, "Omar Example").unwrap(), "4", "a username goes first");
        let said = said(&USER, &list, "nora quinn");
        assert!(said.contains("several are called \"nora quinn\":\n  Nora Quinn (nora, rn, Riverside)  1\n  Nora Quinn (nq2, lpn, Lakeside)  2\n"), "{said}");
        assert!(said.ends_with("Give the id of the user that is meant"), "{said}");
    }

    #[test]
    fn who_has_no_number_is_not_called_by_none() {
        let list = json!({"items": [
            {"id": "1", "mrn": "", "name": "Ada Example"},
            {"id": "2", "mrn": "RS-1", "name": "Bea Smith-Rowe"},
        ]});
        assert!(said(&PATIENT, &list, "smith").contains("nearest:\n  Bea Smith-Rowe"), "by a family's name");
        let items = items(&list);
        for nothing in ["", "-", "– -"] {
            assert!(PATIENT.named(items, nothing).is_empty(), "{nothing:?}");
        }
        assert_eq!(PATIENT.named(items, "rs -1"), [&items[1]]);
    }

    #[test]
    fn what_only_looks_like_an_id_is_a_name() {
        assert!(is_id("0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42"));
        for name in [
            "zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz",
            "0190a5e27c4d7b118f3e2d6a9c0b1e42",
            "0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e4",
        ] {
            assert!(!is_id(name), "{name}");
        }
    }
}
