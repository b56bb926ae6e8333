//! Ways of naming another tenant that are no ids in a path: headers, host names, slugs, certificates and
//! what stands in a pushed change.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use carepost_protocol::change::Lane;
use carepost_protocol::role::Role;
use carepost_tests::api::Api;
use carepost_tests::device::{identity, wire};
use carepost_tests::world::items;
use rcgen::{CertificateParams, KeyPair};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::tenants::{Place, Tenants, made_up};
use super::told;

/// An RSA key and its self-signed certificate, of nobody.
const RSA: &str = include_str!("rsa.pem");

#[tokio::test(flavor = "multi_thread")]
async fn what_names_another_tenant_is_refused_and_written_down() -> Result<()> {
    let mut tenants = Tenants::new().await?;
    let attempts = disagreeing_names(&tenants).await?;
    keys_that_are_none(&tenants).await?;
    pushes_that_reach_over(&tenants).await?;
    pulls_stay_apart(&tenants).await?;
    // What was counted is told when the server stops.
    tenants.server.stop().await?;
    tenants.server.resume().await?;
    written_down(&tenants, &attempts).await
}

/// Header, subdomain and path that disagree with who asks: refused alike. What was attempted.
async fn disagreeing_names(tenants: &Tenants) -> Result<Vec<String>> {
    let (own, other) = (&tenants.places[0], &tenants.places[2]);
    let person = tenants.person(Role::Rn, 0);
    let port = tenants.server.people.rsplit(':').next().unwrap_or_default();
    let host = |slug: &str| format!("{slug}.care.example.test:{port}");
    let (own_id, other_id) = (own.ids["organization_id"].as_str(), other.ids["organization_id"].as_str());
    let missing = made_up("organization_id");
    let (own_host, other_host, no_host) = (host("sunrise"), host("oakwood"), host("nowhere"));
    let facilities = "/api/v1/facilities";
    let ask = |path: String, headers: Vec<(&'static str, String)>| async move {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        person.api.send(Method::GET, &path, &headers, Vec::new()).await
    };
    let header = |id: &str| vec![("x-organization-id", id.to_owned())];
    let named = |host: &str| vec![("host", host.to_owned())];
    let under = |slug: &str| format!("/org/{slug}{facilities}");
    for (path, headers) in [
        (facilities.to_owned(), header(own_id)),
        (facilities.to_owned(), named(&own_host)),
        (under("sunrise"), header(own_id)),
    ] {
        let answer = ask(path, headers).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.text.contains(&own.ids["facility_id"]) && !answer.text.contains("Cedar"));
    }
    let refused = ask(facilities.to_owned(), header(&missing)).await?;
    assert_eq!(refused.status, 404, "{}", refused.text);
    let mut attempts = vec![missing.clone()];
    for (path, headers, attempted) in [
        (facilities.to_owned(), header(other_id), other_id),
        (facilities.to_owned(), named(&other_host), other_id),
        (under("oakwood"), Vec::new(), other_id),
        (under("sunrise"), header(other_id), "sunrise"),
        (under("oakwood"), header(own_id), "oakwood"),
        (facilities.to_owned(), [header(own_id), header(other_id)].concat(), other_id),
        (facilities.to_owned(), named(&no_host), "nowhere"),
        (under("nowhere"), Vec::new(), "nowhere"),
        (facilities.to_owned(), header("' OR 1=1 --"), "' OR 1=1 --"),
    ] {
        let answer = ask(path.clone(), headers.clone()).await?;
        assert_eq!(told(&answer), told(&refused), "{path} {headers:?}");
        attempts.push(attempted.to_owned());
    }
    Ok(attempts)
}

