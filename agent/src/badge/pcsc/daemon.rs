//! The daemon watch: the thread that watches the daemon and its list of readers.

use std::io;
use std::thread;
use std::time::Duration;

use pcsc::{Context, Error, PNP_NOTIFICATION, ReaderState, Scope, State};

use super::{Crew, Gone, Note, WAIT};

/// Starts watching.
pub(super) fn watch(crew: Crew) -> io::Result<()> {
    thread::Builder::new().name("badge-daemon".to_owned()).spawn(move || {
        // It returns when the source is stopped or nobody listens.
        let _gone = run(&crew);
    })?;
    Ok(())
}

/// How long after a refusal the service is asked again. A refusal costs microseconds.
const RETRY: Duration = Duration::from_millis(250);

fn run(crew: &Crew) -> Result<(), Gone> {
    while !crew.stopping() {
        // A context outlives its daemon in name only: after any failure a new one is needed.
        if let Ok(context) = Context::establish(Scope::User) {
            follow(&context, crew)?;
        }
        crew.note(Note::ServiceDown)?;
        thread::sleep(RETRY);
    }
    Ok(())
}

/// Returns when the service fails or the source stops.
fn follow(context: &Context, crew: &Crew) -> Result<(), Gone> {
    let mut hotplug = [ReaderState::new(PNP_NOTIFICATION(), State::UNAWARE)];
    while !crew.stopping() {
        let Ok(readers) = context.list_readers_owned() else { return Ok(()) };
        crew.note(Note::Readers(readers))?;
        match context.get_status_change(WAIT, &mut hotplug) {
            // A reader that came between the list and the wait is found by the next list.
            Ok(()) | Err(Error::Timeout) => hotplug.iter_mut().for_each(ReaderState::sync_current_state),
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}
