//! The command line.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use clap_complete::Shell;

use super::exit::{BAD_SETTINGS, EXIT_CODES, fail};
use super::facts::Facts;
use crate::settings::Arguments;
use crate::settings::setting::{ALL, Setting, of_the_database};

/// What the program is to do.
pub(super) enum Command {
    Serve(Arguments),
    Check(Arguments),
    /// Whether it is alone asked whether the process lives.
    Probe(Arguments, bool),
    Migrate(Arguments, Migrate),
    Generate(Generated),
}

/// How to migrate.
pub(super) struct Migrate {
    /// Only show what is applied.
    pub(super) status: bool,
    /// Run this one again, which was left half done.
    pub(super) again: Option<i64>,
    /// Take this one, which was left half done, as applied.
    pub(super) as_applied: Option<i64>,
}

/// What goes into a package beside the program.
pub(super) enum Generated {
    Man,
    Completions(Shell),
}

/// There is nothing to do: help was asked for, or the arguments are wrong. The user was told.
pub(super) struct Refused(pub(super) ExitCode);

pub(super) fn read(program: &Facts, given: Vec<OsString>) -> Result<Command, Refused> {
    let found = command(program).try_get_matches_from(given);
    let mut found = found.map_err(|error| Refused(refuse(program.name, &error)))?;
    let all = || settings(program);
    Ok(match found.remove_subcommand() {
        Some((name, found)) => match name.as_str() {
            "serve" => Command::Serve(arguments(all(), &found)),
            "check" => Command::Check(arguments(all(), &found)),
            "probe" => Command::Probe(arguments(all(), &found), found.get_flag("live")),
            "migrate" => {
                let how = Migrate {
                    status: found.get_flag("status"),
                    again: found.get_one("again").copied(),
                    as_applied: found.get_one("as-applied").copied(),
                };
                Command::Migrate(arguments(of_the_database(), &found), how)
            }
            _ => match found.subcommand() {
                Some(("completions", found)) => Command::Generate(Generated::Completions(
                    found.get_one("shell").copied().unwrap_or(Shell::Bash),
                )),
                _ => Command::Generate(Generated::Man),
            },
        },
        None => return Err(Refused(fail(program.name, BAD_SETTINGS, &["say what to do: see --help"]))),
    })
}

/// The settings of every program, and its own.
fn settings(program: &Facts) -> impl Iterator<Item = &'static Setting> {
    ALL.iter().chain(program.settings)
}

