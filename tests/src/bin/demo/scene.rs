//! The demo's world: a server, two clinics and an assisted living facility, their people, four kiosks.

use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use carepost_reader::pcscd::PcscdError;
use carepost_tests::fixture::{Resident, residents};
use carepost_tests::kiosk::{Badges, Kiosk};
use carepost_tests::link::Link;
use carepost_tests::world::{Facility, Nurse, Organization, Server};

/// Where people and programs connect to the demo's server.
pub(crate) const PEOPLE_PORT: u16 = 8443;
/// Where devices do.
pub(crate) const DEVICES_PORT: u16 = 8444;

/// The kiosks: name, port, what the administrator calls it, whose it is.
const KIOSKS: [(&str, u16, &str, Place); 4] = [
    ("alpha", 3000, "Front desk", Place::Alpha),
    ("beta", 3001, "Front desk", Place::Beta),
    ("hall", 3002, "Hall kiosk", Place::Riverside),
    ("med", 3003, "Med room", Place::Riverside),
];

/// A facility of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// DemoClinicAlpha.
    Alpha,
    /// DemoClinicBeta.
    Beta,
    /// Golden Years ALF - Riverside.
    Riverside,
}

/// A member of staff, with what the demo's guide says of her.
#[derive(Debug, Clone)]
pub(crate) struct Staff {
    /// The person.
    pub(crate) nurse: Nurse,
    pub(crate) role: &'static str,
}

/// A facility with its people.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) place: Place,
    /// The facility, with its organization and administrator.
    pub(crate) facility: Facility,
    /// Who works there.
    pub(crate) staff: Vec<Staff>,
    /// Who is cared for there, with their ids.
    pub(crate) residents: Vec<(String, Resident)>,
}

/// A kiosk of the demo.
#[derive(Debug)]
pub(crate) struct Post {
    /// Its name on the demo's command line.
    pub(crate) key: &'static str,
    /// Where it hangs.
    pub(crate) place: Place,
    pub(crate) kiosk: Kiosk,
}

#[derive(Debug)]
pub(crate) struct Scene {
    /// The kiosks; before the server, so that they stop first.
    pub(crate) posts: Vec<Post>,
    pub(crate) server: Server,
    /// The facilities.
    pub(crate) sites: Vec<Site>,
    /// Why badges are not tapped through pcscd, if so.
    pub(crate) no_pcscd: Option<String>,
}

/// Fails with the ports that somebody else listens on.
///
/// # Errors
/// When one of the demo's ports is taken.
pub(crate) fn expect_free_ports() -> Result<()> {
    let ports = KIOSKS.iter().map(|(_, port, _, _)| *port).chain([PEOPLE_PORT, DEVICES_PORT]);
    let taken: Vec<String> = ports
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_err())
        .map(|port| port.to_string())
        .collect();
    if !taken.is_empty() {
        bail!(
            "taken on 127.0.0.1: port {}. Stop what listens there (another demo?) and start again",
            taken.join(", ")
        );
    }
    Ok(())
}

