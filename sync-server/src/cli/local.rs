//! Local commands: what happens on the server's own machine, without the API.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use carepost_host::owner::become_owner;
use carepost_host::{log, systemd};
use clap::Args;
use rustls_pki_types::ServerName;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::ownership::OwnershipGuard;
use super::{Output, people, show};
use crate::clock;
use crate::config::{Config, DEFAULT_PATH, TEMPLATE};
use crate::http::listener;
use crate::http::routes::DESCRIPTION;
use crate::setup::{self, Made};
use crate::store::{self, Ambient, DatabaseKey, StoreError};
use crate::tls::names_of;
use crate::{Listeners, ServeError, serve as run_server};

/// What a server needs.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carepost-server init --host care.example.test --admin root")]
pub(super) struct Init {
    /// A name or address under which the server is reached; several may be given.
    #[arg(long = "host", value_name = "NAME", required = true, value_parser = host)]
    hosts: Vec<String>,
    /// The first platform administrator's username.
    #[arg(long, value_name = "USERNAME")]
    admin: String,
    /// The name of the first administrator that people see; the username unless given.
    #[arg(long, value_name = "NAME")]
    admin_name: Option<String>,
    #[command(flatten)]
    password: people::NewPasswordFrom,
}

/// A name or an address as a certificate bears it, and nothing else: what it bears wrongly, nobody reaches.
fn host(text: &str) -> Result<String, String> {
    // As zone files write a name; no client looks for one so.
    let text = text.trim_end_matches('.');
    match ServerName::try_from(text.strip_prefix("*.").unwrap_or(text)) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => {
            Err("this is no name and no address: write care.example.test or 192.0.2.7, without https://, \
                       port or path, and --host again for each further one"
                .to_owned())
        }
    }
}

/// Makes what is missing, and says what it made.
pub(super) async fn init(path: Option<&Path>, init: Init) -> anyhow::Result<Output> {
    let file = path.unwrap_or_else(|| Path::new(DEFAULT_PATH));
    if !file.exists() {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        std::fs::write(file, TEMPLATE).with_context(|| format!("cannot write {}", file.display()))?;
        show::say(&format!("wrote the configuration, every key explained: {}", file.display()));
    }
    let config = Config::load(path)?;
    let password = init.password.read("Password of the first administrator: ")?;
    let _owned = OwnershipGuard::made(&config.state_dir)
        .with_context(|| format!("cannot make {}", config.state_dir.display()))?;
    let Made { database_key, certificate, admins } =
        setup::init(&config, &init.hosts, (&init.admin, init.admin_name.as_deref()), &password).await?;
    match database_key {
        Some(key) => {
            show::say(&format!("made the database key: {}", key.display()));
            show::say("  KEEP A COPY of it elsewhere: without it the database cannot be read.");
        }
        None => show::say("the database key is there already: not changed"),
    }
    match certificate {
        Some(made) => {
            show::say(&format!("made a certificate for {}: {}", init.hosts.join(", "), made.display()));
            show::say("  devices trust it by server.ca_file, these commands by --ca.");
        }
        None => say_certificate(&config.certificate_path(), &init.hosts)?,
    }
    if admins.is_empty() {
        show::say(&format!("created the platform administrator {}", init.admin));
    } else {
        let admins = admins.join(", ");
        show::say(&format!(
            "a platform administrator is there already, {admins}: none created, no password set"
        ));
    }
    Ok(Output::Words("ready: run `carepost-server serve`".to_owned()))
}

/// Says what the certificate that is there is for, and how one is made for the names that it lacks.
fn say_certificate(path: &Path, hosts: &[String]) -> anyhow::Result<()> {
    let (names, path) = (names_of(path)?, path.display());
    show::say(&format!("a certificate is there already, for {}: not changed: {path}", names.join(", ")));
    let lacks: Vec<&str> = hosts
        .iter()
        .filter(|host| !names.iter().any(|name| is_for(name, host)))
        .map(String::as_str)
        .collect();
    if !lacks.is_empty() {
        show::say_error(&format!(
            "It is not for {}. For one that is, move it away and run this again with a --host for every name; then give \
             it to whatever trusts the one that is there (server.ca_file of devices, --ca).",
            lacks.join(", ")
        ));
    }
    Ok(())
}

