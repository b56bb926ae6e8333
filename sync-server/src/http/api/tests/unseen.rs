//! Edits that cross another's: what others wrote since the editor was shown the resident is not overwritten unseen.

use carepost_protocol::id::AuditId;
use http::Method;
use http::header::IF_MATCH;

use super::manners::Office;
use super::*;

#[tokio::test]
async fn an_edit_without_a_version_that_crosses_anothers_is_kept_in_a_review() {
    let mut office = Office::new().await;
    let fields = object(json!({"mrn": "MRN-1", "name": "Ada Example", "room": "10"}));
    let new = NewPatient { facility_id: office.facility, fields };
    let ada = office.server.registry.audited(event()).create_patient(new).await.unwrap().id;
    let path = format!("/api/v1/patients/{ada}");
    let reviews = format!("/api/v1/facilities/{}/reviews?open=true", office.facility);
    let other = office.server.token(office.server.user("olaf", Role::OrgAdmin, office.facility).await).await;
    let others = async |office: &Office, room: &str| {
        let body = json!({"room": room}).to_string();
        office.ask_as(Some(&other), &Method::GET, &path, &[], b"").await;
        office.ask_as(Some(&other), &Method::PUT, &path, &[], body.as_bytes()).await.status
    };
    // Another field, and what was seen: nothing to look at.
    assert_eq!(office.get(&path).await.body["room"], "10");
    assert_eq!(others(&office, "11").await, 200);
    assert_eq!(office.put(&path, &[], &json!({"name": "Ada Sample"})).await.status, 200);
    let seen = office.get(&path).await;
    assert_eq!(office.put(&path, &[], &json!({"room": "12"})).await.status, 200);
    assert_eq!(office.get(&reviews).await.body["items"], json!([]));
    // The same field, unseen: bound to the version it is not done, and else both values are kept.
    assert_eq!(others(&office, "13").await, 200);
    let told = office.put(&path, &[(IF_MATCH, seen.tag())], &json!({"room": "14"})).await;
    assert_eq!((told.status, &told.body["current"]["room"]), (412, &json!("13")), "{}", told.text);
    assert_eq!(office.get(&reviews).await.body["items"], json!([]));
    assert_eq!(others(&office, "15").await, 200);
    assert_eq!(office.ask(&Method::HEAD, &path, &[], b"").await.status, 200, "which shows nobody anything");
    // A server that is started anew knows who has seen what.
    office.server = office.server.started_anew(Config::default());
    assert_eq!(office.put(&path, &[], &json!({"room": "16"})).await.body["room"], "16");
    let found = office.get(&reviews).await.body;
    assert_eq!(
        (&found["items"][0]["kind"], found["items"].as_array().unwrap().len()),
        (&json!("conflict"), 1)
    );
    let values = found["items"][0]["fields"][0]["values"].as_array().unwrap();
    let values: Vec<_> = values.iter().map(|it| (it["value"].clone(), it["stands"] == true)).collect();
    assert!(values.contains(&(json!("15"), false)) && values.contains(&(json!("16"), true)), "{values:?}");
}

