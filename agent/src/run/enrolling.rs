//! The enrollment's driver: asks the server, keeps each step, shows what to do. A step that is not kept is not done.

use std::sync::Arc;
use std::time::Duration;

use carepost_agent_core::enrollment::{
    EnrollTrouble, Enrollment, EnrollmentEffect, EnrollmentEvent, EnrollmentView, Kept,
};
use carepost_agent_core::sync::Distrust;
use carepost_protocol::wire::enroll::{EnrollRequest, Grant};
use carepost_protocol::wire::problem::{Problem, ProblemKind};
use tokio::task::spawn_blocking;

use super::state_dir::{StateDir, Step};
use crate::config::Config;
use crate::kiosk::not_trusted;
use crate::upstream::{Upstream, UpstreamError};
use crate::workspace::view::Enrolling;

/// How the enrollment ended.
pub(crate) enum Ended {
    Enrolled(Box<Grant>),
    /// The key is refused for good.
    Revoked,
}

/// An enrollment under way.
pub(crate) struct Enroller<'a> {
    state: &'a Arc<StateDir>,
    upstream: &'a Upstream,
    server: String,
    machine: Enrollment,
    hostname: String,
    /// Why the server did not answer, as it was last logged.
    trouble: Option<String>,
    /// Whether it answered last, be it with a refusal.
    is_reached: bool,
    /// Why the server refused the token that it was given last.
    token_refused: Option<String>,
}

impl<'a> Enroller<'a> {
    pub(crate) fn new(config: &Config, state: &'a Arc<StateDir>, upstream: &'a Upstream) -> Self {
        Self {
            state,
            upstream,
            server: server_name(config),
            machine: Enrollment::default(),
            hostname: hostname(),
            trouble: None,
            is_reached: false,
            token_refused: None,
        }
    }

    /// What the page shows before the server has answered.
    pub(crate) fn first_screen(config: &Config, state: &StateDir) -> Enrolling {
        Enrolling {
            step: EnrollmentView::Asking,
            trouble: None,
            token_refused: state.kept_enrollment().ok().and_then(|kept| kept.token_refused),
            server: server_name(config),
            device_uuid: state.factors.device_uuid(),
        }
    }

    /// Runs until the device is let in or refused for good, and shows each step, and whether the server is reached.
    pub(crate) async fn run(&mut self, mut show: impl FnMut(Enrolling, bool)) -> anyhow::Result<Ended> {
        let kept = self.state.kept_enrollment()?;
        self.token_refused = kept.token_refused;
        let kept = match kept.step {
            Step::Nothing => Kept::Nothing,
            Step::Asking => Kept::Asking,
            Step::Enrolled => Kept::Enrolled,
            Step::Revoked | Step::Anew => Kept::Revoked,
        };
        let mut next = Some(EnrollmentEvent::Started(kept));
        loop {
            let event = match next.take() {
                Some(event) => event,
                None => {
                    self.wait().await;
                    EnrollmentEvent::Tick
                }
            };
            let clock = &self.state.clock;
            let effects = self.machine.on(event, clock.monotonic(), clock.random_u64());
            let mut ended = None;
            for effect in effects {
                match effect {
                    EnrollmentEffect::Ask => next = Some(self.ask().await?),
                    EnrollmentEffect::Begin => ended = Some(Kept::Enrolled),
                    EnrollmentEffect::Stop => ended = Some(Kept::Revoked),
                    EnrollmentEffect::Keep(_)
                    | EnrollmentEffect::KeepGrant(_)
                    | EnrollmentEffect::ForgetToken { .. } => {
                        if let Err(error) = self.keep(effect).await {
                            // A full disk, most likely: the rest is dropped, and the server asked again.
                            tracing::error!(
                                error = format!("{error:#}"),
                                "a step of the enrollment was not kept"
                            );
                            next = Some(EnrollmentEvent::KeepFailed);
                            break;
                        }
                    }
                }
            }
            match ended {
                Some(Kept::Revoked) => return Ok(Ended::Revoked),
                Some(Kept::Enrolled) => {
                    if let Some(grant) = self.state.vault.grant()? {
                        return Ok(Ended::Enrolled(Box::new(grant)));
                    }
                }
                Some(Kept::Nothing | Kept::Asking) | None => {}
            }
            show(self.screen(), self.is_reached);
        }
    }

    async fn wait(&self) {
        let now = self.state.clock.monotonic();
        let due = self.machine.next_deadline().unwrap_or(now + Duration::from_secs(1));
        tokio::time::sleep(due.saturating_sub(now)).await;
    }

    /// Does an effect that keeps something.
    async fn keep(&mut self, effect: EnrollmentEffect) -> anyhow::Result<()> {
        if let EnrollmentEffect::ForgetToken { detail } = &effect {
            tracing::warn!(why = detail, "the server refused the token: the pairing code goes without one");
            self.token_refused = Some(detail.clone());
        }
        let state = Arc::clone(self.state);
        spawn_blocking(move || keep(&state, &effect)).await?
    }

