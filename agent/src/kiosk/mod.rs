//! The kiosk's pages: rendered here, on loopback only, from what the desk says.
//!
//! [`guard`](KioskConfig) stands before every page; `pages` shows, `acts` takes what people do, `events`
//! tells an open page that something changed. No page but that of older entries waits for the network: the
//! desk answers all.

mod acts;
mod events;
mod field;
mod form;
mod guard;
mod looks;
mod older;
mod owner;
mod page;
mod pages;
mod residents;
mod serve;
pub mod start;
mod status;
#[cfg(test)]
mod tests;
mod words;

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

pub use guard::{Doorway, KioskConfig, MAX_BODY};
pub use owner::Owner;
pub use serve::{Limits, NotServed, serve};
pub use words::not_trusted;

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
        .route("/admit/known/{id}", post(acts::is_known))
        .route("/attention", get(pages::attention))
        .merge(of_form("/attention/{n}"))
        .route("/reviews", get(pages::reviews))
        .route("/reviews/{id}", post(acts::close_review))
        .route("/reviews/{id}/same/{other}", get(pages::join))
        .route("/pin", post(acts::enter_pin))
        .route("/pin/cancel", post(acts::cancel_pin))
        .route("/lock", post(acts::lock))
        .route("/lock/undo", post(acts::undo_lock))
        .route("/touch", post(acts::touch))
        .route("/enroll", post(acts::enroll_anew))
        .route("/events", get(events::listen))
        .route("/assets/kiosk.css", get(pages::style))
        .route("/assets/kiosk.js", get(pages::script))
        .route("/assets/icon.svg", get(pages::icon))
        .fallback(pages::nowhere)
        .layer(middleware::from_fn_with_state(kiosk.clone(), notice_touch))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::new(config), guard::stand))
        .with_state(kiosk)
}

/// A form, and what becomes of what is typed into it.
fn of_form(path: &str) -> Router<Kiosk> {
    Router::new()
        .route(path, get(pages::form).post(acts::save))
        .route(&format!("{path}/draft"), post(acts::keep_draft))
        .route(&format!("{path}/discard"), post(acts::discard))
        .route(&format!("{path}/undo"), post(acts::undo_discard))
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
    ) -> Result<Result<T, E>, page::Fault>
    where
        T: Send + 'static,
        E: From<Refused> + Send + 'static,
    {
        self.ask(|device| question(&*device.workspace().ok_or(Refused::Locked)?)).await
    }

    /// Asks the device for something that may touch files, off the threads that serve pages.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Device) -> T + Send + 'static,
    ) -> Result<T, page::Fault> {
        let device = Arc::clone(&self.device);
        tokio::task::spawn_blocking(move || question(&device)).await.map_err(|error| {
            tracing::error!(%error, "the device did not answer the kiosk");
            page::Fault
        })
    }
}
