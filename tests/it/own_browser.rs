//! The open kiosk belongs to its browser: no other user's process on the device reads or charts through it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use carepost_tests::browser::Browser;
use carepost_tests::children::until;
use carepost_tests::kiosk::{Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, vitals};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

/// A user that no program here runs as; the one that user namespaces show in place of those they do not know;
/// and one that every Debian has.
const STRANGER: (u32, u32) = (12_345, 12_345);
const NOBODY: (u32, u32) = (65_534, 65_534);
const DAEMON: (u32, u32) = (1, 1);

/// Whether this process may start others as another user; says so when it may not.
fn is_root() -> bool {
    let own = std::fs::metadata("/proc/self").map(|own| own.uid());
    let root = own.is_ok_and(|uid| uid == 0);
    if !root {
        eprintln!("skipped: only root can start a process of another user");
    }
    root
}

/// Runs a line of bash as another user.
async fn run_as((uid, gid): (u32, u32), line: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new("bash")
        .args(["-c", line])
        .args(arguments)
        .uid(uid)
        .gid(gid)
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output =
        tokio::time::timeout(Duration::from_secs(20), output).await.context("it is answered for ever")??;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What the kiosk answers to another user's process that knows every header to send.
async fn ask(
    who: (u32, u32),
    kiosk: &Kiosk,
    method: &str,
    path: &str,
    cookie: &str,
    form: &str,
) -> Result<String> {
    let (port, length) = (kiosk.port.to_string(), form.len());
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n\
         Sec-Fetch-Site: same-origin\r\nCookie: {cookie}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
    );
    let line = r#"exec 3<>"/dev/tcp/127.0.0.1/$0" && printf %s "$1" >&3 && cat <&3"#;
    run_as(who, line, &[&port, &request]).await
}

/// Holds connections to the kiosk as another user, and asks nothing.
async fn idle_as((uid, gid): (u32, u32), kiosk: &Kiosk) -> Result<Child> {
    let line = r#"for i in 1 2 3 4 5 6; do exec {held}<>"/dev/tcp/127.0.0.1/$0"; done; echo; read"#;
    let mut idlers = Command::new("bash")
        .args(["-c", line, &kiosk.port.to_string()])
        .uid(uid)
        .gid(gid)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    idlers.stdout.as_mut().context("a pipe")?.read_u8().await.context("they are connected")?;
    Ok(idlers)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_users_process_neither_reads_nor_charts() -> Result<()> {
    let scene = Scene::new(2).await?;
    let hall = scene.kiosk("hall").await?;
    let (name, id) = scene.resident()?;
    hall.sign_in(&scene.nora).await?;
    let path = hall.path_of(name).await?;
    let form = hall.get(&format!("{path}/chart/vitals")).await?;
    let entry = format!(
        "_token={}&_screen={}&systolic=128&diastolic=77&pulse=71&note=forged",
        form.hidden("_token")?,
        form.hidden("_screen")?
    );
    let cookie = hall.cookie().await.context("a cookie")?;
    if is_root() {
        for who in [STRANGER, NOBODY] {
            let without = ask(who, &hall, "GET", "/", "", "").await?;
            assert!(without.starts_with("HTTP/1.1 403"), "{who:?}: {without}");
            assert!(!without.to_lowercase().contains("set-cookie"), "{without}");
        }
        // Not even with the browser's own cookie, wherever it was found.
        let chart = format!("{path}/chart/vitals");
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/status"),
            ("GET", "/events"),
            ("GET", path.as_str()),
            ("GET", chart.as_str()),
            ("POST", chart.as_str()),
            ("POST", "/lock"),
        ] {
            let form = if path == chart { entry.as_str() } else { "" };
            let answer = ask(STRANGER, &hall, method, path, &cookie, form).await?;
            assert!(answer.starts_with("HTTP/1.1 403"), "{method} {path}: {answer}");
            assert!(!answer.contains(name) && !answer.contains("Nora"), "{method} {path}: {answer}");
        }
        // However many of one user's connections idle, another's question is answered.
        let _idlers = idle_as(DAEMON, &hall).await?;
        let status = ask(STRANGER, &hall, "GET", "/status.json", "", "").await?;
        assert!(status.starts_with("HTTP/1.1 200") && !status.contains("Nora"), "{status}");
    }
    hall.page_says("/", &["Nora Quist", name]).await?;
    hall.chart(name, "vitals", &vitals("hers")).await?;
    scene.has_notes(id, &["hers".to_owned()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_opens_by_its_start_page_for_its_browsers_user_alone() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let scene = Scene::new(1).await?;
    let mut hall = scene.kiosk("hall").await?;
    // As systemd makes it: the agent's, with the group of the browser's user, which files in it inherit.
    let folder = TempDir::new()?;
    chown(folder.path(), None, Some(DAEMON.1))?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o2750))?;
    let start = folder.path().join("start.html");
    hall.stop().await?;
    let own = format!("start_page = \"{}/start.html\"", hall.folder.display());
    let new = format!("start_page = \"{}\"\nbrowser_user = \"daemon\"", start.display());
    hall.reconfigure(&own, &new)?;
    hall.start().await?;

    assert_eq!(token_as(STRANGER, &start).await, None, "its file is its browser's alone");
    let token = token_as(DAEMON, &start).await.context("the browser's user reads it")?;
    for path in
        ["/".to_owned(), "/events".to_owned(), format!("/?start={}", token.replace(|c| c != '0', "0"))]
    {
        let answer = ask(DAEMON, &hall, "GET", &path, "", "").await?;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("start.html"), "{path}: {answer}");
    }
    for who in [STRANGER, (0, 0)] {
        let answer = ask(who, &hall, "GET", &format!("/?start={token}"), "", "").await?;
        assert!(answer.starts_with("HTTP/1.1 403"), "the token is for its user: {who:?} {answer}");
    }
    let answer = ask(DAEMON, &hall, "GET", &format!("/?start={token}"), "", "").await?;
    let cookie = answer.split_once("set-cookie: ").and_then(|(_, rest)| rest.split(';').next());
    let cookie = cookie.with_context(|| answer.clone())?.to_owned();
    assert!(answer.contains("HttpOnly; SameSite=Strict") && !answer.contains("Tap your badge"), "{answer}");
    hall.tap(&scene.nora.uid).await?;
    until("the PIN pad", PATIENCE, || async {
        let answer = ask(DAEMON, &hall, "GET", "/", &cookie, "").await?;
        ensure!(answer.contains("Enter your PIN"), "{answer}");
        Ok(())
    })
    .await?;
    for (who, status, words) in [
        (DAEMON, 200, "Enter your PIN"),
        (STRANGER, 403, "its browser alone"),
        ((0, 0), 403, "its browser alone"),
    ] {
        let answer = ask(who, &hall, "GET", "/", &cookie, "").await?;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(words),
            "{who:?} {answer}"
        );
    }

    // A restart has another token, and the open page comes back by itself.
    let (_, doctor) = hall.command(&["doctor"]).await?;
    assert!(doctor.contains("for daemon alone"), "{doctor}");
    hall.stop().await?;
    hall.start().await?;
    let answer = ask(DAEMON, &hall, "GET", &format!("/?start={token}"), "", "").await?;
    assert!(answer.starts_with("HTTP/1.1 403"), "the token of the start before: {answer}");
    assert_ne!(token_as(DAEMON, &start).await, Some(token));
    let answer = ask(DAEMON, &hall, "GET", "/", &cookie, "").await?;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Tap your badge"), "{answer}");
    std::fs::remove_file(&start)?;
    let (code, doctor) = hall.command(&["doctor"]).await?;
    assert!(code == 5 && doctor.contains("only the owner of a connection"), "{code}: {doctor}");
    Ok(())
}

