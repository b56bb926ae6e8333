//! The command line: setting up, serving, and everything an administrator does, as a client of the API
//! like any other. Exit codes: 0 done, 1 failed, 2 usage or configuration, 4 server not reached, 5 does not verify.

mod audit;
mod changes;
mod client;
mod confirm;
mod devices;
mod find;
mod labels;
mod local;
mod maintenance;
mod names;
mod ownership;
mod patients;
mod people;
mod show;
mod tenants;
mod time;
mod value_parsers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ContextKind;
use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use client::{Client, ClientError, NoAddress};
use time::shows_moment;

use crate::ServeError;
use crate::config::ConfigError;

/// The heading of what every command takes.
const GLOBAL: &str = "Global options";

/// The Carepost sync-server, and its administrators' commands.
#[derive(Debug, Parser)]
#[command(
    name = "carepost-server",
    version,
    after_help = "Examples:\n  \
        carepost-server init --host care.example.test --admin root\n  \
        carepost-server serve\n  \
        carepost-server --ca /var/lib/carepost-server/tls.crt sign-in root\n  \
        carepost-server org create \"Golden Years\" --slug golden-years\n  \
        carepost-server device approve BCDF-GHJK --facility Riverside --name \"Hall kiosk\"\n\n\
        Exit codes: 0 done, 1 failed, 2 usage or configuration, 4 server not reached, 5 does not verify."
)]
struct Cli {
    /// The server's configuration (for init and serve).
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE", env = "CAREPOST_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    client: ClientOptions,
    #[command(subcommand)]
    command: Command,
}

/// How the server is reached.
#[derive(Debug, Args)]
struct ClientOptions {
    /// The server's address for people and programs; else the one that was signed in at last, or
    /// https://localhost:8443.
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "URL", env = "CAREPOST_URL")]
    server: Option<String>,
    /// PEM file of the certificate to trust, instead of the system's; else the one that was signed in with. `sign-in`
    /// trusts the system's where none is named.
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE", env = "CAREPOST_CA")]
    ca: Option<PathBuf>,
    /// Where the session is kept: its token, and the address and certificate of its server.
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE", env = "CAREPOST_SESSION")]
    session: Option<PathBuf>,
    /// Which organization is meant, by slug, name or id (for platform administrators).
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "SLUG", env = "CAREPOST_ORGANIZATION")]
    organization: Option<String>,
    /// For programs: the API's JSON.
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make what a server needs: database key, certificate, first platform administrator.
    Init(local::Init),
    /// Run the server.
    Serve,
    /// Copy the database to a file while the server runs, and read the copy from end to end.
    Backup(maintenance::Backup),
    /// Put a backup in the place of the database.
    Restore(maintenance::Restore),
    /// The audit log, and what devices have written held against itself.
    #[command(subcommand)]
    Audit(maintenance::Audit),
    /// Sign in; the other commands use the session, and reach its server as this one did.
    SignIn(people::SignIn),
    /// Sign out.
    SignOut,
    /// Organizations.
    #[command(subcommand)]
    Org(tenants::Org),
    /// Facilities.
    #[command(subcommand)]
    Facility(tenants::Facility),
    /// Workflow schemas.
    #[command(subcommand)]
    Workflow(tenants::Workflow),
    /// Users, their passwords and PINs.
    #[command(subcommand)]
    User(people::UserCommand),
    /// Badges.
    #[command(subcommand)]
    Badge(people::Badge),
    /// Patients.
    #[command(subcommand)]
    Patient(patients::Patient),
    /// Devices.
    #[command(subcommand)]
    Device(devices::Device),
    /// Changes that were rejected, or that stand with a flag.
    #[command(subcommand)]
    Change(changes::Change),
    /// What somebody has to decide.
    #[command(subcommand)]
    Review(changes::Review),
    /// Print the OpenAPI document.
    Openapi,
}

/// What a command answers.
enum Output {
    /// Nothing more.
    Nothing,
    /// A sentence.
    Words(String),
    /// Something of the API's, with the columns that people see.
    Thing(Value, &'static [&'static str]),
    /// What was looked at, for programs and in words, and whether it is whole.
    Found { whole: bool, thing: Value, words: String },
}

