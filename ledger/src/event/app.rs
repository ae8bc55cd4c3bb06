//! `app.*`: events of applications. Any JSON object under a kind of their own choosing; chained,
//! stored, filtered and audited like all others, folded by no projection of ours.

/// What every kind of an application's own event starts with.
pub const APP_PREFIX: &str = "app.";
