//! The program as an operator runs it: started, refused, stopped, killed, and started again on what it has left.

mod crash;
mod directory;
mod first_start;
mod full_disk;
mod journal_tools;
mod load;
mod open_files;
pub(crate) mod program;
mod secrets;
mod settings;
mod single_use;
mod snapshot;
mod starting;
mod stop;
mod strace;
