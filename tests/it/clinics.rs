//! Two clinics on one server, at work at the same time: each has its own people, patients and forms, and
//! nothing of the other's.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use carepost_tests::api::text;
use carepost_tests::fixture::{Resident, residents};
use carepost_tests::kiosk::{Badges, Kiosk};
use carepost_tests::world::{Facility, Nurse, Server, items};
use reqwest::Method;
use tempfile::TempDir;

/// Somebody asks at either clinic: what tells one from the other follows.
const BILL: &str = "about the bill";

/// A clinic, its assistant, and names and ids of its patients.
struct Clinic {
    facility: Facility,
    assistant: Nurse,
    patients: Vec<(String, String)>,
}

impl Clinic {
    async fn open(
        server: &Server,
        slug: &str,
        assistant: &str,
        forms: &[&str],
        people: &[Resident],
    ) -> Result<Self> {
        let organization = server.organization(&format!("The {slug} clinic"), slug, "CLINIC").await?;
        for form in forms {
            organization.publish(form).await?;
        }
        let facility = organization.facility("Front office", "CLINIC", None, 0).await?;
        // One card and one PIN: at each clinic it is somebody else's.
        let assistant = facility.nurse(assistant, "medical_assistant", "730164", "04A1B2C3D4E5F6").await?;
        let ids = facility.admit(people).await?;
        let patients = people.iter().map(|person| person.name.clone()).zip(ids).collect();
        Ok(Self { facility, assistant, patients })
    }

    /// A kiosk on one of its desks, where its assistant is signed in.
    async fn desk(&self, folder: &TempDir, server: &Server, name: &str) -> Result<Kiosk> {
        let home = folder.path().join(name);
        let kiosk = self.facility.hang_kiosk(&home, name, server, Badges::Scripted).await?;
        kiosk.status_is("loading", false).await?;
        kiosk.sign_in(&self.assistant).await?;
        Ok(kiosk)
    }

    fn patient(&self) -> Result<(&str, &str)> {
        let (name, id) = self.patients.first().context("nobody comes here")?;
        Ok((name, id))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clinics_on_one_server_work_at_once_and_see_nothing_of_each_other() -> Result<()> {
    crate::install_provider();
    let folder = TempDir::new()?;
    let server = Server::start(&folder.path().join("server")).await?;
    let people = residents("P", 6, false);
    let (here, there) = people.split_at(3);
    let both = ["prior_auth", "patient_questions"];
    let alpha = Clinic::open(&server, "demo-clinic-alpha", "Ingrid Solberg", &both, here).await?;
    let beta = Clinic::open(&server, "demo-clinic-beta", "Lucia Ferrante", &both[1..], there).await?;
    let ((ours, our_id), (theirs, their_id)) = (alpha.patient()?, beta.patient()?);
    let (prior, asked, other) = tokio::try_join!(
        alpha.desk(&folder, &server, "prior"),
        alpha.desk(&folder, &server, "asked"),
        beta.desk(&folder, &server, "other"),
    )?;

    // Each has the forms of its own organization.
    for (name, kiosk, has) in [(ours, &prior, true), (ours, &asked, true), (theirs, &other, false)] {
        let page = kiosk.get(&kiosk.path_of(name).await?).await?;
        assert!(page.html.contains("/chart/patient_questions"), "{}", page.words());
        assert_eq!(page.html.contains("/chart/prior_auth"), has, "{}", page.words());
    }
    let form = prior.get(&format!("{}/chart/prior_auth", prior.path_of(ours).await?)).await?;
    let published = alpha.facility.organization.admin.get("/api/v1/workflows/prior_auth").await?;
    let fields = published["fields"].as_array().context("no fields")?;
    assert_eq!(fields.len(), 13, "{published}");
    for field in fields {
        let (key, label) = (format!("name=\"{}\"", text(field, "key")?), text(field, "label")?);
        assert!(form.html.contains(&key) && form.words().contains(&label), "{label}: {}", form.html);
    }
    for words in ["Pending", "Approved", "Denied", "Suggested: Pending"] {
        assert!(form.words().contains(words), "no {words:?} in {}", form.words());
    }

    // All three at once.
    let answers = [
        ("patient_name", "Paula Example"),
        ("date_of_birth", "03/15/1985"),
        ("insurance_member_id", "M-1"),
        ("insurance_company_name", "Example Mutual"),
        ("insurance_phone", "+15550100"),
        ("facility_name", "Front office"),
        ("provider_name", "Dr. Example"),
        ("provider_npi", "1234567893"),
        ("cpt_code", "99213"),
        ("appointment_time", "12/01/2024 02:30 PM"),
        (
            "_confirmed",
            "appointment_time: Appointment Time 12/01/2024 14:30 is in the past: check the day and the time",
        ),
        ("prior_auth_status", "Approved"),
    ];
    let (at_alpha, at_beta) = (format!("Alpha asks {BILL}"), format!("Beta asks {BILL}"));
    let question =
        |words| [("asked_by", "Family"), ("topic", "Billing"), ("question", words), ("resolved", "no")];
    let (of_alpha, of_beta) = (question(at_alpha.as_str()), question(at_beta.as_str()));
    tokio::try_join!(
        prior.chart(ours, "prior_auth", &answers),
        asked.chart(ours, "patient_questions", &of_alpha),
        other.chart(theirs, "patient_questions", &of_beta),
    )?;
    let records = alpha.facility.has_records(our_id, 2).await?;
    let record = records.iter().find(|it| it["workflow"] == "prior_auth").context("no authorization")?;
    assert_eq!(record["values"]["appointment_time"], "2024-12-01T14:30-06:00", "{record}");
    let records = beta.facility.has_records(their_id, 1).await?;
    assert_eq!(records[0]["values"]["question"], at_beta.as_str());

    // Neither has anything of the other's: at the desk, nor at the office.
    for (own, kiosk, foreign) in [(&alpha, &asked, &beta), (&beta, &other, &alpha)] {
        let (name, id) = foreign.patient()?;
        let list = kiosk.get("/").await?;
        assert!(list.html.contains(own.patient()?.0) && !list.html.contains(name), "{}", list.words());
        assert!(!list.html.contains(&foreign.assistant.name), "{}", list.words());
        for path in [format!("/residents/{id}"), format!("/residents/{id}/chart/patient_questions")] {
            let page = kiosk.get(&path).await?;
            assert!(!page.html.contains(name) && !page.html.contains(BILL), "{}", page.words());
        }
        let admin = &own.facility.organization.admin;
        for path in [
            format!("/api/v1/patients/{id}"),
            format!("/api/v1/patients/{id}/records"),
            format!("/api/v1/facilities/{}", foreign.facility.id),
            format!("/api/v1/users/{}", foreign.assistant.id),
        ] {
            let answer = admin.call(Method::GET, &path, None).await?;
            assert_eq!(answer.status, 404, "{path}: {}", answer.text);
        }
        let listed = items(&admin.get("/api/v1/patients").await?)?;
        let listed: BTreeSet<&str> = listed.iter().filter_map(|it| it["id"].as_str()).collect();
        let admitted: BTreeSet<&str> = own.patients.iter().map(|(_, id)| id.as_str()).collect();
        assert_eq!(listed, admitted);
    }
    let missing = beta.facility.organization.admin.call(Method::GET, "/api/v1/workflows/prior_auth", None);
    assert_eq!(missing.await?.status, 404, "a form of the other's");
    Ok(())
}
