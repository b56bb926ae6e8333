//! Scoped handles: each is made for a scope, and its methods take no tenant.

mod changes;
pub(super) mod facility;
pub(super) mod organization;
pub(super) mod system;
