//! A driver without its type, so that `Database` needs no type parameter. Statements and rows are never boxed here.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;

use crate::driver::{Driver, Executor, Link};
use crate::error::{Error, Result};
use crate::guard::Watch;
use crate::prepared::Prepared;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// [`Driver`] without its type.
pub(crate) trait Port: Send + Sync {
    fn acquire(&self) -> BoxFuture<Result<Box<dyn Lease>>>;
    fn dial(&self) -> BoxFuture<Result<Link>>;
    fn sleep(&self, duration: Duration) -> BoxFuture<()>;
    fn now(&self) -> Duration;
    fn executor(&self) -> Executor;
}

/// An exclusive connection without its driver's type. Dropping it ends the connection.
pub(crate) trait Lease: Send + Sync {
    fn client(&self) -> &Client;
    fn refusal(&self) -> Option<Error>;
    fn prepared(&self) -> Option<&Prepared>;
    fn watch(&self) -> &Watch;
    fn recycle(self: Box<Self>);
}

pub(crate) struct Erased<D>(pub(crate) Arc<D>);

impl<D: Driver> Port for Erased<D> {
    fn acquire(&self) -> BoxFuture<Result<Box<dyn Lease>>> {
        let driver = self.0.clone();
        Box::pin(async move {
            let connection = driver.acquire().await?;
            Ok(Box::new(Leased { driver, connection }) as Box<dyn Lease>)
        })
    }

    fn dial(&self) -> BoxFuture<Result<Link>> {
        let driver = self.0.clone();
        Box::pin(async move { driver.dial().await })
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(self.0.sleep(duration))
    }

    fn now(&self) -> Duration {
        self.0.now()
    }

    fn executor(&self) -> Executor {
        self.0.executor()
    }
}

struct Leased<D: Driver> {
    driver: Arc<D>,
    connection: D::Connection,
}

impl<D: Driver> Lease for Leased<D> {
    fn client(&self) -> &Client {
        &self.connection
    }

    fn refusal(&self) -> Option<Error> {
        self.driver.refusal(&self.connection)
    }

    fn prepared(&self) -> Option<&Prepared> {
        self.driver.prepared(&self.connection)
    }

    fn watch(&self) -> &Watch {
        self.driver.watch(&self.connection)
    }

    fn recycle(self: Box<Self>) {
        self.driver.recycle(self.connection);
    }
}
