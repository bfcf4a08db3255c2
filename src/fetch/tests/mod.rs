//! Fetches from a site in this process: SS-1 of the catalogue of bad inputs, beside the rules of addresses and hosts.

mod client;
pub(super) mod site;
