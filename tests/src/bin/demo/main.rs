//! `make demo`: a server and four kiosks on loopback, until Ctrl-C. With `CHECK=1` the whole story runs
//! without a person, and the exit code is 0 only if each step was seen from outside.

mod check;
mod guide;
mod scene;
mod switch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use carepost_tests::kiosk::Sockets;
use clap::{Parser, Subcommand};
use scene::Scene;
use tokio::signal::unix::{SignalKind, signal};

/// A Carepost server and four kiosks on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "carepost-demo",
    version,
    after_help = "All that it makes is in the folder `demo` beside the one that this program lies in (target/demo). It is emptied \
        at each start, and left at the end.\n\nExamples:\n  carepost-demo\n  CHECK=1 carepost-demo\n  carepost-demo cut hall\n  carepost-demo restore hall"
)]
struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Pull a kiosk's network cable.
    Cut {
        /// The kiosk: alpha, beta, hall or med.
        name: String,
    },
    /// Plug it in again.
    Restore {
        /// The kiosk.
        name: String,
    },
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().action {
        Some(Action::Cut { name }) => switch::ask(&folder(), &format!("cut {name}")).await,
        Some(Action::Restore { name }) => switch::ask(&folder(), &format!("restore {name}")).await,
        None => run().await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("carepost-demo: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok().context("a second provider")?;
    let checking = std::env::var("CHECK").is_ok_and(|value| !value.is_empty() && value != "0");
    let folder = folder();
    scene::expect_free_ports()?;
    scene::wipe(&folder)?;
    let scene = tokio::select! {
        scene = begin(&folder, checking) => scene?,
        outcome = told_to_stop() => {
            outcome?;
            // What was started so far stops as the scene is dropped.
            bail!("stopped before everything was there");
        }
    };
    if checking {
        return scene.stop().await;
    }
    let sockets = Sockets::near(&folder)?;
    let switch = switch::Switch::open(&folder, sockets.folder(), scene.links())?;
    say(&guide::text(&scene)?);
    tokio::select! {
        outcome = switch.serve() => outcome?,
        outcome = told_to_stop() => outcome?,
    }
    say("\nStopping ...");
    scene.stop().await?;
    say("Stopped. `make demo` starts afresh.");
    Ok(())
}

async fn begin(folder: &Path, checking: bool) -> Result<Scene> {
    if checking {
        return check::run(folder).await;
    }
    say("Starting a server and four kiosks ...");
    let scene = Scene::build(folder).await?;
    for post in &scene.posts {
        let facility = &scene.site(post.place)?.facility;
        facility.enroll(&post.kiosk).await?;
        say(&format!("  {} is enrolled at {}", post.kiosk.name, facility.name));
    }
    Ok(scene)
}

async fn told_to_stop() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

/// `target/demo`, beside the folder this program was built in.
fn folder() -> PathBuf {
    let built = std::env::current_exe().unwrap_or_default();
    built.ancestors().nth(2).map_or_else(|| PathBuf::from("target/demo"), |target| target.join("demo"))
}

#[allow(clippy::print_stdout)] // this is what the program is for
fn say(line: &str) {
    println!("{line}");
}

#[allow(clippy::print_stderr)]
fn complain(line: &str) {
    eprintln!("{line}");
}
