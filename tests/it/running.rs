//! How the programs run on their machines: as whom, what they leave behind, what they log, how they end.

use std::collections::BTreeMap;
use std::fs::{Permissions, metadata, set_permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use carepost_tests::children::{Running, binary, free_port, run, until};
use carepost_tests::kiosk::{Badges, Kiosk, PATIENCE};
use carepost_tests::scene::Scene;
use carepost_tests::world::{PASSWORD, Server};
use serde_json::json;
use tempfile::TempDir;

/// A user that no program here runs as.
const OWNER: u32 = 12_345;

/// What can be seen of a file: its owner and mode, inode and length, and since when it has been so.
type Seen = (u32, u32, u64, u64, i64, i64);

/// The same of every file in a directory, and of itself.
fn seen(folder: &Path) -> Result<BTreeMap<String, Seen>> {
    let look = |path: &Path| -> Result<_> {
        let it = metadata(path)?;
        Ok((
            path.display().to_string(),
            (it.uid(), it.mode(), it.ino(), it.len(), it.mtime(), it.mtime_nsec()),
        ))
    };
    let files = std::fs::read_dir(folder)?.map(|file| look(&file?.path()));
    [look(folder)].into_iter().chain(files).collect()
}

fn is_root() -> bool {
    let root = metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        eprintln!("skipped: only root can leave files of root's");
    }
    root
}

fn all_are_the_owners(folder: &Path) -> Result<()> {
    let foreign: Vec<_> = seen(folder)?.into_iter().filter(|(_, it)| it.0 != OWNER).collect();
    ensure!(foreign.is_empty(), "{foreign:?}");
    Ok(())
}

/// Has the owner, whom root is not, have a kiosk's state.
fn give_away(scene: &Scene, kiosk: &Kiosk) -> Result<()> {
    for above in [scene.folder.path(), &kiosk.folder] {
        set_permissions(above, Permissions::from_mode(0o755))?;
    }
    let state = kiosk.folder.join("state");
    for file in std::fs::read_dir(&state)? {
        chown(file?.path(), Some(OWNER), Some(OWNER))?;
    }
    Ok(chown(&state, Some(OWNER), Some(OWNER))?)
}