#[tokio::test]
async fn who_was_shown_a_resident_by_an_admission_or_a_list_overwrites_nothing_unseen_either() {
    let office = Office::new().await;
    let other = office.server.token(office.server.user("olaf", Role::OrgAdmin, office.facility).await).await;
    let reviews = format!("/api/v1/facilities/{}/reviews?open=true", office.facility);
    let open = async || office.get(&reviews).await.body["items"].as_array().unwrap().len();
    let admit = async |token: &str, name: &str| {
        let body = json!({"facility_id": office.facility, "name": name, "room": "10"}).to_string();
        let path = "/api/v1/patients";
        let told = office.ask_as(Some(token), &Method::POST, path, &[], body.as_bytes()).await;
        told.body["id"].as_str().unwrap().to_owned()
    };
    let moves = async |token: &str, id: &str, room: &str| {
        let (path, body) = (format!("/api/v1/patients/{id}"), json!({"room": room}).to_string());
        let told = office.ask_as(Some(token), &Method::PUT, &path, &[], body.as_bytes()).await;
        assert_eq!((told.status, &told.body["room"]), (200, &json!(room)), "{}", told.text);
    };
    let own = office.token.as_str();
    let ada = admit(own, "Ada Example").await;
    moves(&other, &ada, "11").await;
    moves(own, &ada, "12").await;
    assert_eq!(open().await, 1, "she was shown the one of before");
    // Of whom one admitted oneself, a list shows what others wrote since.
    let fay = admit(own, "Fay Underhill").await;
    moves(&other, &fay, "11").await;
    office.get("/api/v1/patients").await;
    moves(own, &fay, "12").await;
    assert_eq!(open().await, 1, "she was shown the one of before in a list");
    for (name, ids) in [("Bea Sample", false), ("Cleo Amberly", true)] {
        let id = admit(&other, name).await;
        let list = if ids { format!("?ids={id}") } else { String::new() };
        let list = format!("/api/v1/patients{list}");
        moves(&other, &id, "11").await;
        let before = open().await;
        office.get(&list).await;
        moves(&other, &id, "12").await;
        moves(own, &id, "13").await;
        assert_eq!(open().await, before + 1, "{list} showed another");
    }
    for name in ["Dora Longfellow", "Edna Quist"] {
        let (id, before) = (admit(&other, name).await, open().await);
        moves(&other, &id, "11").await;
        if name.starts_with('D') {
            office.get("/api/v1/patients").await;
        }
        moves(own, &id, "12").await;
        assert_eq!(open().await, before, "{name} was seen as such, or nowhere");
    }
    // Whoever edits from lists alone has seen what the last one showed, also since an edit.
    let id = admit(&other, "Hana Greene").await;
    for room in ["11", "13"] {
        let before = open().await;
        office.get("/api/v1/patients").await;
        moves(own, &id, room).await;
        assert_eq!(open().await, before, "room {room}");
        office.ask_as(Some(&other), &Method::GET, "/api/v1/patients", &[], b"").await;
        moves(&other, &id, "12").await;
        assert_eq!(open().await, before, "nor does the other");
    }
    // Whoever has done very much since is taken to have seen nothing, before all of it is read.
    office.get("/api/v1/patients").await;
    let id = admit(&other, "Gil Farrow").await;
    moves(&other, &id, "11").await;
    let looks = office.server.events(AuditEventType::PhiAccess).await;
    let own_look = looks.iter().find(|it| it.action == AuditAction::View && it.patient_id.is_none()).unwrap();
    let many = (0..1_000_u32).map(|n| {
        let mut random = [0; 10];
        random[..4].copy_from_slice(&n.to_be_bytes());
        AuditEvent { id: AuditId::new(clock::now(), random), details: Map::new(), ..own_look.clone() }
    });
    office.server.registry.audit(many.collect()).await.unwrap();
    let before = open().await;
    moves(own, &id, "12").await;
    assert_eq!(open().await, before + 1, "both values are kept");
}

#[tokio::test]
async fn who_signs_in_anew_overwrites_nothing_unseen_of_whom_she_was_shown_before() {
    let office = Office::new().await;
    let who = json!({"organization": "alpha", "username": "olga", "password": PASSWORD});
    let signs_in = async || {
        let told = office.post("/api/v1/sessions", &[], &who).await;
        told.body["token"].as_str().unwrap().to_owned()
    };
    let looks = async |token: &str, path: &str| {
        assert_eq!(office.ask_as(Some(token), &Method::GET, path, &[], b"").await.status, 200);
    };
    let moves = async |token: &str, path: &str, room: &str| {
        let body = json!({"room": room}).to_string();
        let told = office.ask_as(Some(token), &Method::PUT, path, &[], body.as_bytes()).await;
        assert_eq!((told.status, &told.body["room"]), (200, &json!(room)), "{}", told.text);
    };
    let reviews = format!("/api/v1/facilities/{}/reviews?open=true", office.facility);
    let open = async || office.get(&reviews).await.body["items"].as_array().unwrap().len();
    for (name, in_list) in [("Ada Example", false), ("Bea Sample", true)] {
        let new = NewPatient { facility_id: office.facility, fields: object(json!({"name": name})) };
        let id = office.server.registry.audited(event()).create_patient(new).await.unwrap().id;
        let (path, before) = (format!("/api/v1/patients/{id}"), open().await);
        looks(&signs_in().await, if in_list { "/api/v1/patients" } else { &path }).await;
        moves(&office.token, &path, "11").await;
        let anew = signs_in().await;
        moves(&anew, &path, "12").await;
        assert_eq!(open().await, before + 1, "{name}: she was shown the one of before");
        // What the session itself was shown goes first.
        looks(&office.token, &path).await;
        moves(&office.token, &path, "13").await;
        looks(&anew, &path).await;
        moves(&anew, &path, "14").await;
        assert_eq!(open().await, before + 1, "{name}: she was shown the last of it");
    }
}
