//! What the demo tells the person in front of it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use carepost_tests::children::binary;
use carepost_tests::world::PASSWORD;

use crate::scene::{Place, Scene};

/// Addresses, badges, PINs and commands, ready to copy.
///
/// # Errors
/// When a kiosk of the scene has no reader.
pub(crate) fn text(scene: &Scene) -> Result<String> {
    let mut text =
        String::from("\nCarepost is running. Its kiosks, whose pages open in your own browser only:\n\n");
    for post in &scene.posts {
        let facility = &scene.site(post.place)?.facility.name;
        writeln!(text, "  {}  {:<5} {facility}, {}", post.kiosk.address(), post.key, post.kiosk.name)?;
    }
    staff(scene, &mut text)?;
    let tap = short(&binary("carepost-tap")?);
    let demo = short(&binary("carepost-demo")?);
    writeln!(text, "\nTap a badge, from another terminal in {}:\n", here().display())?;
    for post in &scene.posts {
        let uid = scene.site(post.place)?.staff.first().map_or("", |staff| staff.nurse.uid.as_str());
        writeln!(text, "  {tap} --reader {} {uid}", short(post.kiosk.reader()?.socket()))?;
    }
    if let Some(why) = &scene.no_pcscd {
        writeln!(text, "\nThese badges are scripted, not read through pcscd: {why}.")?;
    }
    writeln!(text, "\nCut a kiosk's network, and restore it:\n\n  {demo} cut hall\n  {demo} restore hall")?;
    server(scene, &mut text)?;
    text.push_str("\nCtrl-C stops everything.");
    Ok(text)
}

fn staff(scene: &Scene, text: &mut String) -> Result<()> {
    text.push_str("\nWho has which badge and PIN:\n");
    for site in &scene.sites {
        writeln!(text, "\n  {}", site.facility.name)?;
        for staff in &site.staff {
            let (nurse, role) = (&staff.nurse, staff.role.replace('_', " "));
            writeln!(text, "    {:<15} {role:<18} badge {}  PIN {}", nurse.name, nurse.uid, nurse.pin)?;
        }
    }
    Ok(())
}

fn server(scene: &Scene, text: &mut String) -> Result<()> {
    let server = &scene.server;
    let command = short(&binary("carepost-server")?);
    let session = server.folder.with_file_name("session");
    let slug = &scene.site(Place::Riverside)?.facility.organization.slug;
    writeln!(text, "\nThe server, for administrators and programs, is {}:\n", server.people)?;
    writeln!(text, "  export CAREPOST_CA={} CAREPOST_SESSION={}", short(&server.ca), short(&session))?;
    writeln!(text, "  export CAREPOST_PASSWORD=\"{PASSWORD}\"")?;
    writeln!(text, "  {command} sign-in --of {slug} admin     # or demo-clinic-alpha, demo-clinic-beta")?;
    writeln!(text, "  {command} device list \"Golden Years ALF - Riverside\"")?;
    writeln!(text, "  {command} sign-in root                      # the platform's administrator")?;
    writeln!(text, "  {command} org list")?;
    Ok(())
}

/// A path as it is typed here: relative where it lies beneath this folder.
fn short(path: &Path) -> String {
    path.strip_prefix(here()).unwrap_or(path).display().to_string()
}

fn here() -> std::path::PathBuf {
    std::env::current_dir().unwrap_or_default()
}
