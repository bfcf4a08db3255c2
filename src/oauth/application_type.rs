//! Application types (`OpenID` Connect Dynamic Client Registration §2).

use serde::{Deserialize, Serialize};

/// Where a client runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationType {
    /// On a server or in a browser.
    #[default]
    Web,
    /// On the user's device: its redirect URI may be of a private-use scheme, or name a loopback address with any port
    /// (RFC 8252 §7).
    Native,
}
