//! The start page: a file that the browser's user alone can read. Opened in a browser, it brings this start's
//! token to the kiosk, so that the token stands on no command line.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

/// Where the machine's users are listed.
const USERS: &str = "/etc/passwd";

/// A user of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalUser {
    /// Its number.
    pub uid: u32,
    /// Its own group's number.
    pub gid: u32,
}

/// Why the browser's user is not known.
#[derive(Debug, thiserror::Error)]
pub enum NoUser {
    /// There is none of that name.
    #[error("kiosk.browser_user: this machine has no user {0:?}; make it, or name the user of the browser")]
    Unknown(String),
    /// The list of users cannot be read.
    #[error("kiosk.browser_user: cannot read {USERS}: {0}")]
    Unreadable(#[from] io::Error),
}

impl LocalUser {
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<Self, NoUser> {
        let users = std::fs::read_to_string(USERS)?;
        Self::listed(&users, name).ok_or_else(|| NoUser::Unknown(name.to_owned()))
    }

    fn listed(users: &str, name: &str) -> Option<Self> {
        let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        fields.into_iter().find_map(|fields| match fields.as_slice() {
            [listed, _, uid, gid, ..] if *listed == name => {
                Some(Self { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
            }
            _ => None,
        })
    }
}

/// Writes the start page of the kiosk at `bound`, whole or not at all. Its reader is the agent's own user, or
/// the browser's own group: the directory hands that to what is made in it (setgid), so that the agent need
/// neither be a member of it nor give anything away.
///
/// # Errors
/// When others could write in its directory, that hands on another group, or the disk refuses.
pub fn write(path: &Path, bound: SocketAddr, token: &SecretString, group: Option<u32>) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let own = rustix::process::geteuid().as_raw();
    let metadata = std::fs::metadata(directory)?;
    if ![0, own].contains(&metadata.uid()) || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other("others can write in its directory"));
    }
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    if let Some(group) = group {
        if file.metadata()?.gid() != group {
            let words =
                "its directory does not hand the browser's group on: give it that group, and mode 2750";
            return Err(io::Error::other(words));
        }
        file.set_permissions(Permissions::from_mode(0o640))?;
    }
    write!(
        file,
        "<!doctype html><title>Carepost</title>\n\
         <meta http-equiv=\"refresh\" content=\"0; url=http://{bound}/?start={}\">\n",
        token.expose_secret()
    )?;
    std::fs::rename(&fresh, path)
}

/// Whether the start page is there for one user alone: that one, where it is not the agent's own.
///
/// # Errors
/// With what is wrong and what to do.
pub fn readable_by(path: &Path, user: Option<LocalUser>) -> Result<(), String> {
    let page = std::fs::metadata(path).map_err(|error| format!("{error}; is the agent running?"))?;
    if page.mode() & 0o007 != 0 {
        return Err("everybody can read it; restart the agent".to_owned());
    }
    let in_group = |user: LocalUser| page.gid() == user.gid && page.mode() & 0o040 != 0;
    if user.is_some_and(|user| page.uid() != user.uid && !in_group(user)) {
        let words = "the browser's user cannot read it; see tmpfiles.d/carepost.conf, and restart the agent";
        return Err(words.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\nkiosk2:x:7:8::/:/bin/sh\nkiosk:x:990:991:A:/home:/bin/sh\nodd\n";
        assert_eq!(LocalUser::listed(users, "kiosk"), Some(LocalUser { uid: 990, gid: 991 }));
        assert_eq!(LocalUser::listed(users, "kios"), None);
        assert_eq!(LocalUser::listed(users, "odd"), None);
        assert!(LocalUser::named("nobody of that name").unwrap_err().to_string().contains("no user"));
    }

    #[test]
    fn the_start_page_is_its_readers_alone_and_is_not_written_where_others_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("start.html");
        let bound = SocketAddr::from(([127, 0, 0, 1], 3002));
        let group = std::fs::metadata(folder.path()).unwrap().gid();
        for (token, group, mode) in [("aa", None, 0o600), ("bb", Some(group), 0o640)] {
            write(&path, bound, &SecretString::from(token), group).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, mode);
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(&format!("url=http://127.0.0.1:3002/?start={token}\"")), "{text}");
        }
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let cc = SecretString::from("cc");
        let refused = write(&path, bound, &cc, None).unwrap_err();
        assert!(refused.to_string().contains("others can write"));
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        let refused = write(&path, bound, &cc, Some(group + 1)).unwrap_err();
        assert!(refused.to_string().contains("mode 2750"));
        assert!(!std::fs::read_to_string(&path).unwrap().contains("cc"));
    }
}
