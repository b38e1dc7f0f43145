//! The application both of pgspan's hosts serve: two numbers added, and users that are stored all or none.
//!
//! It is a crate of its own so that it can use nothing a user of pgspan can't. Business code ([`add`], [`users`]) takes a
//! session; [`router`] puts it behind HTTP, and neither knows which host it runs on.

mod add;
mod handlers;
mod router;
pub mod users;

pub use add::{Sum, add, sum};
pub use router::router;
