//! A world: a real server, organizations, facilities, people, and kiosks on their walls.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::api::{Api, text};
use crate::children::{Running, free_port, run, until};
use crate::fixture::Resident;
use crate::kiosk::{Badges, Kiosk, PATIENCE};

/// What a server's configuration says where more is charted at once than in a facility.
pub const NOBODY_IS_SLOWED: &str = "[sync]\nentries_per_hour = 1000000000";

/// The password of everybody who has one.
pub const PASSWORD: &str = "a long enough passphrase";

/// The sync-server: running or not.
#[derive(Debug)]
pub struct Server {
    /// Its files: `server.toml`, `state/`, `server.log`.
    pub folder: PathBuf,
    /// Where people and programs connect.
    pub people: String,
    /// Where devices connect.
    pub devices: SocketAddr,
    /// The certificate to trust.
    pub ca: PathBuf,
    namespace: Option<String>,
    process: Option<Running>,
}

/// Where a server listens, and where it is reached.
#[derive(Debug, Clone)]
pub struct Site {
    /// Where it listens for people and programs.
    pub people: SocketAddr,
    /// The port on loopback where they reach it.
    pub people_port: u16,
    /// Where it listens for devices.
    pub devices: SocketAddr,
    /// The network namespace it runs in, unless this one.
    pub namespace: Option<String>,
}

/// An organization with its first administrator signed in.
#[derive(Debug, Clone)]
pub struct Organization {
    pub id: String,
    /// Its name in addresses.
    pub slug: String,
    /// The secret half of its recovery key.
    pub recovery_key: String,
    /// Its administrator.
    pub admin: Api,
}

#[derive(Debug, Clone)]
pub struct Facility {
    pub id: String,
    pub name: String,
    /// The organization that runs it.
    pub organization: Organization,
}

/// A member of staff with a badge and a PIN.
#[derive(Debug, Clone)]
pub struct Nurse {
    pub id: String,
    /// The name people see.
    pub name: String,
    pub pin: String,
    /// What her badge says.
    pub uid: String,
    /// The badge as an administrator knows it.
    pub badge: String,
}

impl Server {
    /// A fresh server, initialized and running.
    ///
    /// # Errors
    /// When a step of it fails.
    pub async fn start(folder: &Path) -> Result<Self> {
        Self::start_at(folder, free_port()?, free_port()?).await
    }

    /// The same on given ports: people's and devices'.
    ///
    /// # Errors
    /// When a step of it fails.
    pub async fn start_at(folder: &Path, people: u16, devices: u16) -> Result<Self> {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (people, devices, people_port) = (loopback(people), loopback(devices), people);
        Self::start_on(folder, Site { people, people_port, devices, namespace: None }).await
    }