/// Empties the demo's folder.
///
/// # Errors
/// When it cannot be emptied.
pub(crate) fn wipe(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot empty {}", folder.display())),
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

impl Scene {
    /// Everything, the kiosks hanging on their walls but not yet enrolled.
    ///
    /// # Errors
    /// When a part of it fails.
    pub(crate) async fn build(folder: &Path) -> Result<Self> {
        let server = Server::start_at(&folder.join("server"), PEOPLE_PORT, DEVICES_PORT).await?;
        let sites = sites(&server).await?;
        let mut badges = Badges::Pcsc;
        let mut no_pcscd = None;
        let mut posts = Vec::new();
        for (key, port, name, place) in KIOSKS {
            let home = folder.join(key);
            let kiosk = match Kiosk::hang(&home, name, &server, Some(port), badges, "").await {
                Err(error) if badges == Badges::Pcsc && error.is::<PcscdError>() => {
                    no_pcscd = Some(format!("{error:#}"));
                    badges = Badges::Scripted;
                    Kiosk::hang(&home, name, &server, Some(port), badges, "").await?
                }
                other => other?,
            };
            posts.push(Post { key, place, kiosk });
        }
        Ok(Self { posts, server, sites, no_pcscd })
    }

    /// Stops everything in good order: the kiosks, then the server.
    ///
    /// # Errors
    /// When one does not stop in good order.
    pub(crate) async fn stop(mut self) -> Result<()> {
        for post in &mut self.posts {
            post.kiosk.stop().await?;
        }
        self.server.stop().await
    }

    /// A facility.
    ///
    /// # Errors
    /// Never: all three are built.
    pub(crate) fn site(&self, place: Place) -> Result<&Site> {
        self.sites.iter().find(|site| site.place == place).context("no such place")
    }

    /// A kiosk, by its name on the command line.
    ///
    /// # Errors
    /// When there is none of that name.
    pub(crate) fn post(&self, key: &str) -> Result<&Post> {
        self.posts.iter().find(|post| post.key == key).context("no such kiosk")
    }

    /// The network cables, by the kiosks' names.
    pub(crate) fn links(&self) -> Vec<(&'static str, Link)> {
        self.posts.iter().map(|post| (post.key, post.kiosk.link.clone())).collect()
    }
}

/// The organizations, with their facilities, people and forms.
async fn sites(server: &Server) -> Result<Vec<Site>> {
    Ok(vec![alpha(server).await?, beta(server).await?, riverside(server).await?])
}

async fn alpha(server: &Server) -> Result<Site> {
    let organization = server.organization("DemoClinicAlpha", "demo-clinic-alpha", "CLINIC").await?;
    organization.publish("prior_auth").await?;
    organization.publish("patient_questions").await?;
    let staff = [
        ("Ingrid Solberg", "medical_assistant", "730164", "04A10000000001"),
        ("Tomas Varga", "facility_admin", "558203", "04A10000000002"),
    ];
    site(Place::Alpha, &organization, ("DemoClinicAlpha", "CLINIC", None, 0), &staff, 44..52).await
}

async fn beta(server: &Server) -> Result<Site> {
    let organization = server.organization("DemoClinicBeta", "demo-clinic-beta", "CLINIC").await?;
    organization.publish("patient_questions").await?;
    let staff = [
        ("Lucia Ferrante", "medical_assistant", "941027", "04B10000000001"),
        ("Kwame Boateng", "rn", "206718", "04B10000000002"),
    ];
    site(Place::Beta, &organization, ("DemoClinicBeta", "CLINIC", None, 0), &staff, 52..60).await
}

async fn riverside(server: &Server) -> Result<Site> {
    let organization = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
    organization.publish("vitals").await?;
    organization.publish("adl").await?;
    let staff = [
        ("Nora Quist", "rn", "482915", "04C10000000001"),
        ("Omar Reyes", "caregiver", "371640", "04C10000000002"),
        ("Petra Hahn", "lpn", "815093", "04C10000000003"),
        ("Ruth Adeyemi", "facility_admin", "640281", "04C10000000004"),
    ];
    let facility = ("Golden Years ALF - Riverside", "ALF", Some(48), 44);
    site(Place::Riverside, &organization, facility, &staff, 0..44).await
}

type Hired = (&'static str, &'static str, &'static str, &'static str);

async fn site(
    place: Place,
    organization: &Organization,
    (name, kind, beds, census): (&str, &str, Option<u32>, u32),
    hired: &[Hired],
    people: std::ops::Range<usize>,
) -> Result<Site> {
    let facility = organization.facility(name, kind, beds, census).await?;
    let mut staff = Vec::new();
    for (name, role, pin, uid) in hired {
        staff.push(Staff { nurse: facility.nurse(name, role, pin, uid).await?, role });
    }
    // Of one long list, so that no two facilities care for people of the same name.
    let everybody = residents("D", 60, beds.is_some());
    let people: Vec<Resident> = everybody.into_iter().skip(people.start).take(people.len()).collect();
    let ids = facility.admit(&people).await?;
    Ok(Site { place, facility, staff, residents: ids.into_iter().zip(people).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use carepost_tests::world::{PASSWORD, items};

    #[tokio::test(flavor = "multi_thread")]
    async fn the_demo_makes_its_organizations_with_their_forms_staff_and_patients() -> Result<()> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::TempDir::new()?;
        let server = Server::start(&folder.path().join("server")).await?;
        sites(&server).await?;
        for (slug, forms, staff, patients) in
            [("demo-clinic-alpha", 2, 2, 8), ("demo-clinic-beta", 1, 2, 8), ("golden-years", 2, 4, 44)]
        {
            let admin = server.api()?.sign_in(Some(slug), "admin", PASSWORD).await?;
            let counted = async |path: &str| -> Result<usize> {
                Ok(items(&admin.get(&format!("/api/v1/{path}?limit=100")).await?)?.len())
            };
            assert_eq!(counted("workflows").await?, forms, "{slug}");
            // And the administrator.
            assert_eq!(counted("users").await?, staff + 1, "{slug}");
            assert_eq!(counted("patients").await?, patients, "{slug}");
        }
        Ok(())
    }
}
