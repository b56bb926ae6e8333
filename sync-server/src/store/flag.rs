//! Flags: what somebody should look at of a change, or of an audit event, that was taken. Each has a name, which is
//! stored and sent, and its words.

macro_rules! flags {
    ($($flag:ident, $name:literal, $words:literal;)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Flag {
            $(#[doc = $words] $flag,)+
        }

        impl Flag {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$flag),+];

            /// As it is stored and sent.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$flag => $name,)+
                }
            }

            /// As people read it.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$flag => $words,)+
                }
            }
        }
    };
}

flags! {
    AuthorityEndedSince, "authority_ended_since", "its author has not the role any more";
    ClockUnset, "clock_unset", "the device's clock was not set";
    ClockUnsure, "clock_unsure", "the device's clock was unsure";
    ClockAhead, "clock_ahead", "the device's clock was ahead";
    PinNotAskedFor, "pin_not_asked_for", "a PIN was chosen that nobody had asked for";
    Implausible, "implausible", "unlikely, and nobody was asked about it";
    SchemaChangedSince, "schema_changed_since", "the form had a later version";
    NotTheirsToCorrect, "not_theirs_to_correct", "the form does not let its author correct that";
    TargetMissing, "target_missing", "what it corrects is not on the server";
    UnknownFields, "unknown_fields", "it has fields that this server does not know";
    ReviewFull, "review_full", "it found the review full";
    Replaced, "replaced", "another had taken the resident's place";
    MrnTaken, "mrn_taken", "the MRN is in use elsewhere";
    PatientWithdrawn, "patient_withdrawn", "the resident's admission was withdrawn";
    ActorUnknown, "actor_unknown", "the user never had a role in the facility";
    PatientUnknown, "patient_unknown", "no such patient was in the facility then";
    DetailsCut, "details_cut", "its details were too large, and are left out";
}

impl Flag {
    /// The one of that name, where this build knows it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|flag| flag.name() == name)
    }
}