/// Whether a certificate's name is that of a host, or the wildcard above it.
fn is_for(name: &str, host: &str) -> bool {
    let host = host.parse().map_or_else(|_| host.to_owned(), |address: IpAddr| address.to_string());
    let above = |name: &str| Some(name.split_once('.')?.1.to_lowercase());
    name.eq_ignore_ascii_case(&host) || name.starts_with("*.") && above(name) == above(&host)
}

/// Runs the server until SIGTERM or SIGINT.
pub(super) async fn serve(path: Option<&Path>) -> anyhow::Result<Output> {
    log::start();
    let config = Config::load(path)?;
    if let Some(fault) = become_owner(&config.state_dir) {
        let folder = config.state_dir.display();
        return Err(fault).with_context(|| format!("cannot go on as the owner of {folder}"));
    }
    let bind = |address| listener::bind(address).map_err(|fault| ServeError::NotListening { address, fault });
    let listeners =
        Listeners { people: bind(config.people_address)?, devices: bind(config.devices_address)? };
    let (people, devices) = (listeners.people.local_addr()?, listeners.devices.local_addr()?);
    let ready = || {
        tracing::info!(%people, %devices, "the server is up");
        systemd::ready();
    };
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        systemd::stopping();
        tracing::info!("stopping");
    };
    run_server(listeners, config, ready, stop).await?;
    Ok(Output::Nothing)
}

/// Ends the locks of a user.
pub(super) async fn unlock(
    config: Option<&Path>,
    organization: Option<String>,
    user: String,
) -> anyhow::Result<Output> {
    let config = Config::load(config)?;
    let _owned = OwnershipGuard::of(&config.state_dir);
    let (path, key) = (config.database_path(), DatabaseKey::new(*config.database_key()?));
    let (name, of, by) = (user.clone(), organization.clone(), os_user()?);
    let unlocking =
        move || store::unlock(&path, &key, &Ambient::new(clock::now, clock::fill), of.as_deref(), &name, by);
    let locks = match (tokio::task::spawn_blocking(unlocking).await?, organization) {
        (Err(StoreError::NotFound("organization")), Some(of)) => {
            bail!("no organization has the slug or id {of:?}: `carepost-server org list` shows what there is")
        }
        (Err(StoreError::NotFound(_)), Some(of)) => {
            bail!(
                "no user of {of} is called {user:?}: give the username, as `carepost-server user list` shows it"
            )
        }
        (Err(StoreError::NotFound(_)), None) => {
            bail!(
                "no platform administrator is called {user:?}; for a user of an organization give --organization SLUG"
            )
        }
        (locks, _) => locks?,
    };
    Ok(Output::Words(match locks {
        0 => format!("{user} was not locked; counted failures are forgotten"),
        _ => format!("{user} may sign in again at once"),
    }))
}

/// Who of this machine runs the command, for the audit log.
fn os_user() -> anyhow::Result<serde_json::Value> {
    let uid = std::fs::metadata("/proc/self").context("cannot tell who runs this: is /proc mounted?")?.uid();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    // What sudo says can be made up, but only by who may run this anyway.
    Ok(json!({"locally": true, "uid": uid, "os_user": name, "sudo_user": std::env::var("SUDO_USER").ok()}))
}

/// Prints the OpenAPI document, as the server answers it.
pub(super) fn openapi() -> anyhow::Result<Output> {
    Ok(Output::Words(serde_json::to_string_pretty(DESCRIPTION.document())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_taken_as_a_certificate_bears_it() {
        for typed in ["care.example.test", "care.example.test."] {
            assert_eq!(host(typed).as_deref(), Ok("care.example.test"));
        }
        assert_eq!(host("*.example.test.").as_deref(), Ok("*.example.test"));
        for wrong in ["", ".", "https://care.example.test"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }
}
