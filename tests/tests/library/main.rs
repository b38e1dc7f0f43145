//! pgspan against a real PostgreSQL.
