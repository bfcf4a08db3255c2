//! The command line of Tessera.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tessera::client::id::ClientId;
use tessera::client::secret::ClientSecret;
use tessera::clock::Clock;
use tessera::command;
use tessera::config::cli::journal::JournalCommand;
use tessera::config::cli::{Command, DatabaseCommand, Flags, RestoreCommand};
use tessera::config::error::ConfigErrors;
use tessera::config::value::LogFormat;
use tessera::config::{self, Config};
use tessera::journal::disk::create_private_file;
use tessera::server::Server;
use tessera::telemetry::log;
use tessera::telemetry::progress::StartProgress;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Command::read(config::arguments()).unwrap_or_else(|error| error.exit()) {
        Command::Serve(flags) => with_config(&flags, |config| actix_rt::System::new().block_on(serve(&config))),
        Command::Check(flags) => with_config(&flags, |config| check(&config)),
        Command::Client(command) => {
            with_config(command.flags(), |config| ask(command::client::run(&command, &config.storage.data_dir)))
        }
        Command::Grant(command) => {
            with_config(command.flags(), |config| ask(command::grant::run(&command, &config.storage.data_dir)))
        }
        Command::Key(command) => with_config(command.flags(), |config| {
            forbid_core_dumps();
            ask(command::key::run(&command, &config.storage.data_dir))
        }),
        Command::Registration(command) => with_config(command.flags(), |config| {
            forbid_core_dumps();
            ask(command::registration::run(&command, &config.storage.data_dir))
        }),
        Command::User(command) => with_config(command.flags(), |config| {
            forbid_core_dumps();
            ask(command::user::run(&command, &config.storage.data_dir))
        }),
        Command::Snapshot(server) => {
            with_config(server.flags(), |config| ask(command::snapshot::take(&config.storage.data_dir)))
        }
        Command::Backup(backup) => with_config(backup.server.flags(), |config| {
            ask(command::snapshot::back_up(&backup, &config.storage.data_dir))
        }),
        Command::Restore(command) => with_config(command.directory.flags(), |config| restore(&command, &config)),
        Command::Rebuild(command) => with_config(command.flags.flags(), |config| rebuild(&config)),
        Command::Database(command) => {
            let DatabaseCommand::Migrate(flags) = &command;
            with_config(flags.flags(), |config| database(&command, &config))
        }
        Command::Journal(command) => with_config(command.flags(), |config| journal(&command, &config)),
    }
}

fn with_config(flags: &Flags, run: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match Config::load(flags, config::environment(), Path::new(config::DEFAULT_FILE)) {
        Ok(config) => run(config),
        Err(errors) => refuse(&errors),
    }
}

fn refuse(errors: &ConfigErrors) -> ExitCode {
    complain(errors);
    ExitCode::from(config::EXIT_CODE)
}

fn check(config: &Config) -> ExitCode {
    say(&config.effective().iter().map(|line| format!("{line}\n")).collect::<String>());
    ExitCode::SUCCESS
}

