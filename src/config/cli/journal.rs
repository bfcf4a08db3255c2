//! The shape of `tessera journal …`.

use clap::{Args, Subcommand, ValueEnum, value_parser};

use crate::config::cli::Flags;

/// What to do with a journal that no server holds.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Verify that the journal is whole: every file, block and record.
    ///
    /// Reads all that a start would read, by the same rule, and changes nothing. A write that a crash cut short was never
    /// acknowledged: such a torn tail is told, and the journal is whole; the next start cuts it off.
    #[command(after_long_help = AFTER_HELP, after_help = AFTER_HELP)]
    Verify(VerifyJournal),
    /// Count what is in the journal: by segment, by block and by kind of record.
    ///
    /// Verifies everything on the way, and changes nothing.
    #[command(after_long_help = AFTER_HELP, after_help = AFTER_HELP)]
    Stat(StatJournal),
    /// Print the records of the journal, one a line.
    ///
    /// Prints what each record says, but no token, no secret, and no digest of a secret. Verifies everything on the way, so
    /// that each line that is printed is true, and changes nothing.
    #[command(after_long_help = AFTER_HELP, after_help = AFTER_HELP)]
    Dump(DumpJournal),
}

const AFTER_HELP: &str = "\
A server must not hold the directory: stop it, or run this on a copy or a backup.

The master key is read from TESSERA_MASTER_KEY, else from the file that --master-key-file names.

Exit codes:
   0  the journal is whole
   1  the disk or the file system failed
   2  the command line is wrong
  65  the journal is not whole: a file is damaged, missing or of another journal,
      the master key is another, or this version cannot read a record
  66  there is no journal in that directory, or no such directory
  75  a server holds the directory
  78  the configuration is refused, or the master key is missing or no key";

impl JournalCommand {
    /// The flags for [`Config::load`](crate::config::Config::load), whose `data_dir` has the journal.
    #[must_use]
    pub const fn flags(&self) -> &Flags {
        let directory = match self {
            Self::Verify(verify) => &verify.directory,
            Self::Stat(stat) => &stat.directory,
            Self::Dump(dump) => &dump.directory,
        };
        &directory.0
    }
}

/// `tessera journal verify`.
#[derive(Debug, Args)]
pub struct VerifyJournal {
    /// For people or for machines.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub format: OutputFormat,
    /// Where the journal is.
    #[command(flatten)]
    pub directory: DirectoryFlags,
}

/// `tessera journal stat`.
#[derive(Debug, Args)]
pub struct StatJournal {
    /// For people or for machines.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub format: OutputFormat,
    /// Where the journal is.
    #[command(flatten)]
    pub directory: DirectoryFlags,
}

/// `tessera journal dump`.
#[derive(Debug, Args)]
pub struct DumpJournal {
    /// The first record to print, by its number (LSN).
    #[arg(long, value_name = "LSN", value_parser = value_parser!(u64))]
    pub from: Option<u64>,
    /// The last record to print, by its number (LSN).
    #[arg(long, value_name = "LSN", value_parser = value_parser!(u64))]
    pub to: Option<u64>,
    /// Print records of this kind alone, by its name or its number.
    #[arg(long)]
    pub kind: Option<String>,
    /// One JSON object a line, or one line of text.
    #[arg(long, value_enum, default_value_t = OutputFormat::Json)]
    pub format: OutputFormat,
    /// Where the journal is.
    #[command(flatten)]
    pub directory: DirectoryFlags,
}

/// What the output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The flags by which a command finds a data directory and its key.
#[derive(Debug)]
pub struct DirectoryFlags(Flags);

some_flags!(DirectoryFlags, &["config", "data_dir", "master_key_file"], "Data");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::cli::Command;
    use crate::config::cli::tests::{help, read};

    #[test]
    fn journal_commands_take_what_is_theirs() {
        for arguments in [
            "journal verify",
            "journal verify --format json --data-dir d --master-key-file k --config f",
            "journal stat --format text",
            "journal dump --from 1 --to 18446744073709551615 --kind token_issued --format text",
        ] {
            assert!(read(&arguments.split_whitespace().collect::<Vec<_>>()).is_ok(), "{arguments}");
        }
        for arguments in [
            "journal",
            "journal repair",
            "journal verify --from 1",
            "journal verify --workers 1",
            "journal stat --format yaml",
            "journal dump --from -1",
            "journal dump --to x",
        ] {
            assert!(read(&arguments.split_whitespace().collect::<Vec<_>>()).is_err(), "{arguments}");
        }
        let command = read(&["journal", "dump", "--data-dir", "d"]).unwrap();
        let Command::Journal(JournalCommand::Dump(dump)) = &command else { panic!("{command:?}") };
        assert_eq!(dump.format, OutputFormat::Json, "a dump is lines of JSON");
        let Command::Journal(journal) = &command else { panic!("{command:?}") };
        assert_eq!(journal.flags().value("data_dir"), Some("d".as_ref()));
    }

    #[test]
    fn the_help_of_every_journal_command_tells_its_exit_codes() {
        for command in ["verify", "stat", "dump"] {
            for flag in ["-h", "--help"] {
                let help = help(&["journal", command, flag]);
                for code in ["\n   0  ", "\n   1  ", "\n   2  ", "\n  65  ", "\n  66  ", "\n  75  ", "\n  78  "] {
                    assert!(help.contains(code), "{code:?} is not in {help}");
                }
            }
        }
    }
}
