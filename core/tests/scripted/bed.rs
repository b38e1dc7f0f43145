//! What the tests stand on: a database on a scripted server, and an executor that notices a hang.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use pgspan::testing::{Backend, ConnectionLog, Reply, ScriptedDriver, Statement, Status};
use pgspan::{Database, Settings};

pub(crate) struct Bed {
    pub(crate) driver: ScriptedDriver,
    pub(crate) db: Database,
    backend: Backend,
}

/// One statement every script answers: what the next one sees.
pub(crate) const NEXT: &str = "SELECT 42::int8 AS answer";

impl Bed {
    pub(crate) fn new(script: impl FnMut(&Statement<'_>) -> Reply + Send + 'static) -> Bed {
        Bed::with(Settings::default(), script)
    }

    pub(crate) fn with(
        settings: Settings,
        mut script: impl FnMut(&Statement<'_>) -> Reply + Send + 'static,
    ) -> Bed {
        let (driver, backend) = ScriptedDriver::new(move |statement| match statement.text() {
            NEXT => Reply::value("answer", 42_i64),
            _ => script(statement),
        });
        Bed { db: pgspan::connect_with(driver.clone(), settings), driver, backend }
    }

    /// Drives a future to its end; time passes when nothing else can happen, and a hang is a panic.
    pub(crate) fn run<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(self.backend.run(future));
        let flag = Arc::new(Flag::default());
        let waker = Waker::from(flag.clone());
        for _ in 0..1_000_000 {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            assert!(flag.0.swap(false, Ordering::Relaxed), "nothing can go on any more: it hangs");
        }
        panic!("it runs in circles");
    }

    /// Polls the backend once, which moves what can move by a step or two; says whether more can.
    pub(crate) fn step(&mut self) -> bool {
        let flag = Arc::new(Flag::default());
        let _ = Pin::new(&mut self.backend).poll(&mut Context::from_waker(&Waker::from(flag.clone())));
        flag.0.load(Ordering::Relaxed)
    }

    /// Lets everything happen that can without time passing.
    pub(crate) fn settle(&mut self) {
        assert!((0..100_000).any(|_| !self.step()), "it does not come to rest");
    }

    /// The next session works, and is not given what was left over for another.
    pub(crate) fn the_next_session_works(&mut self) {
        let db = self.db.clone();
        let answer: i64 =
            self.run(async { db.session().await?.fetch_one(NEXT).await }).expect("the next session");
        assert_eq!(answer, 42);
        self.settle();
        self.nothing_is_left_open();
    }

    /// No connection in the pool is in a transaction or owes an answer; every other exclusive one has ended.
    pub(crate) fn nothing_is_left_open(&self) {
        for log in self.driver.connections().iter().filter(|log| !log.dialled) {
            match log.idle {
                true => assert!(log.status == Status::Idle && log.unanswered == 0, "in the pool: {log:?}"),
                false => assert!(log.ended, "neither in the pool nor ended: {log:?}"),
            }
        }
    }

    pub(crate) fn connection(&self, number: usize) -> ConnectionLog {
        self.driver.connections().remove(number)
    }
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls once.
pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