fn command(program: &Facts) -> clap::Command {
    let part = |name, about| clap::Command::new(name).about(about).after_help(EXIT_CODES);
    let version = |name, about| {
        Arg::new(name).long(name).value_name("VERSION").help(about).value_parser(value_parser!(i64))
    };
    let shell = Arg::new("shell").required(true).help("Which shell").value_parser(value_parser!(Shell));
    let live = Arg::new("live").long("live").action(ArgAction::SetTrue);
    let live = live.help("Ask only whether the process lives, whatever its database does");
    let command = clap::Command::new(program.name)
        .version(program.version)
        .about(program.about)
        .after_help(EXIT_CODES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(part("serve", "Serve the endpoints until SIGTERM or Ctrl-C").args(args(settings(program))))
        .subcommand(
            part("check", "Look whether the settings and the database are as serve needs them, and change nothing")
                .long_about(
                    "Look whether the settings and the database are as serve needs them, and change nothing\n\nA line for each thing \
                     looked at; exit code 0 if all is well, 1 if the database is not, 2 if a setting is not.",
                )
                .args(args(settings(program))),
        )
        .subcommand(
            part("probe", "Ask the program that runs with these settings whether it is ready")
                .long_about(
                    "Ask the program that runs with these settings whether it is ready, where METRICS_ADDR says\n\nExit code 0 if it is, 1 \
                     if it is not or does not answer within 2 s. It is a health check for images without a shell.",
                )
                .args(args(settings(program)))
                .arg(live),
        )
        .subcommand(
            clap::Command::new("generate")
                .about("Write the manual page or shell completions to standard output")
                .hide(true)
                .subcommand_required(true)
                .subcommand(clap::Command::new("man").about("The manual page, for section 1"))
                .subcommand(
                    clap::Command::new("completions").about("What completes the command line in a shell").arg(shell),
                ),
        );
    if program.migrations.is_empty() {
        return command;
    }
    let status = Arg::new("status").long("status").action(ArgAction::SetTrue);
    let status = status.help("Say which are applied, and change nothing; exit code 4 if one is missing");
    let again = "Run this one again, which was left half done: look first at what it left behind";
    let as_applied =
        "Take this one, which was left half done, as applied: look first whether all of it is there";
    let migrate = part("migrate", "Apply the migrations that are not applied yet")
        .args(args(of_the_database()))
        .arg(status)
        .arg(version("again", again).conflicts_with("status"))
        .arg(version("as-applied", as_applied).conflicts_with_all(["status", "again"]));
    command.subcommand(migrate)
}

fn args(settings: impl Iterator<Item = &'static Setting>) -> Vec<Arg> {
    let arg = |name: String, long: String| {
        Arg::new(name.clone()).long(long).env(name).hide_env_values(true).value_parser(ValueParser::string())
    };
    let mut all = Vec::new();
    for setting in settings {
        let Setting { name, value, help, .. } = *setting;
        all.push(arg(name.to_owned(), setting.long()).value_name(value).help(help));
        if setting.is_secret {
            let (file, long) = (file_of(name), format!("{}-file", setting.long()));
            all.push(arg(file, long).value_name("FILE").help(format!("A file with what {name} would say")));
        }
    }
    all
}

fn arguments(settings: impl Iterator<Item = &'static Setting>, found: &ArgMatches) -> Arguments {
    let names = settings.flat_map(|setting| {
        let file = setting.is_secret.then(|| file_of(setting.name));
        std::iter::once(setting.name.to_owned()).chain(file)
    });
    Arguments::new(names.map(|name| {
        let value = found.get_one::<String>(&name).cloned();
        (name, value)
    }))
}

fn file_of(name: &str) -> String {
    format!("{name}_FILE")
}

/// Writes the manual page or a shell's completions.
pub(super) fn generate(program: &Facts, what: Generated, to: &mut dyn io::Write) -> io::Result<()> {
    let mut command = command(program);
    match what {
        Generated::Man => {
            clap_mangen::Man::new(command.clone()).render(to)?;
            // the options are those of its commands, each a page of its own by convention; here one has them all
            command.build();
            let parts = command.get_subcommands();
            for part in parts.filter(|part| !part.is_hide_set() && part.get_name() != "help") {
                writeln!(to, ".SH \"{}\"", part.get_name().to_uppercase())?;
                clap_mangen::Man::new(part.clone()).render_options_section(to)?;
            }
            writeln!(to, ".SH ENVIRONMENT\nEvery option of serve can be given here; an option wins.")?;
            let serve = command.find_subcommand("serve");
            for option in serve.into_iter().flat_map(clap::Command::get_arguments) {
                if let (Some(variable), Some(flag)) = (option.get_env(), option.get_long()) {
                    let flag = flag.replace('-', "\\-");
                    writeln!(to, ".TP\n\\fB{}\\fR\n\\-\\-{flag}", variable.display())?;
                }
            }
            Ok(())
        }
        Generated::Completions(shell) => {
            clap_complete::generate(shell, &mut command, program.name, to);
            Ok(())
        }
    }
}

/// Help, or what is wrong with the arguments. Of one that is not known only a flag's name is shown: whatever else it is may
/// have a password in it.
fn refuse(name: &str, error: &clap::Error) -> ExitCode {
    let is_name = |text: &str| {
        let name = text.strip_prefix("--").unwrap_or_default();
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    let shown = match error.kind() {
        ErrorKind::UnknownArgument => {
            matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(text)) if is_name(text))
        }
        ErrorKind::InvalidSubcommand
        | ErrorKind::InvalidValue
        | ErrorKind::TooManyValues
        | ErrorKind::ValueValidation => false,
        _ => true,
    };
    if !shown {
        let text = format!("an argument is not known, or lacks its value: see {name} --help");
        return fail(name, BAD_SETTINGS, &[text]);
    }
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(BAD_SETTINGS) } else { ExitCode::SUCCESS }
}