    async fn ask(&mut self) -> anyhow::Result<EnrollmentEvent> {
        let request = EnrollRequest {
            device_uuid: self.state.factors.device_uuid(),
            mac_addresses: self.state.factors.mac_addresses().to_vec(),
            hostname: self.hostname.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            token: self.state.kept_enrollment()?.token(),
        };
        let with_token = request.token.is_some();
        let asked = self.upstream.enroll(&request).await;
        self.is_reached = matches!(asked, Ok(_) | Err(UpstreamError::Refused(..)));
        Ok(match asked {
            Ok(answer) => {
                if self.trouble.take().is_some() {
                    tracing::info!("the server is reached");
                }
                EnrollmentEvent::Answered(answer)
            }
            Err(error) => {
                let words = error.to_string();
                if self.trouble.as_ref() != Some(&words) {
                    tracing::warn!(%error, "the enrollment was not answered");
                    self.trouble = Some(words);
                }
                EnrollmentEvent::Failed(trouble(error, with_token))
            }
        })
    }

    fn screen(&self) -> Enrolling {
        let (step, trouble) = self.machine.view();
        Enrolling {
            step: step.clone(),
            trouble: trouble.map(in_words),
            token_refused: self.token_refused.clone(),
            server: self.server.clone(),
            device_uuid: self.state.factors.device_uuid(),
        }
    }
}

fn keep(state: &StateDir, effect: &EnrollmentEffect) -> anyhow::Result<()> {
    match effect {
        EnrollmentEffect::KeepGrant(grant) => {
            state.vault.keep_grant(grant)?;
            if let Some(floor) = state.hear_time(grant.server_time, None) {
                state.keep_floor(floor);
            }
            state.keep_step(Step::Enrolled)
        }
        EnrollmentEffect::Keep(kept) => state.keep_step(match kept {
            Kept::Nothing => Step::Nothing,
            Kept::Asking => Step::Asking,
            Kept::Enrolled => Step::Enrolled,
            Kept::Revoked => Step::Revoked,
        }),
        EnrollmentEffect::ForgetToken { detail } => state.forget_token(detail),
        EnrollmentEffect::Ask | EnrollmentEffect::Begin | EnrollmentEffect::Stop => Ok(()),
    }
}

fn trouble(error: UpstreamError, with_token: bool) -> EnrollTrouble {
    match error {
        UpstreamError::Transport(_) => EnrollTrouble::Unreachable,
        UpstreamError::NotTrusted(_) => EnrollTrouble::NotTrusted(Distrust::Theirs),
        UpstreamError::NotAccepted(_) => EnrollTrouble::NotTrusted(Distrust::Ours),
        UpstreamError::Stranger(_) => EnrollTrouble::NotTrusted(Distrust::Stranger),
        UpstreamError::Refused(problem, retry_after) => match problem.kind() {
            Some(ProblemKind::DeviceRevoked) => EnrollTrouble::Revoked,
            Some(ProblemKind::TooManyTries | ProblemKind::Unavailable) => EnrollTrouble::Busy { retry_after },
            _ if problem.status >= 500 => EnrollTrouble::Busy { retry_after },
            // It is not this device's, was used, has run out, or its place is taken.
            Some(ProblemKind::Invalid | ProblemKind::Conflict) if with_token => {
                EnrollTrouble::TokenRefused { detail: why(*problem) }
            }
            _ => EnrollTrouble::Refused { detail: problem.detail },
        },
        UpstreamError::Nonsense(_) | UpstreamError::SetUp(_) => {
            EnrollTrouble::Refused { detail: error.to_string() }
        }
    }
}

pub(super) fn in_words(trouble: &EnrollTrouble) -> String {
    match trouble {
        EnrollTrouble::Unreachable => {
            "The server is not reached. Check the network cable or Wi-Fi; this goes on by itself.".to_owned()
        }
        EnrollTrouble::NotTrusted(whose) => {
            format!("{}. Call your facility's IT: `carepost-agent doctor` says why.", not_trusted(*whose))
        }
        EnrollTrouble::Busy { .. } => "The server is busy; this goes on by itself.".to_owned(),
        EnrollTrouble::Refused { detail } => format!("The server refused: {detail}"),
        EnrollTrouble::TokenRefused { detail } => token_refused(detail),
        EnrollTrouble::Revoked => "The server refuses this device.".to_owned(),
    }
}

/// What is wrong with the token, for whoever gave it.
pub(crate) fn token_refused(why: &str) -> String {
    format!("The server refused the token: {why}. The pairing code works without one.")
}

/// What a problem says of the field that is wrong; it knows more than the problem as a whole.
fn why(problem: Problem) -> String {
    let detail = problem.errors.into_iter().next().map_or(problem.detail, |error| error.detail);
    detail.trim_end_matches('.').to_owned()
}

fn server_name(config: &Config) -> String {
    config.server.url.host_str().unwrap_or_default().to_owned()
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| String::new(), |name| name.trim().to_owned())
}
