//! A program around your router: a command line, settings, logs, signals, migrations, probes, metrics, an orderly end, exit codes.
//!
//! See [the crate](crate) for one in a few lines.
//!
//! It has the commands `serve`, `check`, `probe` and, if you give it [migrations](Program::migrations), `migrate`. It is
//! set by the variables and flags of docs/operations.md, and by [your own](Program::settings). `native-server/examples/notes.rs` is
//! such a program, with migrations.
//!
//! Around the routes comes [`pgspan_http::service`], unless it is [bare](Program::bare): `/livez` says that the process answers,
//! `/readyz` that a session can be had and that every migration is applied.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use axum::Router;
use pgspan::{Result, Sql};

use crate::migrate::Migration;
use crate::settings::Arguments;
use crate::workers::Workers;
use command_line::{Command, Refused};
use exit::{FAILED, code_of, fail};
use facts::{Around, Facts};
use read::{AllSettings, Read};

mod checking;
mod command_line;
mod exit;
mod facts;
mod given;
mod hangup;
mod host;
mod migrating;
mod probe;
mod read;
mod serving;

pub use crate::settings::setting::Setting;
pub use given::Given;
pub use host::Host;

/// A program that serves a router. `S` are the [settings](Program::settings) of its own.
pub struct Program<S = ()> {
    facts: Facts,
    read: Box<Read<S>>,
}

impl Program {
    /// A program of this name: its messages begin with it, and PostgreSQL shows it as `application_name`.
    pub fn new(name: &'static str) -> Program {
        let facts = Facts {
            name,
            version: "unknown",
            about: "",
            application_name: name,
            metric_prefix: "pgspan",
            migrations: &[],
            settings: &[],
            around: Around::Recorded,
        };
        Program { facts, read: Box::new(|_| Ok(())) }
    }

    /// Settings of its own: they are flags and variables as the others are, in the help and on the manual page.
    ///
    /// `read` makes of them what the router needs ([`Host::settings`]). `check` calls it too, so that what is wrong with them is
    /// told with everything else: do nothing but read in it.
    pub fn settings<S>(
        self,
        settings: &'static [Setting],
        read: impl Fn(&mut Given<'_>) -> Result<S> + 'static,
    ) -> Program<S> {
        Program { facts: Facts { settings, ..self.facts }, read: Box::new(read) }
    }
}

impl<S> Program<S> {
    /// What `--version` says: `env!("CARGO_PKG_VERSION")`.
    #[must_use]
    pub fn version(self, version: &'static str) -> Program<S> {
        Program { facts: Facts { version, ..self.facts }, ..self }
    }

    /// What it is, in a line for the help.
    #[must_use]
    pub fn about(self, about: &'static str) -> Program<S> {
        Program { facts: Facts { about, ..self.facts }, ..self }
    }

    /// The schema it needs, from a folder that is read when it is compiled: `migrations!("migrations")`. The command `migrate` applies
    /// them; `serve` does not.
    #[must_use]
    pub fn migrations(self, migrations: &'static [Migration]) -> Program<S> {
        Program { facts: Facts { migrations, ..self.facts }, ..self }
    }

    /// What PostgreSQL calls its connections, unless the URL says it. Default: its name.
    #[must_use]
    pub fn application_name(self, name: &'static str) -> Program<S> {
        Program { facts: Facts { application_name: name, ..self.facts }, ..self }
    }

    /// What the names of its metrics begin with. Default: `pgspan`, as docs/operations.md has them.
    #[must_use]
    pub fn metric_prefix(self, prefix: &'static str) -> Program<S> {
        Program { facts: Facts { metric_prefix: prefix, ..self.facts }, ..self }
    }

    /// The statement that asks whether the schema is there: see [`pgspan_http::service`]. Default: whether every
    /// [migration](Program::migrations) is recorded in `public.pgspan_migrations`, which the user must be allowed to read.
    #[must_use]
    pub fn ready_when(self, is_ready: fn() -> Sql<'static>) -> Program<S> {
        Program { facts: Facts { around: Around::ReadyWhen(is_ready), ..self.facts }, ..self }
    }

    /// Serves the router as it is, without [`pgspan_http::service`] around it. It has the probes itself then, and keeps
    /// `REQUEST_TIMEOUT_MS` itself.
    #[must_use]
    pub fn bare(self) -> Program<S> {
        Program { facts: Facts { around: Around::Bare, ..self.facts }, ..self }
    }

    /// Does what the command line says, and gives the exit code. `routes` makes what `serve` serves.
    ///
    /// Around the routes comes [`pgspan_http::service`]: the probes, a deadline for each request, request ids, and errors as
    /// problem+json.
    pub fn run(self, routes: impl AsyncFnOnce(&mut Host<S>) -> Result<Router>) -> ExitCode {
        self.run_from(std::env::args_os(), routes)
    }

    /// The same with another command line than the process's, whose first word is the program's name.
    pub fn run_from<A: Into<OsString>>(
        self,
        command_line: impl IntoIterator<Item = A>,
        routes: impl AsyncFnOnce(&mut Host<S>) -> Result<Router>,
    ) -> ExitCode {
        let command_line = command_line.into_iter().map(Into::into).collect();
        let Program { facts, read } = self;
        let name = facts.name;
        let read = |arguments: &Arguments| AllSettings::read(arguments, facts.application_name, &*read);
        match command_line::read(&facts, command_line) {
            Ok(Command::Serve(arguments)) => match read(&arguments) {
                Ok(read) => run(name, read.settings.worker_threads, |workers| {
                    serving::serve(&facts, arguments, read, workers, routes)
                }),
                Err(faults) => fail(name, code_of(&faults), &faults),
            },
            Ok(Command::Check(arguments)) => run(name, 1, |_| checking::check(&facts, read(&arguments))),
            Ok(Command::Probe(arguments, live)) => run(name, 1, |_| probe::probe(name, &arguments, live)),
            Ok(Command::Migrate(arguments, how)) => {
                run(name, 1, |_| migrating::migrate(&facts, &arguments, &how))
            }
            Ok(Command::Generate(what)) => match command_line::generate(&facts, what, &mut io::stdout()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(name, FAILED, &[error]),
            },
            Err(Refused(code)) => code,
        }
    }
}

fn run<P: Future<Output = ExitCode>>(
    name: &str,
    threads: usize,
    program: impl FnOnce(Workers) -> P,
) -> ExitCode {
    let (workers, runtime) = match Workers::start(threads) {
        Ok(started) => started,
        Err(error) => return fail(name, FAILED, &[format!("the threads can't start: {error}")]),
    };
    let code = runtime.block_on(program(workers));
    runtime.shutdown_background();
    code
}

impl<S> std::fmt::Debug for Program<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("name", &self.facts.name).finish_non_exhaustive()
    }
}