    /// The same on a site.
    ///
    /// # Errors
    /// When a step of it fails.
    pub async fn start_on(folder: &Path, site: Site) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let config = folder.join("server.toml");
        std::fs::write(
            &config,
            format!(
                "state_dir = \"{}\"\npeople_address = \"{}\"\ndevices_address = \"{}\"\n\
                 base_domain = \"care.example.test\"\n",
                folder.join("state").display(),
                site.people,
                site.devices,
            ),
        )?;
        let password = folder.join("password");
        std::fs::write(&password, PASSWORD)?;
        let arguments = [
            "--config",
            &config.display().to_string(),
            "init",
            "--host",
            "localhost",
            "--host",
            "127.0.0.1",
            "--admin",
            "root",
            "--password-file",
            &password.display().to_string(),
        ];
        let (code, out, error) =
            run("carepost-server", &arguments, &crate::clock::environment(folder)).await?;
        if code != 0 {
            bail!("carepost-server init ended with {code}: {out}{error}");
        }
        let mut server = Self {
            folder: folder.to_owned(),
            people: format!("https://localhost:{}", site.people_port),
            devices: site.devices,
            ca: folder.join("state/tls.crt"),
            namespace: site.namespace,
            process: None,
        };
        server.resume().await?;
        Ok(server)
    }

    /// Starts it (again) on its files.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn resume(&mut self) -> Result<()> {
        let config = self.config().display().to_string();
        let log = self.folder.join("server.log");
        let log_of = "info,carepost_server::http::listener::write_timeout=debug".to_owned();
        let mut environment = vec![("CAREPOST_LOG", log_of), ("RUST_BACKTRACE", "1".to_owned())];
        environment.extend(crate::clock::environment(&self.folder));
        let (namespace, serve) = (self.namespace.as_deref(), ["--config", &config, "serve"]);
        let mut process = Running::start_within(namespace, "carepost-server", &serve, &environment, &log)?;
        let api = self.api()?;
        let started = std::time::Instant::now();
        while api.get("/api/v1/health").await.is_err() {
            process.expect_alive()?;
            if started.elapsed() > PATIENCE {
                bail!("the server does not come up; its log:\n{}", process.log());
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        self.process = Some(process);
        Ok(())
    }

    /// Starts it again with more lines in its configuration.
    ///
    /// # Errors
    /// When it does not stop, or not come up.
    pub async fn configure(&mut self, lines: &str) -> Result<()> {
        self.stop().await?;
        let text = std::fs::read_to_string(self.config())?;
        std::fs::write(self.config(), format!("{text}{lines}\n"))?;
        self.resume().await
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("server.toml")
    }

    /// kill -9.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn pull_the_plug(&mut self) -> Result<()> {
        self.process.take().context("the server does not run")?.kill().await
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// When it does not stop in good order.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.take().context("the server does not run")?.stop().await
    }

    /// Its process's id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Running::pid)
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }

    /// A client that is not signed in.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn api(&self) -> Result<Api> {
        Api::new(&self.people, &std::fs::read(&self.ca)?)
    }

    /// The platform's administrator.
    ///
    /// # Errors
    /// When the sign-in fails.
    pub async fn root(&self) -> Result<Api> {
        self.api()?.sign_in(None, "root", PASSWORD).await
    }

    /// A new organization.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn organization(&self, name: &str, slug: &str, kind: &str) -> Result<Organization> {
        let admin = json!({"username": "admin", "display_name": "Admin of All", "password": PASSWORD});
        let created = json!({"name": name, "slug": slug, "type": kind, "admin": admin});
        let made = self.root().await?.post("/api/v1/organizations", &created).await?;
        Ok(Organization {
            id: text(&made, "id")?,
            slug: slug.to_owned(),
            recovery_key: text(&made, "recovery_key")?,
            admin: self.api()?.sign_in(Some(slug), "admin", PASSWORD).await?,
        })
    }
}

impl Organization {
    /// A new facility, in Chicago.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn facility(&self, name: &str, kind: &str, beds: Option<u32>, census: u32) -> Result<Facility> {
        let body = json!({"organization_id": self.id, "name": name, "facility_type": kind,
            "licensed_beds": beds, "current_census": census, "phone": "+1 555 0100",
            "time_zone": "America/Chicago"});
        let made = self.admin.post("/api/v1/facilities", &body).await?;
        Ok(Facility { id: text(&made, "id")?, name: name.to_owned(), organization: self.clone() })
    }

    /// Publishes one of the preset workflows.
    ///
    /// # Errors
    /// When the preset cannot be read or the server refuses.
    pub async fn publish(&self, preset: &str) -> Result<Value> {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../sync-server/presets/{preset}.json"));
        let body: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
        self.admin.post("/api/v1/workflows", &body).await
    }
}

impl Facility {
    fn admin(&self) -> &Api {
        &self.organization.admin
    }

