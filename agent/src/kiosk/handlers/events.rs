//! `/events`: tells an open page which screen is the right one now, and that something on it changed.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio::time::timeout;

use super::super::Kiosk;
use super::super::renderers::shell as page;
use super::super::serve::Closing;

/// How often a page hears that the agent lives; it goes blank after missing two.
const BEAT: Duration = Duration::from_secs(10);

/// What a page hears.
#[derive(Serialize)]
struct News {
    /// The key of the screen that is right now; a page of another screen goes blank.
    screen: String,
    /// Counts visible changes.
    bump: u64,
}

pub(crate) async fn listen(State(kiosk): State<Kiosk>, closing: Option<Extension<Closing>>) -> Response {
    let Ok(place) = kiosk.streams.clone().try_acquire_owned() else {
        let words = "Too many kiosk pages are open on this device. Close the others.";
        return (StatusCode::SERVICE_UNAVAILABLE, words).into_response();
    };
    let changes = kiosk.device.changes();
    let news =
        stream::unfold((kiosk, changes, place, true), |(kiosk, mut changes, place, first)| async move {
            if !first && let Ok(Err(_)) = timeout(BEAT, changes.changed()).await {
                // The device is gone: the page goes blank when the stream ends.
                return None;
            }
            let bump = *changes.borrow_and_update();
            // Without an answer the stream ends, and the page goes blank.
            let screen = kiosk.ask(crate::device::Device::screen).await.ok()?;
            let news = News { screen: page::screen_key(&screen), bump };
            let event = Event::default().json_data(news).ok()?;
            Some((Ok::<_, Infallible>(event), (kiosk, changes, place, false)))
        });
    // An open page would hold up the agent's end.
    let closing = async move {
        match closing {
            Some(Extension(closing)) => closing.wait().await,
            None => std::future::pending().await,
        }
    };
    Sse::new(news.take_until(closing)).into_response()
}