/// Whether some ports are for root alone on this machine.
fn has_ports_of_roots() -> bool {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    first.is_ok_and(|first| first.trim() != "0")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_root_does_on_the_server_leaves_nothing_of_roots_in_its_directory() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    crate::install_provider();
    let folder = TempDir::new()?;
    set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let at = |name: &str| folder.path().join(name);
    let state = at("state");
    std::fs::create_dir(&state)?;
    set_permissions(&state, Permissions::from_mode(0o700))?;
    chown(&state, Some(OWNER), Some(OWNER))?;
    let (people, devices) = (free_port()?, free_port()?);
    let text = format!(
        "state_dir = \"{}\"\npeople_address = \"127.0.0.1:{people}\"\ndevices_address = \"127.0.0.1:{devices}\"\n",
        state.display()
    );
    std::fs::write(at("server.toml"), text)?;
    std::fs::write(at("password"), PASSWORD)?;
    set_permissions(at("password"), Permissions::from_mode(0o600))?;
    let (config, password) = (at("server.toml").display().to_string(), at("password").display().to_string());
    let backup = at("backup.db").display().to_string();
    let does = async |words: &[&str]| -> Result<()> {
        let words: Vec<&str> = ["--config", &config].into_iter().chain(words.iter().copied()).collect();
        let (code, _, error) = run("carepost-server", &words, &[]).await?;
        ensure!(code == 0, "{words:?}: {error}");
        all_are_the_owners(&state)
    };
    does(&["init", "--host", "localhost", "--admin", "root", "--password-file", &password]).await?;
    does(&["user", "unlock", "root"]).await?;
    does(&["backup", "--to", &backup]).await?;
    does(&["audit", "verify"]).await?;
    does(&["restore", "--yes", "--from", &backup]).await?;
    let mut server =
        Running::start("carepost-server", &["--config", &config, "serve"], &[], &at("server.log"))?;
    until("the server", PATIENCE, || async {
        if server.log().contains("the server is up") { Ok(()) } else { bail!("{}", server.log()) }
    })
    .await?;
    let runs_as = metadata(format!("/proc/{}", server.pid().context("it runs")?))?.uid();
    ensure!(runs_as == OWNER, "{runs_as}");
    server.expect_alive()?;
    server.stop().await?;
    all_are_the_owners(&state)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_keeps_is_its_owners_alone_whatever_the_umask() -> Result<()> {
    let folder = TempDir::new()?;
    let at = |name: &str| folder.path().join(name);
    let (config, state) = (at("server.toml"), at("above/state"));
    std::fs::write(&config, format!("state_dir = \"{}\"\n", state.display()))?;
    std::fs::write(at("password"), PASSWORD)?;
    let (password, backup) = (at("password").display().to_string(), at("backup.db"));
    let does = async |words: &[&str]| -> Result<()> {
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", "umask 0; exec \"$0\" \"$@\""]).arg(binary("carepost-server")?);
        let done = shell.arg("--config").arg(&config).args(words).output().await?;
        ensure!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        for (file, (_, mode, ..)) in seen(&state)?.into_iter().chain(seen(&at("above"))?) {
            let is_public = file.ends_with("tls.crt");
            ensure!(mode & 0o077 == 0 || is_public, "{file} is {mode:o} after {words:?}");
        }
        Ok(())
    };
    let init = ["init", "--host", "localhost", "--admin", "root", "--password-file", &password];
    let to = backup.display().to_string();
    let restore = ["restore", "--yes", "--from", &to];
    does(&init).await?;
    does(&["backup", "--to", &to]).await?;
    ensure!(metadata(&backup)?.mode() & 0o077 == 0, "the backup");
    let asks = ["--config", &config.display().to_string(), "restore", "--from", &to];
    let (code, _, error) = run("carepost-server", &asks, &[]).await?;
    ensure!(code != 0 && error.contains("nothing was done"), "{error}");
    ensure!(!state.join("server.lock").exists(), "a lock of root's keeps the server out");
    does(&restore).await?;
    // As an earlier version made them.
    for (file, then) in [("carepost.db", &init[..]), ("server.lock", &restore[..])] {
        set_permissions(state.join(file), Permissions::from_mode(0o644))?;
        does(then).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_changes_nothing_and_root_leaves_nothing_of_its_own() -> Result<()> {
    let scene = Scene::new(1).await?;
    let mut hall = scene.kiosk_with("hall", Badges::None, "").await?;
    let state = hall.folder.join("state");
    // With a log beside the files that is still to be folded in, and a directory that is too open.
    hall.pull_the_plug().await?;
    set_permissions(&state, Permissions::from_mode(0o750))?;
    let before = seen(&state)?;
    for (file, (_, mode, ..)) in before.iter().filter(|(file, _)| **file != state.display().to_string()) {
        ensure!(mode & 0o077 == 0, "{file} is {mode:o}");
    }
    let (code, said) = hall.command(&["doctor"]).await?;
    ensure!(
        code == 0 && said.contains("both open; mirror complete") && said.contains("encrypted NOT"),
        "{said}"
    );
    let place = state.canonicalize()?.display().to_string();
    ensure!(said.contains(&place) && !said.contains("carepost-doctor"), "{said}");
    ensure!(seen(&state)? == before, "{before:#?} {:#?}", seen(&state)?);
    ensure!(said.contains(" MiB free"), "{said}");
    // Where no copy of it can be made, that is said of that place, and nothing of the device.
    let config = hall.config().display().to_string();
    for place in ["/proc", "/nowhere"] {
        let environment = [hall.environment(), vec![("TMPDIR", place.to_owned())]].concat();
        let (code, said, _) = run("carepost-agent", &["--config", &config, "doctor"], &environment).await?;
        let is_noted = said.contains("UNSEEN state") && said.contains(place) && said.contains("TMPDIR");
        ensure!(code == 5 && is_noted && !said.contains("WRONG"), "{code}: {said}");
        ensure!(seen(&state)? == before, "{before:#?} {:#?}", seen(&state)?);
    }

    if is_root() {
        give_away(&scene, &hall)?;
        for (words, is_done) in [
            (&["doctor"][..], false),
            (&["queue", "list"], true),
            (&["enroll"], true),
            (&["status"], false),
            (&["queue", "retry", "1"], false),
            (&["queue", "export", "1"], false),
        ] {
            let (code, said) = hall.command(words).await?;
            ensure!(code == 0 || !is_done, "{words:?} {code}: {said}");
            all_are_the_owners(&state)?;
        }
        // A file that is another's is named, and nothing else is said to be wrong in its place.
        let outbox = state.join("outbox.db");
        chown(&outbox, Some(0), Some(0))?;
        set_permissions(&scene.server.ca, Permissions::from_mode(0o600))?;
        let (code, said) = hall.command(&["doctor"]).await?;
        ensure!(code == 5 && said.contains(&format!("{}: Permission denied", outbox.display())), "{said}");
        let ca = format!("cannot read server.ca_file {}", scene.server.ca.display());
        ensure!(said.contains(&ca) && !said.contains("https://"), "{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_in_memory_is_told_of() -> Result<()> {
    let memory = Path::new("/dev/shm");
    if !std::fs::read_to_string("/proc/mounts")?.lines().any(|line| line.starts_with("tmpfs /dev/shm ")) {
        eprintln!("skipped: /dev/shm is no tmpfs");
        return Ok(());
    }
    let scene = Scene::new(1).await?;
    let hall = Kiosk::hang(&scene.folder_of("hall"), "hall", &scene.server, None, Badges::None, "").await?;
    let folder = TempDir::new_in(memory)?;
    let state = format!("state_dir = \"{}/state\"", hall.folder.display());
    hall.reconfigure(&state, &format!("state_dir = \"{}\"", folder.path().display()))?;
    let (_, said) = hall.command(&["doctor"]).await?;
    ensure!(said.contains("note   disk") && said.contains("MEMORY"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pcscd_that_refuses_is_told_from_one_that_is_not_there() -> Result<()> {
    let scene = Scene::new(1).await?;
    let hall = Kiosk::hang(&scene.folder_of("hall"), "hall", &scene.server, None, Badges::None, "").await?;
    hall.reconfigure("source = \"none\"", "source = \"pcsc\"")?;
    let socket = scene.folder_of("pcscd.comm");
    let mut environment = hall.environment();
    environment.push(("PCSCLITE_CSOCK_NAME", socket.display().to_string()));
    let config = hall.config().display().to_string();
    let words = ["--config", &config, "doctor"];
    let (_, said, _) = run("carepost-agent", &words, &environment).await?;
    ensure!(said.contains("pcscd does not answer"), "{said}");
    // As it does with those whom polkit does not let in: it closes the connection.
    let pcscd = UnixListener::bind(&socket)?;
    std::thread::spawn(move || pcscd.incoming().for_each(drop));
    let (_, said, _) = run("carepost-agent", &words, &environment).await?;
    ensure!(said.contains("refuses this user") && said.contains("carepost-pcscd.rules"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_takes_a_running_agents_word_for_its_reader() -> Result<()> {
    let scene = Scene::new(1).await?;
    let hall = scene.kiosk_with("hall", Badges::Pcsc, "").await?;
    hall.reader_ready().await?;
    // The agent reaches its pcscd, and this command none.
    let environment = [("PCSCLITE_CSOCK_NAME", scene.folder_of("no-pcscd").display().to_string())];
    let config = hall.config().display().to_string();
    let (_, said, _) = run("carepost-agent", &["--config", &config, "doctor"], &environment).await?;
    ensure!(said.contains("ready for a badge") && !said.contains("pcscd does not answer"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_good_news_once_and_leaves_the_time_to_the_journal() -> Result<()> {
    let scene = Scene::new(1).await?;
    let mut hall = scene.kiosk_with("hall", Badges::None, "").await?;
    let count = |log: &str, words: &str| log.matches(words).count();
    let log = hall.log();
    ensure!(count(&log, "enrolled device=\"hall\" facility=\"Riverside\"") == 1, "{log}");
    let before = count(&log, "the server is reached\n");
    ensure!(before == 1, "{log}");
    hall.link.cut();
    hall.status_is("link", "OFFLINE").await?;
    hall.link.restore();
    hall.status_is("link", "ONLINE").await?;
    let log = hall.log();
    ensure!(count(&log, "the server is reached\n") == 2, "{log}");
    hall.stop().await?;

    let journal = scene.folder_of("journal");
    let stream = std::fs::File::create(&journal)?.metadata()?;
    let environment = [("JOURNAL_STREAM", format!("{}:{}", stream.dev(), stream.ino()))];
    let config = hall.config().display().to_string();
    let agent = Running::start("carepost-agent", &["--config", &config, "run"], &environment, &journal)?;
    until("its page", PATIENCE, || async {
        if agent.log().contains("the kiosk page is up") { Ok(()) } else { bail!("{}", agent.log()) }
    })
    .await?;
    let log = agent.log();
    ensure!(
        log.lines().all(|line| line.trim_start().starts_with(|first: char| first.is_alphabetic())),
        "{log}"
    );
    agent.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_says_which_names_read_the_same() -> Result<()> {
    crate::install_provider();
    let folder = TempDir::new()?;
    let mut server = Server::start(&folder.path().join("server")).await?;
    server.organization("Sunrise SNF", "sunrise", "SNF_CHAIN").await?;
    let admin = json!({"username": "admin", "display_name": "Admin", "password": PASSWORD});
    let second = json!({"name": "SUNRISE snf", "slug": "east", "type": "SNF_CHAIN", "admin": admin, "same_name": true});
    server.root().await?.post("/api/v1/organizations", &second).await?;
    server.stop().await?;
    server.resume().await?;
    until("the log to say so", PATIENCE, || async {
        let log = server.log();
        let is_said = ["sunrise", "east", "SUNRISE snf", "org rename"].iter().all(|it| log.contains(it));
        if is_said { Ok(()) } else { bail!("{log}") }
    })
    .await
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_ends_with_2_and_systemd_leaves_it_at_that() -> Result<()> {
    let folder = TempDir::new()?;
    for (program, command, unit) in [
        ("carepost-agent", "run", include_str!("../../systemd/carepost-agent.service")),
        ("carepost-server", "serve", include_str!("../../systemd/carepost-server.service")),
    ] {
        let file = folder.path().join(program);
        let config = file.display().to_string();
        // The last as some editors save it: in UTF-16.
        for text in [None, Some(&b"colour = 1\n"[..]), Some(b"\xff\xfe#\0\n\0")] {
            text.map(|text| std::fs::write(&file, text)).transpose()?;
            let (code, _, error) = run(program, &["--config", &config, command], &[]).await?;
            ensure!(code == 2 && error.contains(&config), "{program} {code}: {error}");
        }
        std::fs::remove_file(&file)?;
        // What the program may not read is not told from this where root runs the story.
        std::fs::create_dir(&file)?;
        let (code, _, error) = run(program, &["--config", &config, command], &[]).await?;
        ensure!(code == 2 && error.contains(&config), "{program} {code}: {error}");
        ensure!(unit.contains("\nRestartPreventExitStatus=2\n"), "{unit}");
    }

    // A certificate that is not there; one that is half written may be whole when it is read again.
    let at = |name: &str| folder.path().join(name).display().to_string();
    let text = format!(
        "state_dir = \"{}\"\npeople_address = \"127.0.0.1:0\"\ndevices_address = \"127.0.0.1:0\"\n",
        folder.path().display()
    );
    std::fs::write(at("server.toml"), text)?;
    for file in ["tls.crt", "tls.key"] {
        let (code, _, error) =
            run("carepost-server", &["--config", &at("server.toml"), "serve"], &[]).await?;
        ensure!(code == 2 && error.contains(&at(file)), "{file} {code}: {error}");
        std::fs::write(at(file), "half of a fi")?;
    }
    let serve = ["--config", &at("server.toml"), "serve"];
    let (code, _, error) = run("carepost-server", &serve, &[]).await?;
    ensure!(code == 1 && error.contains(&at("tls.key")), "{code}: {error}");

    // A key that is another database's.
    for file in ["tls.crt", "tls.key"] {
        std::fs::remove_file(at(file))?;
    }
    std::fs::write(at("password"), PASSWORD)?;
    let password = at("password");
    let init = ["init", "--host", "localhost", "--admin", "root", "--password-file", &password];
    let init = [&serve[..2], &init].concat();
    let (code, _, error) = run("carepost-server", &init, &[]).await?;
    ensure!(code == 0, "{code}: {error}");
    std::fs::write(at("database.key"), "5e".repeat(32))?;
    let (code, _, error) = run("carepost-server", &serve, &[]).await?;
    ensure!(code == 2 && error.contains("the key does not open"), "{code}: {error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_for_root_alone_ends_a_program_with_2() -> Result<()> {
    if !is_root() || !has_ports_of_roots() {
        return Ok(());
    }
    let scene = Scene::new(1).await?;
    let mut hall =
        Kiosk::hang(&scene.folder_of("hall"), "hall", &scene.server, None, Badges::None, "").await?;
    hall.stop().await?;
    give_away(&scene, &hall)?;
    hall.reconfigure(&format!("listen = \"127.0.0.1:{}\"", hall.port), "listen = \"127.0.0.1:1\"")?;
    let (code, said) = hall.command(&["run"]).await?;
    ensure!(code == 2 && said.contains("set kiosk.listen"), "{code}: {said}");

    let state = scene.folder_of("of-server");
    std::fs::create_dir(&state)?;
    chown(&state, Some(OWNER), Some(OWNER))?;
    let config = scene.folder_of("server.toml");
    let text = format!(
        "state_dir = \"{}\"\npeople_address = \"127.0.0.1:1\"\ndevices_address = \"127.0.0.1:0\"\n",
        state.display()
    );
    std::fs::write(&config, text)?;
    let (code, _, error) =
        run("carepost-server", &["--config", &config.display().to_string(), "serve"], &[]).await?;
    ensure!(code == 2 && error.contains("set people_address"), "{code}: {error}");
    Ok(())
}

#[tokio::test]
async fn root_makes_no_state_directory_for_an_agent_that_is_not_roots() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let folder = TempDir::new()?;
    let (config, state) = (folder.path().join("agent.toml"), folder.path().join("state"));
    let text = format!("state_dir = \"{}\"\n\n[server]\nurl = \"https://localhost:1\"\n", state.display());
    std::fs::write(&config, text)?;
    for command in ["run", "enroll"] {
        let (code, _, error) =
            run("carepost-agent", &["--config", &config.display().to_string(), command], &[]).await?;
        ensure!(code == 2 && error.contains("the agent's own user"), "{command} {code}: {error}");
        ensure!(!state.exists(), "{command}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_is_served_on_any_address_of_this_machine() -> Result<()> {
    let scene = Scene::new(1).await?;
    let mut hall =
        Kiosk::hang(&scene.folder_of("hall"), "hall", &scene.server, None, Badges::None, "").await?;
    let mut listen = format!("listen = \"127.0.0.1:{}\"", hall.port);
    hall.stop().await?;
    for address in ["127.0.0.5", "[::1]"] {
        let other = format!("listen = \"{address}:{}\"", hall.port);
        hall.reconfigure(&listen, &other)?;
        listen = other;
        let log = scene.folder_of("log");
        let config = hall.config().display().to_string();
        let environment = hall.environment();
        let agent = Running::start("carepost-agent", &["--config", &config, "run"], &environment, &log)?;
        let page = format!("http://{address}:{}/", hall.port);
        until("its page", PATIENCE, || async {
            let answer = reqwest::Client::builder().no_proxy().build()?.get(&page).send().await?;
            let (status, text) = (answer.status(), answer.text().await?);
            ensure!(status == 200 && text.contains("Carepost"), "{status} {text}");
            Ok(())
        })
        .await?;
        ensure!(hall.command(&["status"]).await?.0 == 3, "it answers, and is not enrolled");
        agent.stop().await?;
    }
    Ok(())
}
