//! What a program is.

use pgspan::Sql;

use crate::migrate::Migration;
use crate::settings::setting::Setting;

/// What a program is, without what its router is made of.
pub(super) struct Facts {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) about: &'static str,
    pub(super) application_name: &'static str,
    pub(super) metric_prefix: &'static str,
    pub(super) migrations: &'static [Migration],
    /// Those of its own.
    pub(super) settings: &'static [Setting],
    pub(super) around: Around,
}

/// What comes around the routes.
#[derive(Clone, Copy)]
pub(super) enum Around {
    /// Nothing.
    Bare,
    /// A service that is ready when every migration is recorded.
    Recorded,
    /// A service that is ready when this statement says so.
    ReadyWhen(fn() -> Sql<'static>),
}
