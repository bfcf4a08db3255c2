//! The load engine: requests at a constant rate, however slow the answers are.
//!
//! ```text
//!        core 0                                  the other cores
//!  ┌───────────────┐     ┌──────────────────────────────────────────────────────────┐
//!  │ tessera,      │◀────│ Generator: Schedule ─▶ Ledger ─▶ Connections, one thread │
//!  │ floor or rival│     │            a core, epoll, nothing is allocated           │
//!  └───────────────┘     │ Site: starts and fills the server, samples CPU and RSS   │
//!                        └──────────────────────────────────────────────────────────┘
//! ```
//!
//! | module | what it has |
//! |---|---|
//! | `schedule` | when requests are due |
//! | `ledger` | what was due, what was answered and when, who was late: no clock, no sockets |
//! | `answer`, `connection` | answers in pieces, and the connections that they come over |
//! | `requests`, `scenario` | what is sent, and what the right answer is |
//! | `generator`, `load` | one thread that sends and times; all of them together |
//! | `host`, `issuer`, `settings` | the processes that answer, and the tokens that they know |
//! | `crowd` | people who let a client act for them |
//! | `site` | a server and its load: steps, sweeps, series |
//! | `search` | how the knee is found |
//! | `command`, `report` | `loadtest run` and `loadtest sweep` |

pub(crate) mod answer;
pub(crate) mod command;
mod connection;
mod crowd;
mod generator;
mod host;
mod issuer;
mod ledger;
pub(crate) mod load;
mod report;
mod requests;
pub(crate) mod scenario;
pub(crate) mod schedule;
pub(crate) mod search;
pub(crate) mod settings;
pub(crate) mod site;
