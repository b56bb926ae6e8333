//! The key of an operator's command on a file to what no scope reaches: made by [`super`] alone.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct OperatorKey(());

pub(super) const KEY: OperatorKey = OperatorKey(());
