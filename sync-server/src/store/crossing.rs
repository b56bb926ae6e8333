//! Who reaches across scopes. Each has a key that nobody else can make: its field is private to the one file.

use super::engine::OperatorKey;
use super::handles::system::SystemKey;
use super::rules::enrollment::LobbyKey;

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
