//! Crossings: who reaches across scopes. Each has a key that nobody else can make: its maker is private to the one
//! module.

use super::engine::operator::OperatorKey;
use super::handles::system::key::SystemKey;
use super::rules::enrollment::key::LobbyKey;

/// On whose behalf statements reach what no scope does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crossing {
    /// What [`super::SystemStore`] lists.
    System(SystemKey),
    /// The steps of the lobby.
    Lobby(LobbyKey),
    /// The command of an operator, who has the file and its key.
    Operator(OperatorKey),
}