/// Runs the command that the command line gives.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|mut fault| {
        // It has whatever the environment sets as needed; `--help` has it right.
        fault.remove(ContextKind::Usage);
        fault.exit()
    });
    // The first thing: nothing may fall back to another provider of cryptography.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return failed(&anyhow::anyhow!("another provider of cryptography is installed"));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return failed(&fault.into()),
    };
    let json = cli.client.json;
    match runtime.block_on(run(cli)) {
        Ok(Output::Nothing) => ExitCode::SUCCESS,
        Ok(Output::Words(words)) => {
            show::say(&words);
            ExitCode::SUCCESS
        }
        Ok(Output::Thing(thing, columns)) => {
            show::say(&if json { thing.to_string() } else { show::table(&thing, columns) });
            ExitCode::SUCCESS
        }
        Ok(Output::Found { whole, thing, words }) => {
            show::say(&if json { thing.to_string() } else { words });
            if whole { ExitCode::SUCCESS } else { ExitCode::from(5) }
        }
        Err(fault) => failed(&fault),
    }
}

async fn run(cli: Cli) -> anyhow::Result<Output> {
    let config = cli.config.as_deref();
    let client = || Client::new(&cli.client, false);
    let done = match cli.command {
        Command::Init(init) => local::init(config, init).await,
        Command::Serve => local::serve(config).await,
        Command::Backup(backup) => maintenance::backup(config, backup).await,
        Command::Restore(restore) => maintenance::restore(config, restore).await,
        Command::Audit(maintenance::Audit::Verify) => maintenance::verify(config).await,
        Command::Audit(maintenance::Audit::List(search)) => {
            audit::list(&client()?, search, cli.client.json).await
        }
        Command::Openapi => local::openapi(),
        Command::SignIn(who) => people::sign_in(&Client::new(&cli.client, true)?, who).await,
        Command::SignOut => people::sign_out(&client()?).await,
        Command::Org(org) => tenants::org(&client()?, org).await,
        Command::Facility(facility) => tenants::facility(&client()?, facility).await,
        Command::Workflow(workflow) => tenants::workflow(&client()?, workflow).await,
        Command::User(people::UserCommand::Api(user)) => people::user(&client()?, user).await,
        Command::User(people::UserCommand::Unlock { user }) => {
            local::unlock(config, cli.client.organization.clone(), user).await
        }
        Command::Badge(badge) => people::badge(&client()?, badge).await,
        Command::Patient(patient) => patients::patient(&client()?, patient, cli.client.json).await,
        Command::Device(device) => devices::device(&client()?, device).await,
        Command::Change(change) => changes::change(&client()?, change, cli.client.json).await,
        Command::Review(review) => changes::review(&client()?, review, cli.client.json).await,
    };
    match done? {
        // Programs get the API's own times.
        Output::Thing(thing, columns) if !cli.client.json && shows_moment(&thing, columns) => {
            Ok(Output::Thing(client()?.by_clock(thing).await, columns))
        }
        done @ (Output::Nothing | Output::Words(_) | Output::Thing(..) | Output::Found { .. }) => Ok(done),
    }
}

