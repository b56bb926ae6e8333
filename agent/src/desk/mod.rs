//! The desk: where session, mirror and outbox meet.

pub mod view;

use std::sync::Mutex;

use carepost_protocol::id::PatientId;
use tokio::sync::watch;

use view::{FormPage, NotSaved, Refused, ResidentPage, Residents, Screen, StatusLine};

/// Answers the kiosk with fixed values.
#[derive(Debug)]
pub struct Desk {
    pub(crate) fixed: Mutex<Fixed>,
    pub(crate) bumps: watch::Sender<u64>,
}

/// What a fixed desk says and what was asked of it.
#[derive(Debug)]
pub(crate) struct Fixed {
    pub(crate) screen: Screen,
    pub(crate) status: StatusLine,
    pub(crate) residents: Result<Residents, Refused>,
    pub(crate) resident: Result<ResidentPage, Refused>,
    pub(crate) form: Result<FormPage, Refused>,
    pub(crate) save: Result<(), NotSaved>,
    pub(crate) asked: Vec<String>,
}

/// What the desk does for the kiosk.
#[allow(missing_docs, clippy::missing_errors_doc, clippy::unwrap_used)]
impl Desk {
    pub fn screen(&self) -> Screen {
        self.fixed.lock().unwrap().screen.clone()
    }
    pub fn status(&self) -> StatusLine {
        self.fixed.lock().unwrap().status.clone()
    }
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.bumps.subscribe()
    }
    fn ask(&self, what: String) {
        self.fixed.lock().unwrap().asked.push(what);
    }
    pub fn touched(&self) {
        self.ask("touched".to_owned());
    }
    pub fn enter_pin(&self, attempt: u64, pin: secrecy::SecretString) {
        use secrecy::ExposeSecret;
        self.ask(format!("pin {attempt} of {} digits", pin.expose_secret().len()));
    }
    pub fn cancel_pin(&self) {
        self.ask("cancel_pin".to_owned());
    }
    pub fn lock(&self) {
        self.ask("lock".to_owned());
    }
    pub fn undo_lock(&self) {
        self.ask("undo_lock".to_owned());
    }
    pub fn residents(&self) -> Result<Residents, Refused> {
        self.fixed.lock().unwrap().residents.clone()
    }
    pub fn resident(&self, _: PatientId) -> Result<ResidentPage, Refused> {
        self.fixed.lock().unwrap().resident.clone()
    }
    pub fn form(&self, _: PatientId, _: &str) -> Result<FormPage, Refused> {
        self.fixed.lock().unwrap().form.clone()
    }
    pub fn save(
        &self,
        _: PatientId,
        workflow: &str,
        token: &str,
        answers: &[(String, String)],
    ) -> Result<(), NotSaved> {
        self.ask(format!("save {workflow} {token} {answers:?}"));
        self.fixed.lock().unwrap().save.clone()
    }
    pub fn keep_draft(
        &self,
        _: PatientId,
        workflow: &str,
        answers: &[(String, String)],
    ) -> Result<(), Refused> {
        self.ask(format!("draft {workflow} {answers:?}"));
        Ok(())
    }
}
