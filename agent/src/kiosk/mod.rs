//! The kiosk's pages, on loopback only: handlers ask the workspace, and renderers show what it says.
//!
//! [`guard`](KioskConfig) checks every request. No page but that of older entries waits for the network.

mod guard;
mod handlers;
mod owner;
mod renderers;
mod serve;
pub mod start;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use crate::device::Device;
use crate::workspace::Workspace;
use crate::workspace::view::Refused;
use handlers::{actions, events, older, pages, status};
use renderers::shell::Fault;

pub use guard::{Doorway, KioskConfig, MAX_BODY};
pub use owner::Owner;
pub use renderers::words::not_trusted;
pub use serve::{Limits, NotServed, serve};

/// How many pages may listen for changes at once; a kiosk has one, a workstation a few tabs.
const STREAMS: usize = 16;

/// What every page is made from.
#[derive(Clone)]
struct Kiosk {
    device: Arc<Device>,
    streams: Arc<Semaphore>,
}

/// The kiosk's pages of a device.
pub fn router(device: Arc<Device>, config: KioskConfig) -> Router {
    let kiosk = Kiosk { device, streams: Arc::new(Semaphore::new(STREAMS)) };
    Router::new()
        .route("/", get(pages::start))
        .route("/status", get(pages::status))
        .route("/status.json", get(status::json))
        .route("/residents/{id}", get(pages::resident))
        .route("/residents/{id}/older", get(older::show))
        .merge(of_form("/residents/{id}/chart/{workflow}"))
        .merge(of_form("/residents/{id}/correct/{record}"))
        .merge(of_form("/residents/{id}/strike/{record}"))
        .merge(of_form("/residents/{id}/edit"))
        .merge(of_form("/residents/{id}/discharge"))
        .merge(of_form("/residents/{id}/readmit"))
        .merge(of_form("/admit"))
        .route("/admit/known/{id}", post(actions::is_known))
        .route("/rejected", get(pages::rejected))
        .merge(of_form("/rejected/{n}"))
        .route("/reviews", get(pages::reviews))
        .route("/reviews/{id}", post(actions::close_review))
        .route("/reviews/{id}/same/{other}", get(pages::join))
        .route("/pin", post(actions::enter_pin))
        .route("/pin/cancel", actions::press(Device::cancel_pin))
        .route("/lock", actions::press(Device::lock))
        .route("/lock/undo", actions::press(Device::undo_lock))
        .route("/touch", post(actions::touch))
        // Whoever presses it can do no harm: an administrator has to let the device in, and what was charted on
        // it is set aside.
        .route("/enroll", actions::press(Device::enroll_anew))
        .route("/events", get(events::listen))
        .route("/assets/kiosk.css", get(pages::style))
        .route("/assets/kiosk.js", get(pages::script))
        .route("/assets/icon.svg", get(pages::icon))
        .fallback(pages::nowhere)
        .layer(middleware::from_fn_with_state(kiosk.clone(), notice_touch))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::new(config), guard::check))
        .with_state(kiosk)
}

/// A form, and what becomes of what is typed into it.
fn of_form(path: &str) -> Router<Kiosk> {
    Router::new()
        .route(path, get(pages::form).post(actions::save))
        .route(&format!("{path}/draft"), post(actions::keep_draft))
        .route(&format!("{path}/discard"), post(actions::discard))
        .route(&format!("{path}/undo"), post(actions::undo_discard))
}

/// A person who follows a link or sends a form is there, also where the script does not run.
async fn notice_touch(State(kiosk): State<Kiosk>, request: Request, next: Next) -> Response {
    if guard::is_touch(request.headers()) {
        // What failed is logged; the request is answered all the same.
        drop(kiosk.ask(Device::touched).await);
    }
    next.run(request).await
}

impl Kiosk {
    /// Asks the workspace for something; where there is none, nobody is signed in.
    async fn work<T, E>(
        &self,
        question: impl FnOnce(&Workspace) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, Fault>
    where
        T: Send + 'static,
        E: From<Refused> + Send + 'static,
    {
        let in_workspace = |device: &Device| {
            let workspace = device.workspace().ok_or(Refused::Locked)?;
            question(&workspace)
        };
        self.ask(in_workspace).await
    }

    /// Asks the device for something that may touch files, off the threads that serve pages.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Device) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let device = Arc::clone(&self.device);
        tokio::task::spawn_blocking(move || question(&device)).await.map_err(|error| {
            tracing::error!(%error, "the device did not answer the kiosk");
            Fault
        })
    }
}