/// Waits for what a command answers, and prints it.
fn ask<E: Display>(answer: impl Future<Output = Result<String, E>>) -> ExitCode {
    match actix_rt::System::new().block_on(answer) {
        Ok(answer) => {
            say(&format!("{answer}\n"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn restore(command: &RestoreCommand, config: &Config) -> ExitCode {
    forbid_core_dumps();
    rustix::process::umask(0o077.into());
    conclude(command::restore::run(command, &config.storage), command::restore::RestoreError::exit_code)
}

fn rebuild(config: &Config) -> ExitCode {
    forbid_core_dumps();
    rustix::process::umask(0o077.into());
    let answer = actix_rt::System::new().block_on(command::rebuild::run(config));
    conclude(answer, command::rebuild::RebuildError::exit_code)
}

fn database(command: &DatabaseCommand, config: &Config) -> ExitCode {
    let answer = actix_rt::System::new().block_on(command::database::run(command, &config.database));
    conclude(answer, command::database::DatabaseError::exit_code)
}

/// Prints what a command answers, or why it failed.
fn conclude<E: std::error::Error>(answer: Result<String, E>, exit_code: impl FnOnce(&E) -> u8) -> ExitCode {
    match answer {
        Ok(answer) => {
            say(&format!("{answer}\n"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&with_sources(&error));
            ExitCode::from(exit_code(&error))
        }
    }
}

fn journal(command: &JournalCommand, config: &Config) -> ExitCode {
    forbid_core_dumps();
    match command::journal::run(command, &config.storage, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&with_sources(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

async fn serve(config: &Config) -> ExitCode {
    let form = match config.log.format {
        LogFormat::Auto => log::Form::Auto,
        LogFormat::Text => log::Form::Text,
        LogFormat::Json => log::Form::Json,
    };
    if let Err(error) = log::begin(form, &config.log.filter) {
        complain(&error);
        return ExitCode::from(config::EXIT_CODE);
    }
    forbid_core_dumps();
    raise_open_files();
    // What the process makes is for this user alone, the Unix socket of the admin API above all.
    rustix::process::umask(0o077.into());
    let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    let progress = Arc::new(StartProgress::default());
    let starting = Server::start(config, Clock::system(), Arc::clone(&progress));
    let server = tokio::select! {
        started = showing_progress(starting, &progress) => match started {
            Ok(server) => server,
            Err(error) => {
                tracing::error!(error = with_sources(&error), "the server does not start");
                return ExitCode::from(error.exit_code());
            }
        },
        // Nothing was acknowledged yet, so there is nothing to drain.
        _ = terminate.recv() => return ExitCode::SUCCESS,
        _ = interrupt.recv() => return ExitCode::SUCCESS,
    };
    if let Some((client_id, secret)) = &server.first_admin
        && let Err(error) = hand_over(&server, client_id, secret, &config.storage.data_dir)
    {
        tracing::error!(%error, "the first admin client's credentials cannot be shown: make another with tessera client create");
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: requests that have begun may end");
    match server.stop().await {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error = with_sources(&error), "the end of the journal could not be written");
            ExitCode::FAILURE
        }
    }
}

/// Draws a bar while a start reads for longer than a moment, where somebody is looking.
async fn showing_progress<T>(starting: impl Future<Output = T>, progress: &StartProgress) -> T {
    let style = ProgressStyle::with_template("reading snapshot and journal {bar:40} {bytes}/{total_bytes} {eta}");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut interval = tokio::time::interval(Duration::from_millis(200));
    interval.tick().await;
    tokio::pin!(starting);
    loop {
        tokio::select! {
            started = &mut starting => {
                bar.finish_and_clear();
                return started;
            }
            _ = interval.tick() => {
                bar.set_length(progress.expected_bytes());
                bar.set_position(progress.read_bytes());
            }
        }
    }
}

/// Shows the first admin client's credentials to a person at a terminal, else puts them into a file of their own.
fn hand_over(server: &Server, client_id: &ClientId, secret: &ClientSecret, data_dir: &Path) -> std::io::Result<()> {
    let welcome = welcome(server, client_id, secret);
    if std::io::stdout().is_terminal() {
        return say_or(&welcome);
    }
    let path: PathBuf = data_dir.join("first-admin");
    create_private_file(&path, &welcome)?;
    tracing::info!(file = %path.display(), "made a first admin client; its credentials are in this file: move them, then delete it");
    Ok(())
}

fn welcome(server: &Server, client_id: &ClientId, secret: &ClientSecret) -> String {
    let mut address = server.admin_address.unwrap_or(server.address);
    let admin = reachable(&mut address);
    let mut address = server.address;
    let base = reachable(&mut address);
    let secret = secret.reveal();
    format!(
        "\nTessera is ready at {base}. It has made a first admin client, whose secret is shown this once:\n\n  \
         client_id      {client_id}\n  client_secret  {secret}\n\n\
         Get a token, introspect it, and register the first client of your own:\n\n\
         TOKEN=$(curl -s -u {client_id}:{secret} -d grant_type=client_credentials {base}/oauth2/token | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n\
         curl -s -u {client_id}:{secret} -d token=$TOKEN {base}/oauth2/introspect\n\
         curl -s -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -d '{{\"client_name\":\"my first\",\"scope\":\"read write\"}}' {admin}/admin/v1/clients\n\n"
    )
}

/// A URL at which this machine reaches an address that may stand for all of its own.
fn reachable(address: &mut std::net::SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}

/// A core dump would hold keys and tokens.
fn forbid_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps cannot be forbidden; one would hold keys and tokens");
    }
}

/// A connection is an open file, and the usual limit of 1,024 is kept low for programs that use `select`.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files cannot be raised: connections beyond it will be refused");
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn say(text: &str) {
    // A reader that has gone away, as of `| head`, is no error.
    let _ = say_or(text);
}

fn say_or(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn complain(error: &dyn Display) {
    let _ = writeln!(std::io::stderr(), "{error}");
}
