//! The rules of the house that neither the compiler nor clippy knows.
//!
//! Each rule is a function from the project's files to what breaks it, with two tests: the project keeps
//! it, and a planted breach is found. A rule that cannot fail is no rule.

mod documents;
mod edges;
mod glossary;
mod sources;
mod store;
mod tree;

/// Fails with every breach on a line of its own, so that one run shows all there is to mend.
#[track_caller]
fn assert_kept(breaches: &[String]) {
    assert!(breaches.is_empty(), "{} breach(es):\n  {}", breaches.len(), breaches.join("\n  "));
}

/// Fails unless the rule finds the planted breach and names what `naming` says.
#[track_caller]
fn assert_found(breaches: &[String], naming: &str) {
    assert_eq!(breaches.len(), 1, "one planted breach should be found once: {breaches:?}");
    assert!(breaches[0].contains(naming), "the breach should name {naming:?}: {}", breaches[0]);
}
