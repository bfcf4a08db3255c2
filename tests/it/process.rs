//! The program as an operator runs it: started, refused, stopped, killed, and started again on what it has left.

mod crash;
mod directory;
mod first_start;
mod load;
mod program;
mod secrets;
mod settings;
mod starting;
mod stop;
mod strace;