/// Nobody else's organization is told; and its own administrators see the first attempt at once, and of those
/// that followed how many they were and what was tried.
async fn written_down(tenants: &Tenants, attempts: &[String]) -> Result<()> {
    let (own, other) = (&tenants.places[0], &tenants.places[2]);
    let own_id = own.ids["organization_id"].as_str();
    let admin = &own.facility.organization.admin;
    let user = admin.get(&format!("/api/v1/users?facility_id={}", own.ids["facility_id"])).await?;
    let user = items(&user)?.into_iter().find(|user| user["username"] == "rn.0").context("rn.0 is gone")?;
    let id = user["id"].as_str().context("a user has an id")?;
    let events = items(&admin.get(&format!("/api/v1/audit-events?user_id={id}")).await?)?;
    let written: Vec<_> = events.iter().filter(|it| it["event_type"] == "cross_tenant_attempt").collect();
    let [counted, first] = written[..] else { panic!("{written:?}") };
    assert_eq!(counted["details"]["count"], attempts.len() - 1, "{counted}");
    assert_eq!(first["details"]["attemptedOrg"], attempts[0].as_str());
    assert_eq!(first["details"]["userId"], id);
    assert_eq!(first["details"]["currentOrg"], own_id);
    let also: BTreeSet<_> = attempts[1..].iter().map(String::as_str).collect();
    let told = counted["details"]["also"].as_array().context("what else was tried")?;
    assert_eq!(told.iter().filter_map(Value::as_str).collect::<BTreeSet<_>>(), also);
    for event in [counted, first] {
        assert_eq!((&event["success"], &event["organization_id"]), (&json!(false), &json!(own_id)));
        assert_eq!(event["user_id"], id);
    }
    let theirs = other.facility.organization.admin.get("/api/v1/audit-events?limit=1000").await?;
    assert!(!theirs.to_string().contains(id), "the other organization's log names a stranger");
    Ok(())
}

/// No certificate, one that is no certificate, one whose key is not P-256: none gets a word.
async fn keys_that_are_none(tenants: &Tenants) -> Result<()> {
    let server = &tenants.server;
    let admin = &tenants.places[0].facility.organization.admin;
    let pull = "/api/v1/sync/pull";
    for api in [wire(server, None)?, wire(server, None)?.with_token_of(admin)] {
        let asked = api.call(Method::GET, pull, None).await;
        assert!(asked.is_err(), "no certificate was asked for: {asked:?}");
    }
    let curve = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?;
    let edwards = KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
    for key in [&curve, &edwards] {
        let certificate = CertificateParams::default().self_signed(key)?;
        let api = wire(server, Some(&identity(certificate.der(), &key.serialize_der())))?;
        assert!(api.call(Method::GET, pull, None).await.is_err(), "a key that is not P-256 gets in");
    }
    let api = wire(server, Some(RSA))?;
    assert!(api.call(Method::GET, pull, None).await.is_err(), "an RSA key gets in");
    // A certificate of somebody else's key: the handshake cannot be signed with it.
    let device = &tenants.places[0].device;
    let own = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let stolen = wire(server, Some(&identity(device.key.certificate_der(), &own.serialize_der())));
    let refused = match stolen {
        Ok(api) => api.call(Method::GET, pull, None).await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "a stolen certificate without its key gets in");
    let garbage = match wire(server, Some(&identity(b"not a certificate", &own.serialize_der()))) {
        Ok(api) => api.call(Method::GET, pull, None).await.is_err(),
        Err(_) => true,
    };
    assert!(garbage, "garbage gets in");
    // On the people's listener a device's certificate is nobody's session.
    let pem = identity(device.key.certificate_der(), device.key.pkcs8());
    let api = Api::with_certificate(&server.people, &std::fs::read(&server.ca)?, Some(&pem))?;
    assert_eq!(api.call(Method::GET, "/api/v1/patients", None).await?.status, 401);
    Ok(())
}

