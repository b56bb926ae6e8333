//! The lobby's key to what no scope reaches: made by [`super`] alone.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct LobbyKey(());

pub(super) const KEY: LobbyKey = LobbyKey(());
