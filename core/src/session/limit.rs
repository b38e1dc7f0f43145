//! How long a statement may take, on the server and here.

use std::time::Duration;

use pgspan_scan::TimeLimit;

use crate::settings::{Settings, millis};
use crate::sql::Sql;

/// The server's `statement_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Limit {
    /// As the connection was opened.
    #[default]
    Default,
    /// None.
    Unlimited,
    Of(Duration),
}

/// How long we wait for the server to keep its own limit.
const GRACE: Duration = Duration::from_millis(500);

impl Limit {
    /// The statement that sets it: for the transaction, or for the session.
    pub(crate) fn set(self, local: bool) -> Sql<'static> {
        let set = if local { "SET LOCAL" } else { "SET" };
        Sql::new(match self {
            Limit::Default => format!("{set} statement_timeout TO DEFAULT"),
            Limit::Unlimited => format!("{set} statement_timeout TO 0"),
            Limit::Of(limit) => format!("{set} statement_timeout TO {}", millis(limit)),
        })
    }

    /// How long a statement may take.
    pub(crate) fn duration(self, settings: &Settings) -> Duration {
        match self {
            Limit::Default => settings.statement_timeout,
            Limit::Unlimited => Duration::MAX,
            Limit::Of(limit) => limit,
        }
    }

    /// How long we wait for its answer.
    pub(crate) fn deadline(self, settings: &Settings) -> Duration {
        self.duration(settings).saturating_add(GRACE)
    }
}

impl From<TimeLimit> for Limit {
    fn from(limit: TimeLimit) -> Limit {
        match limit {
            TimeLimit::Default => Limit::Default,
            TimeLimit::Unlimited => Limit::Unlimited,
            TimeLimit::Of(limit) => Limit::Of(limit),
        }
    }
}