fn failed(fault: &anyhow::Error) -> ExitCode {
    show::say_error(&format!("carepost-server: {fault:#}"));
    let is_configuration = fault.is::<NoAddress>()
        || fault.downcast_ref().is_some_and(ConfigError::is_lasting)
        || fault.downcast_ref().is_some_and(ServeError::is_lasting);
    if is_configuration {
        return ExitCode::from(2);
    }
    match fault.downcast_ref() {
        Some(ClientError::NotReached(..)) => ExitCode::from(4),
        Some(ClientError::Refused(_) | ClientError::NotSignedIn(_) | ClientError::Nonsense(_)) | None => {
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{CommandFactory as _, Parser as _};
    use serde_json::Value;

    use super::{Cli, audit, changes, devices, patients, people, tenants};
    use crate::http::routes::{DESCRIPTION, ROUTES};

    const MANUAL: &str = include_str!("../../../docs/operator.md");
    const README: &str = include_str!("../../../README.md");

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_manual_lists_every_command_with_its_options() {
        let (_, listed) = MANUAL.split_once("## Every command\n").unwrap();
        let listed: Vec<&str> = listed.split("```").nth(1).unwrap().lines().skip(1).collect();
        assert_eq!(listed, synopses(&Cli::command(), ""));
    }

    #[test]
    fn the_manuals_examples_are_taken() {
        let blocks = [MANUAL, README].into_iter().flat_map(|manual| manual.split("```sh\n").skip(1));
        let blocks = blocks.filter_map(|rest| rest.split("```").next());
        let lines = blocks.flat_map(str::lines).map(str::trim);
        let examples: Vec<&str> = lines.filter(|line| line.starts_with("carepost-server ")).collect();
        assert!(examples.len() > 10, "{examples:?}");
        for line in examples {
            let typed = line.split_once(" #").map_or(line, |(typed, _)| typed);
            // What stands between quotation marks is one word.
            let words = typed.split('"').enumerate().flat_map(|(at, part)| match at % 2 {
                0 => part.split_whitespace().collect(),
                _ => vec![part],
            });
            let taken = Cli::try_parse_from(words);
            assert!(taken.is_ok(), "{line}: {:?}", taken.err());
        }
    }

    /// What each operation's answer is shown by, and which of these columns the command line makes itself.
    const SHOWN: &[(&str, &[&str], &[&str])] = &[
        ("list_organizations", tenants::ORGANIZATION, &[]),
        ("list_facilities", tenants::COLUMNS, &[]),
        ("list_devices", devices::COLUMNS, &[]),
        ("register_device", devices::REGISTERED, &[]),
        ("approve_enrollment", devices::APPROVED, &[]),
        ("create_user", people::COLUMNS, &[]),
        ("list_users", people::LISTED, &["facility"]),
        ("list_badges", people::BADGE, &[]),
        ("list_patients", patients::LISTED, &["facility", "status", "same_person_as"]),
        ("list_rejected_changes", changes::CHANGE, &["what", "resident", "by", "why", "device"]),
        ("retry_rejected_change", changes::SETTLED, &[]),
        ("list_reviews", changes::REVIEW, &["resident", "to_decide", "resolved_at", "resolved_by"]),
        ("search_audit_events", audit::EVENT, &["user", "patient", "device"]),
    ];

    #[test]
    fn every_column_is_a_member_of_what_is_shown_or_made_here() {
        for (operation, columns, made) in SHOWN {
            let route = ROUTES.iter().find(|route| route.operation == *operation).unwrap();
            let responses = &DESCRIPTION.operation(route)["responses"];
            let answered = ["200", "201"].iter().find_map(|status| responses.get(status)).unwrap();
            let answer = resolved(&answered["content"]["application/json"]["schema"]);
            let members = members(answer.pointer("/properties/items/items").unwrap_or(answer));
            for column in *columns {
                assert_ne!(members.contains(column), made.contains(column), "{operation}: {column}");
            }
            assert!(made.iter().all(|column| columns.contains(column)), "{operation}: {made:?}");
        }
    }

    /// A schema, where a reference leads to it.
    fn resolved(schema: &'static Value) -> &'static Value {
        let at = schema["$ref"].as_str().and_then(|at| at.strip_prefix('#'));
        at.map_or(schema, |at| DESCRIPTION.document().pointer(at).unwrap())
    }

    fn members(schema: &'static Value) -> BTreeSet<&'static str> {
        let schema = resolved(schema);
        let own = schema["properties"].as_object().into_iter().flat_map(|it| it.keys().map(String::as_str));
        let parts = schema["allOf"].as_array().into_iter().flatten();
        own.chain(parts.flat_map(members)).collect()
    }

    /// A line for each command: what is typed, what has to be first, and what may be left out in brackets.
    fn synopses(command: &clap::Command, path: &str) -> Vec<String> {
        let below = command.get_subcommands();
        let below = below.flat_map(|below| synopses(below, &format!("{path} {}", below.get_name())));
        let below: Vec<String> = below.collect();
        if !below.is_empty() {
            return below;
        }
        let mut arguments: Vec<&clap::Arg> = command.get_arguments().collect();
        arguments.sort_by_key(|it| (!it.is_positional(), !it.is_positional() && !it.is_required_set()));
        let arguments = arguments.into_iter().map(|it| format!(" {}", synopsis(it)));
        vec![format!("{path}{}", arguments.collect::<String>()).trim().to_owned()]
    }

    fn synopsis(argument: &clap::Arg) -> String {
        let value = argument.get_value_names().into_iter().flatten().map(|name| name.to_uppercase());
        let value = value.filter(|_| argument.get_action().takes_values());
        let option = argument.get_long().map(|long| format!("--{long}"));
        let said = option.into_iter().chain(value).collect::<Vec<_>>().join(" ");
        if argument.is_required_set() { said } else { format!("[{said}]") }
    }
}
