//! The check of a running agent: what it says of itself, for the doctor, who cannot look at what it has open.

use carepost_protocol::wire::heartbeat::ReaderState;

use super::finding::{Finding, Verdict, finding};
use super::status::{ask, ills, text};
use crate::config::Config;

/// Asks the agent that has the state directory.
pub(super) fn running_agent(config: &Config) -> Finding {
    let status = match ask(config) {
        Ok(status) => status,
        Err(error) => {
            let words =
                format!("runs, and does not answer at {}: {error:#}; restart it", config.kiosk.listen);
            return finding("agent", Verdict::Wrong, words);
        }
    };
    let ills = ills(&status).join("; ");
    let is_pending = text(&status, "state") == "PENDING";
    match (is_pending, ills.is_empty()) {
        (true, _) => {
            let step = match (text(&status, "pairing_code"), text(&status, "approved_for")) {
                ("", "") => "no pairing code yet".to_owned(),
                ("", facility) => format!(
                    "approved for {facility}: if it is there, read the two digits on its page to the administrator, \
                     who confirms them"
                ),
                (code, _) => format!("pairing code {code}"),
            };
            let words = format!("not enrolled yet, {step}. {ills}");
            finding("agent", Verdict::Mind, words.trim_end())
        }
        (false, false) => finding("agent", Verdict::Wrong, ills),
        (false, true) => finding("agent", Verdict::Well, "enrolled, and nothing needs attention"),
    }
}

/// How that agent's badge reader is; none where it does not say, or was started without one.
pub(super) fn reader_of_running(config: &Config) -> Option<ReaderState> {
    let reader = serde_json::from_value(ask(config).ok()?.get("reader")?.clone()).ok();
    reader.filter(|reader| *reader != ReaderState::None)
}
