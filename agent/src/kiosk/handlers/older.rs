//! The page of entries that are on the server alone. It is the one page that waits for the network, for a
//! few seconds at most.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use carepost_protocol::wire::older::OlderQuery;

use super::super::Kiosk;
use super::super::renderers::older;
use super::super::renderers::shell::Fault;
use super::{open_shell, refused, to_start};
use crate::workspace::view::Refused;

pub(crate) async fn show(
    State(kiosk): State<Kiosk>,
    Path(id): Path<String>,
    Query(query): Query<OlderQuery>,
) -> Result<Response, Fault> {
    let Ok(id) = id.parse() else { return Ok(refused(&Refused::NoSuchResident)) };
    let Some((shell, on)) = open_shell(&kiosk).await? else { return Ok(to_start()) };
    let asker = on.clone();
    let answer = match kiosk.ask(move |device| device.ask_older(&asker, id, query.place())).await? {
        Ok(asked) => asked.answer().await,
        Err(why) => return Ok(refused(&why)),
    };
    Ok(match kiosk.work(move |workspace| workspace.older(&on, id, answer)).await? {
        Ok(page) => older::older(shell, page, query.place()),
        Err(why) => refused(&why),
    })
}