    /// Hires somebody: user, PIN, password and badge.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn nurse(&self, name: &str, role: &str, pin: &str, uid: &str) -> Result<Nurse> {
        let username = name.to_lowercase().replace([' ', '\''], ".");
        let body = json!({"facility_id": self.id, "username": username, "display_name": name, "role": role});
        let id = text(&self.admin().post("/api/v1/users", &body).await?, "id")?;
        self.admin().put(&format!("/api/v1/users/{id}/pin"), &json!({"pin": pin})).await?;
        self.admin().put(&format!("/api/v1/users/{id}/password"), &json!({"password": PASSWORD})).await?;
        let badge = self.admin().post("/api/v1/badges", &json!({"user_id": id, "uid": uid})).await?;
        Ok(Nurse {
            id,
            name: name.to_owned(),
            pin: pin.to_owned(),
            uid: uid.to_owned(),
            badge: text(&badge, "id")?,
        })
    }

    /// Admits residents, whomever else of the facility they may be.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn admit(&self, residents: &[Resident]) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for Resident { mrn, name, date_of_birth, room } in residents {
            let body = json!({"facility_id": self.id, "mrn": mrn, "name": name,
                "date_of_birth": date_of_birth, "room": room});
            ids.push(text(&self.admin().admit(&body).await?, "id")?);
        }
        Ok(ids)
    }

    /// Hangs a kiosk on a wall of this facility and enrolls it by its pairing code. Its name on the
    /// server is `name`.
    ///
    /// # Errors
    /// When a step of it fails.
    pub async fn hang_kiosk(
        &self,
        folder: &Path,
        name: &str,
        server: &Server,
        badges: Badges,
    ) -> Result<Kiosk> {
        self.hang_kiosk_with(folder, name, server, badges, None, "").await
    }

    /// The same, on a given port and with more lines in its configuration.
    ///
    /// # Errors
    /// When a step of it fails.
    pub async fn hang_kiosk_with(
        &self,
        folder: &Path,
        name: &str,
        server: &Server,
        badges: Badges,
        port: Option<u16>,
        extra: &str,
    ) -> Result<Kiosk> {
        let kiosk = Kiosk::hang(folder, name, server, port, badges, extra).await?;
        self.enroll(&kiosk).await?;
        Ok(kiosk)
    }

    /// Approves a device that waits: its code, then the number on its screen. Returns when the
    /// device's lock screen shows the facility: the device's id.
    ///
    /// # Errors
    /// When a step of it fails.
    pub async fn enroll(&self, kiosk: &Kiosk) -> Result<String> {
        let code = kiosk.pairing_code().await?;
        let body = json!({"code": code, "facility_id": self.id, "device_name": kiosk.name,
            "device_type": "RASPBERRY_PI"});
        let approved = self.admin().post("/api/v1/enrollments/approve", &body).await?;
        let enrollment = text(&approved, "enrollment_id")?;
        let number = kiosk.confirmation_number().await?;
        let path = format!("/api/v1/enrollments/{enrollment}/confirm");
        self.admin().post(&path, &json!({"number": number})).await?;
        kiosk.says(&[&self.name, "Tap your badge"]).await?;
        text(&self.device(&kiosk.name).await?, "id")
    }

    /// A device as the server's API shows it.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn device(&self, name: &str) -> Result<Value> {
        let list = self.admin().get(&format!("/api/v1/facilities/{}/devices", self.id)).await?;
        let items = items(&list)?;
        let found = items.iter().find(|device| device.get("device_name").is_some_and(|it| it == name));
        found.cloned().with_context(|| format!("no device {name:?} in {list}"))
    }

    /// All records of a resident as the server's API shows them, page by page.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn records(&self, resident: &str) -> Result<Vec<Value>> {
        let (mut records, mut next) = (Vec::new(), String::new());
        loop {
            let page = self.admin().get(&format!("/api/v1/patients/{resident}/records{next}")).await?;
            records.extend(items(&page)?);
            let Some(place) = page.get("next").and_then(Value::as_str) else { return Ok(records) };
            next = format!("?page={place}");
        }
    }

    /// Waits until the server shows so many records of a resident.
    ///
    /// # Errors
    /// With what it shows instead.
    pub async fn has_records(&self, resident: &str, count: usize) -> Result<Vec<Value>> {
        until(&format!("{count} records on the server"), PATIENCE, || async {
            let records = self.records(resident).await?;
            if records.len() == count {
                Ok(records)
            } else {
                bail!("there are {}: {records:?}", records.len())
            }
        })
        .await
    }
}

/// # Errors
/// When it is none.
pub fn items(list: &Value) -> Result<Vec<Value>> {
    let items = list.get("items").unwrap_or(list).as_array();
    Ok(items.with_context(|| format!("not a list: {list}"))?.clone())
}