async fn token_as(who: (u32, u32), start: &Path) -> Option<String> {
    let text = run_as(who, r#"cat "$0""#, &[&start.display().to_string()]).await.ok()?;
    Some(text.split_once("?start=")?.1.split_once('"')?.0.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_begins_with_the_start_page_and_comes_back_after_a_restart() -> Result<()> {
    let scene = Scene::new(1).await?;
    let mut hall = scene.kiosk("hall").await?;
    let user = Command::new("id").arg("-un").output().await?;
    let user = String::from_utf8(user.stdout)?.trim().to_owned();
    hall.stop().await?;
    hall.reconfigure("[kiosk]\n", &format!("[kiosk]\nbrowser_user = \"{user}\"\n"))?;
    hall.start().await?;
    let page = Browser::open(1280, 800).await?;
    page.goto(&hall.address()).await?;
    page.sees(&["This page opens on the kiosk itself"]).await?;
    page.goto(&format!("file://{}/start.html", hall.folder.display())).await?;
    page.sees(&["Tap your badge"]).await?;
    let address = page.script("return location.href").await?;
    assert_eq!(address, format!("{}/", hall.address()), "the token does not stay in the address");

    hall.stop().await?;
    page.sees(&["This kiosk is restarting"]).await?;
    hall.start().await?;
    page.sees(&["Tap your badge"]).await?;
    // What stays silent is no restart; a minute passes soon on this page.
    let hurry = "const wait = window.setTimeout; window.setTimeout = (does, time) => wait(does, time / 100);";
    page.script(hurry).await?;
    hall.stop().await?;
    page.sees(&["This kiosk does not answer", "another device", "Call +1 555 0100", "goes on trying"])
        .await?;
    hall.start().await?;
    page.sees(&["Tap your badge"]).await?;
    hall.tap(&scene.nora.uid).await?;
    page.sees(&["Nora Quist", "Enter your PIN"]).await?;
    page.close().await?;
    if hall.log().contains("cannot be written") { bail!("{}", hall.log()) } else { Ok(()) }
}
