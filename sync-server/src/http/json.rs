//! JSON into what an endpoint takes, and what is wrong with it in words for people.

use carepost_protocol::wire::problem::ProblemKind;
use carepost_protocol::workflow::FieldError;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::error::{Answer, MOST_ERRORS, Refusal, malformed};

/// JSON into what an endpoint takes, whatever else there is in it.
///
/// # Errors
/// `malformed` for text that is not JSON, `invalid` naming the field that is wrong.
pub fn tolerant<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    // Which field is wrong is looked for only where one is: it costs as much as the reading.
    serde_json::from_slice(bytes).or_else(|_| telling(bytes, &mut |_| {}))
}

/// JSON into what an endpoint takes, when it is an object with nothing else in it. Fields that there are not are named
/// beside one that is missing, or of another type or word: there the reading ends.
///
/// # Errors
/// As [`tolerant`].
pub fn strict<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    // A list would be read as the object's members, in some order.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        let no_object = |_| Refusal::new(ProblemKind::Invalid, "The body has to be an object: {...}.");
        return Err(
            serde_json::from_slice::<IgnoredAny>(bytes).map_or_else(|fault| malformed(&fault), no_object)
        );
    }
    let mut errors = Vec::new();
    let read = telling(bytes, &mut |path| {
        if errors.len() < MOST_ERRORS {
            errors.push(FieldError::new(spelled(&path), NO_FIELD));
        }
    });
    match read {
        // What is no JSON further on is that before all else.
        Err(broken) if broken.problem().errors.is_empty() => Err(broken),
        read if errors.is_empty() => read,
        read => {
            // It may be one more than there is room for.
            errors.splice(..0, read.err().into_iter().flat_map(|wrong| wrong.problem().errors.clone()));
            Err(Refusal::invalid(errors))
        }
    }
}

/// A path as serde_path_to_error spells it: `fields[0].label`.
fn spelled(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", spelled(parent)),
        Path::Map { parent, key } => {
            let parent = spelled(parent);
            if parent.is_empty() { key.clone() } else { format!("{parent}.{key}") }
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            spelled(parent)
        }
    }
}

fn telling<T: DeserializeOwned>(
    bytes: &[u8],
    of_unknown: &mut impl FnMut(serde_ignored::Path<'_>),
) -> Answer<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let telling = serde_ignored::Deserializer::new(&mut reader, of_unknown);
    let value = serde_path_to_error::deserialize(telling).map_err(|fault| refuse(bytes, &fault))?;
    reader.end().map_err(|fault| malformed(&fault))?;
    Ok(value)
}

fn refuse(bytes: &[u8], fault: &serde_path_to_error::Error<serde_json::Error>) -> Refusal {
    let inner = fault.inner();
    let said = inner.to_string();
    let detail = said.rsplit_once(" at line ").map_or(said.as_str(), |(detail, _)| detail);
    // It calls these no JSON as well, where they are.
    let is_json =
        || [TOO_DEEP, NO_WORD].contains(&detail) && serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
    if !inner.is_data() && !is_json() {
        return malformed(inner);
    }
    let mut path = fault.path().to_string();
    if detail == TOO_DEEP {
        path.truncate(path.find(['.', '[']).unwrap_or(path.len()));
    }
    // serde names an unknown or missing field only in its words: `... field `name` ...`.
    let named = detail.split_once("field `").and_then(|(_, rest)| rest.split('`').next());
    let field = match (path.as_str(), named) {
        (".", Some(name)) => name.to_owned(),
        (path, Some(name)) if !path.ends_with(name) => format!("{path}.{name}"),
        (path, _) => path.to_owned(),
    };
    Refusal::field(&field, in_words(detail))
}

/// What a number of things is.
pub(super) const WHOLE: &str = "give a whole number, such as 48";
const UUID: &str = "give a UUID such as 0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42";
/// What is nested too deeply, and what is no text where a word belongs, as serde says it.
const TOO_DEEP: &str = "recursion limit exceeded";
const NO_WORD: &str = "expected value";
/// What there is to do about a field that there is not.
pub(super) const NO_FIELD: &str = "there is no such field; check how it is spelled";

/// What serde says of a value, as it begins, and what is said instead.
const SAID: &[(&str, &str)] = &[
    ("missing field", "is missing: give it"),
    ("unknown field", NO_FIELD),
    ("duplicate field", "it is given twice; give it once"),
    // A list where an object belongs is read as its members.
    ("invalid length", "give an object"),
    // In a query, every value is a text.
    ("invalid digit found", WHOLE),
    ("cannot parse integer", WHOLE),
    ("number too ", WHOLE),
    ("provided string was not `true` or `false`", "give true or false"),
    ("UUID parsing failed", UUID),
    (TOO_DEEP, "its lists and objects stand too deep in one another: 100 deep is taken"),
    (NO_WORD, "give one of its words, as a text"),
];

