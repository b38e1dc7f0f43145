//! An error as the server sends it.

use std::fmt;

/// An error as the server sends it.
#[derive(Clone)]
pub(super) struct Failure {
    pub(super) fatal: bool,
    pub(super) fields: Vec<(u8, String)>,
}

impl Failure {
    pub(super) fn new(sqlstate: &str) -> Failure {
        Failure { fatal: false, fields: vec![(b'C', sqlstate.to_owned()), (b'M', "scripted".to_owned())] }
    }

    pub(super) fn set(&mut self, field: u8, text: &str) {
        self.fields.retain(|(set, _)| *set != field);
        self.fields.push((field, text.to_owned()));
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = (u8, &str)> {
        let severity = if self.fatal { "FATAL" } else { "ERROR" };
        let fields = self.fields.iter().map(|(field, text)| (*field, text.as_str()));
        [(b'S', severity), (b'V', severity)].into_iter().chain(fields)
    }

    /// Whether PostgreSQL finds this while it parses, before it says anything else.
    pub(super) fn is_found_early(&self) -> bool {
        self.fields().any(|(field, text)| field == b'C' && (text.starts_with("42") || text == "25P02"))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.fields().map(|(field, text)| (char::from(field), text))).finish()
    }
}
