//! The system store's key to what no scope reaches: made by [`super`] alone.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct SystemKey(());

pub(super) const KEY: SystemKey = SystemKey(());