/// What serde says of a value, for people.
pub(super) fn in_words(said: &str) -> String {
    if let Some((_, words)) = SAID.iter().find(|(begins, _)| said.starts_with(begins)) {
        return (*words).to_owned();
    }
    let expected = |said: &str| said.rsplit_once("expected ").map(|(_, expected)| expected.to_owned());
    if said.starts_with("unknown variant")
        && let Some(words) = expected(said)
    {
        let words = words.trim_start_matches("one of ").replace('`', "").replace(" or ", ", ");
        return format!("give one of {words}");
    }
    if said.starts_with("invalid type") || said.starts_with("invalid value") {
        return match expected(said).as_deref() {
            Some("u8" | "u16" | "u32" | "u64" | "usize" | "i64") => WHOLE.to_owned(),
            Some("f64") => "give a number".to_owned(),
            Some("a formatted UUID string") => UUID.to_owned(),
            Some("a string") => "give a text".to_owned(),
            Some("a boolean") => "give true or false".to_owned(),
            Some("a sequence") => "give a list".to_owned(),
            Some(object) if object == "a map" || object.starts_with("struct ") => "give an object".to_owned(),
            Some(_) | None => "give a value of its kind, as /api/v1/openapi.json describes it".to_owned(),
        };
    }
    said.to_owned()
}

#[cfg(test)]
mod tests {
    use carepost_protocol::role::Role;
    use serde::Deserialize;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_value_that_is_not_taken_is_told_in_words_and_what_to_give() {
        #[derive(Debug, Deserialize)]
        #[allow(dead_code)]
        struct Asked {
            role: Role,
            beds: Option<u32>,
            uuid: Option<Uuid>,
            is_on: Option<bool>,
            more: Option<serde_json::Value>,
            pair: Option<(u8, u8)>,
        }
        let said = |body: &str| {
            let refusal = tolerant::<Asked>(body.as_bytes()).unwrap_err();
            let error = refusal.problem().errors.first().unwrap().clone();
            format!("{}: {}", error.field, error.detail)
        };
        assert_eq!(
            said(r#"{"role": "nurse"}"#),
            "role: give one of platform_admin, org_admin, facility_admin, rn, lpn, medical_assistant, caregiver, \
             family, auditor"
        );
        assert_eq!(said("{}"), "role: is missing: give it");
        for beds in ["1.5", "-1", "99999999999", "\"48\""] {
            let said = said(&format!(r#"{{"role": "rn", "beds": {beds}}}"#));
            assert_eq!(said, "beds: give a whole number, such as 48", "{beds}");
        }
        for uuid in ["\"abc\"", "1", "true"] {
            let said = said(&format!(r#"{{"role": "rn", "uuid": {uuid}}}"#));
            assert!(said.starts_with("uuid: give a UUID such as"), "{uuid}: {said}");
        }
        assert_eq!(said(r#"{"role": 1}"#), "role: give one of its words, as a text");
        let deep = format!(r#"{{"role": "rn", "more": {}{}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(
            said(&deep),
            "more: its lists and objects stand too deep in one another: 100 deep is taken"
        );
        assert_eq!(
            said(r#"{"role": "rn", "pair": 7}"#),
            "pair: give a value of its kind, as /api/v1/openapi.json describes it"
        );
        assert_eq!(said(r#"{"role": "rn", "is_on": "yes"}"#), "is_on: give true or false");
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Hired {
        username: String,
        role: Role,
        address: Option<Address>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Address {
        state: String,
    }

    #[test]
    fn a_body_is_an_object_and_what_is_unknown_is_named_beside_what_is_missing() {
        let said = |body: &str| {
            let refusal = strict::<Hired>(body.as_bytes()).unwrap_err();
            let problem = refusal.problem();
            let errors = problem.errors.iter().map(|it| format!("{}: {}", it.field, it.detail));
            (problem.status, errors.collect::<Vec<_>>(), problem.detail.clone())
        };
        for body in ["[1]", " [\"ann\", \"rn\"]", "7", "\"ann\"", "null"] {
            let (status, errors, detail) = said(body);
            assert_eq!((status, errors.len()), (422, 0), "{body}");
            assert!(detail.contains("has to be an object"), "{body}: {detail}");
        }
        for broken in ["", "{\"username\": \"ann\", ", "{\"username\": \"ann\", \"role\": \"rn\"} x"] {
            assert_eq!(said(broken).0, 400, "{broken}");
        }
        let (_, errors, detail) = said(
            r#"{"colour": "red", "address": {"town": "X", "state": "IL"}, "username": "ann", "size": 9}"#,
        );
        assert_eq!(errors[0], "role: is missing: give it");
        assert!(errors[1..].iter().all(|error| error.ends_with(NO_FIELD)), "{errors:?}");
        assert_eq!(detail, "Correct these fields: role, colour, address.town, size.");
        let many: String = (0..1_000).map(|n| format!("\"{n}\": 0, ")).collect();
        let (_, errors, _) = said(&format!(r#"{{{many}"role": "rn"}}"#));
        assert_eq!((errors.len(), &*errors[0]), (MOST_ERRORS, "username: is missing: give it"));
        for (address, words) in [
            ("[1]", "give a text"),
            ("[]", "give an object"),
            ("7", "give an object"),
            (r#"{"town": "X", "state": "IL"}"#, NO_FIELD),
        ] {
            let (_, errors, _) =
                said(&format!(r#"{{"username": "ann", "role": "rn", "address": {address}}}"#));
            assert!(errors.len() == 1 && errors[0].ends_with(words), "{address}: {errors:?}");
        }
    }
}