/// Another facility's assignment, patient or nurse in a pushed change: each rejected by name, none stored.
async fn pushes_that_reach_over(tenants: &Tenants) -> Result<()> {
    for other in [1, 2] {
        let (own, other) = (&tenants.places[0], &tenants.places[other]);
        let good = json!({"note": "seen"});
        let change = |patient: &str, actor: &str, assignment: &str| -> Result<String> {
            let nurse = own.device.nurse(actor.parse()?);
            let fields = good.as_object().cloned().unwrap_or_else(Map::new);
            let mut change = own.device.vitals(&nurse, patient.parse()?, fields);
            change.workflow = Some(own.ids["workflow_key"].clone());
            change.assignment = assignment.parse()?;
            Ok(serde_json::to_string(&change)?)
        };
        let assignment = |place: &Place| place.device.grant.assignment_id.to_string();
        let (patient, actor) = (&own.ids["patient_id"], &own.ids["user_id"]);
        let (their_patient, their_actor) = (&other.ids["patient_id"], &other.ids["user_id"]);
        let mut chain = own.device.chain(Lane::Care);
        let batch = chain.batch(&[
            change(patient, actor, &assignment(other))?,
            change(their_patient, actor, &assignment(own))?,
            change(&made_up("patient_id"), actor, &assignment(own))?,
            change(patient, their_actor, &assignment(own))?,
            change(patient, &made_up("user_id"), &assignment(own))?,
            change(patient, actor, &assignment(own))?,
        ])?;
        let wire = own.device.wire(&tenants.server)?;
        let json = [("content-type", "application/json")];
        let answer = wire.send(Method::POST, "/api/v1/sync/push", &json, batch.into_bytes()).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let verdicts = items(&answer.body["verdicts"])?;
        let codes: Vec<_> = verdicts.iter().map(|run| &run["reason"]["code"]).collect();
        let expected =
            ["wrong_assignment", "unknown_target", "unknown_target", "not_authorized", "not_authorized"];
        assert_eq!(codes[..5], expected.map(Value::from).each_ref()[..], "{}", answer.text);
        assert_eq!(verdicts[1]["reason"], verdicts[2]["reason"], "a foreign patient reads otherwise");
        assert_eq!(verdicts[3]["reason"], verdicts[4]["reason"], "a foreign nurse reads otherwise");
        assert_eq!(verdicts[5]["verdict"], "applied", "what is good behind it is not held up");
        assert_eq!(other.facility.records(their_patient).await?.len(), 1, "what its own device charted");
    }
    Ok(())
}

/// Each device's copy holds its own facility's documents and no id of any other's.
async fn pulls_stay_apart(tenants: &Tenants) -> Result<()> {
    let mut pulled: Vec<(String, BTreeSet<String>)> = Vec::new();
    for place in &tenants.places {
        let wire = place.device.wire(&tenants.server)?;
        let v1 = wire.send(Method::GET, "/api/v1/sync/pull", &[], Vec::new()).await?;
        let alias = wire.send(Method::GET, "/api/sync/pull", &[], Vec::new()).await?;
        assert_eq!((v1.status, alias.status), (200, 200));
        assert_eq!(documents(&v1.text)?, documents(&alias.text)?, "/api serves what /api/v1 serves");
        pulled.push((v1.text.clone(), documents(&v1.text)?));
    }
    for (at, (text, ids)) in pulled.iter().enumerate() {
        for name in ["facility_id", "user_id", "badge_id", "patient_id"] {
            assert!(ids.contains(&tenants.places[at].ids[name]), "place {at} lacks its own {name}");
        }
        for (other, (_, theirs)) in pulled.iter().enumerate().filter(|(other, _)| *other != at) {
            let shared: BTreeSet<_> = ids.intersection(theirs).collect();
            let allowed = usize::from(other / 2 == at / 2);
            assert_eq!(shared.len(), allowed, "places {at} and {other} share {shared:?}: at most a workflow");
            let own = |id: &&String| !ids.contains(*id);
            assert_eq!(theirs.iter().filter(own).find(|id| text.contains(*id)), None);
        }
    }
    Ok(())
}

fn documents(lines: &str) -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line)?;
        if let Some(id) = line["id"].as_str() {
            ids.insert(id.to_owned());
        }
    }
    Ok(ids)
}
