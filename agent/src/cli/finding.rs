//! Findings: what a check of the doctor's found.

/// What a check found.
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    pub(super) words: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Well,
    /// It works, and somebody should know.
    Mind,
    /// It could not be looked at: it may be well, and may not.
    Unseen,
    Wrong,
}

impl Verdict {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Mind => "note",
            Self::Unseen => "UNSEEN",
            Self::Wrong => "WRONG",
        }
    }
}

pub(super) fn finding(check: &'static str, verdict: Verdict, words: impl Into<String>) -> Finding {
    Finding { check, verdict, words: words.into() }
}
