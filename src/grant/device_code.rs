//! The device authorization grant (RFC 8628 §3.4): whether a device code may be redeemed.

use crate::client::id::ClientId;
use crate::clock::UnixTime;
use crate::grant::invalid_grant;
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::token::person::{DeviceDecision, PendingDevice};

/// Whether a device code that is known may be redeemed by that client. `has_waited` says whether the device asks no more often
/// than it was told to.
///
/// # Errors
///
/// `authorization_pending`, `slow_down`, `access_denied`, `expired_token` (RFC 8628 §3.5) or `invalid_grant`.
pub fn check(device: &PendingDevice, client_id: &ClientId, has_waited: bool, now: UnixTime) -> Result<(), OAuthError> {
    if device.terms.client.id != *client_id {
        return Err(invalid_grant("the device code was issued to another client"));
    }
    if now.as_seconds_u32() >= device.expires_at {
        return Err(OAuthError::new(OAuthErrorCode::ExpiredToken, "the device code has expired"));
    }
    match device.decision {
        DeviceDecision::Awaited if !has_waited => {
            let description = "the device asks too often: wait five seconds longer between two requests";
            Err(OAuthError::new(OAuthErrorCode::SlowDown, description))
        }
        DeviceDecision::Awaited => {
            Err(OAuthError::new(OAuthErrorCode::AuthorizationPending, "nobody has answered the device's request yet"))
        }
        DeviceDecision::Denied => Err(OAuthError::new(OAuthErrorCode::AccessDenied, "the request was denied")),
        DeviceDecision::Approved if device.terms.are_in_force() => Ok(()),
        DeviceDecision::Approved => Err(invalid_grant("what the device code stands for was revoked")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::digest::TokenDigest;
    use crate::token::grant::tests::terms;

    #[track_caller]
    fn check(decision: DeviceDecision, client_id: &str, has_waited: bool, now: u64, expected: Option<&str>) {
        let device = PendingDevice {
            digest: TokenDigest::from_bytes([1; 16]),
            terms: terms("read"),
            requested_at: 1_000,
            requested_from: None,
            expires_at: 1_600,
            decision,
        };
        let checked =
            super::check(&device, &ClientId::parse(client_id).unwrap(), has_waited, UnixTime::from_seconds(now));
        assert_eq!(checked.err().map(|error| error.code.as_str()), expected);
    }

    #[test]
    fn a_device_is_told_what_it_waits_for() {
        check(DeviceDecision::Awaited, "app", true, 1_001, Some("authorization_pending"));
        check(DeviceDecision::Awaited, "app", false, 1_001, Some("slow_down"));
        check(DeviceDecision::Denied, "app", false, 1_001, Some("access_denied"));
        check(DeviceDecision::Approved, "app", false, 1_001, None);
        check(DeviceDecision::Approved, "app", true, 1_600, Some("expired_token"));
        check(DeviceDecision::Approved, "other", true, 1_001, Some("invalid_grant"));
    }
}
