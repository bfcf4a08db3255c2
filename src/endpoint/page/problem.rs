//! What can be wrong with a form, in words for the person who has filled it in.

use actix_web::http::StatusCode;

/// Why nobody is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginProblem {
    /// It is not said what is wrong.
    Refused,
    /// After so many seconds the next attempt is looked at.
    TooMany {
        /// At least 1.
        retry_after_seconds: u64,
    },
    /// Too many people log in at once.
    Busy,
    /// The form lay open too long, or is another's.
    FormTooOld,
    /// The browser has no cookie of ours although it was given one.
    NoCookie,
}

impl LoginProblem {
    /// What the person is told.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Refused => "The username or the password is wrong.".to_owned(),
            Self::TooMany { retry_after_seconds: 0..=1 } => "Too many attempts. Please wait a second and try again.".to_owned(),
            Self::TooMany { retry_after_seconds: seconds @ 2..=119 } => {
                format!("Too many attempts. Please wait {seconds} seconds and try again.")
            }
            Self::TooMany { retry_after_seconds } => {
                format!("Too many attempts. Please wait {} minutes and try again.", retry_after_seconds.div_ceil(60))
            }
            Self::Busy => "Many people are signing in right now. Please try again in a moment.".to_owned(),
            Self::FormTooOld => "This form was open for too long. Please sign in again.".to_owned(),
            Self::NoCookie => {
                "Your browser sent no cookie. Please allow cookies for this site, and open it by https, then sign in again."
                    .to_owned()
            }
        }
    }

    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Refused => StatusCode::FORBIDDEN,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::FormTooOld | Self::NoCookie => StatusCode::BAD_REQUEST,
        }
    }

    pub(super) const fn retry_after_seconds(self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after_seconds } => Some(retry_after_seconds),
            Self::Busy => Some(1),
            _ => None,
        }
    }
}

/// Why no device is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceProblem {
    /// No device waits under that code, or not any more.
    Unknown,
    /// Too many codes were tried.
    TooMany {
        /// At least 1.
        retry_after_seconds: u64,
    },
    /// The form lay open too long, or is another's.
    FormTooOld,
}

impl DeviceProblem {
    /// What the person is told.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Unknown => {
                "No device is waiting with this code. Check it on your device; it may have expired.".to_owned()
            }
            Self::TooMany { .. } => "Too many codes were tried. Please wait a few minutes and try again.".to_owned(),
            Self::FormTooOld => "This form was open for too long. Please enter the code again.".to_owned(),
        }
    }

    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Unknown | Self::FormTooOld => StatusCode::BAD_REQUEST,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}
