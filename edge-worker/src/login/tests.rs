//! The login against a real PostgreSQL (the one `PGSPAN_TEST_DATABASE_URL` names, else one of its own), and against servers
//! that lie.

mod bed;
mod hostile;
mod opening;
mod real;
