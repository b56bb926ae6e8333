//! Renderers: what the workspace says, as pages.

pub(super) mod field;
pub(super) mod form;
pub(super) mod older;
pub(super) mod residents;
pub(super) mod reviews;
pub(super) mod shell;
pub(super) mod words;
