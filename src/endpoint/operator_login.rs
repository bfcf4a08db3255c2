//! A login page of the operator's own (`--login-url`): a browser is sent there with a challenge, the page's application says
//! through the admin API who it is, and the browser comes back with a verifier.
//!
//! Challenge and verifier are sealed texts: nothing is kept while a person logs in. Both belong to one browser, which has a
//! cookie that they name the digest of, so that a challenge that was accepted for one person logs nobody else in; and both
//! count once.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::clock::UnixTime;
use crate::grant::interaction::Interrupted;
use crate::oauth::subject::Subject;
use crate::signing::seal::{OpenError, Purpose, SealError, Sealer};

/// Where people log in, and which challenges are used up.
#[derive(Debug)]
pub struct OperatorLogin {
    url: String,
    decided: OnceOnly,
    returned: OnceOnly,
}

/// What a login page is asked to decide about.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Challenge {
    /// What goes on then.
    pub(super) afterwards: Afterwards,
    /// Whose browser it is.
    browser: BrowserDigest,
}

/// What goes on once a person has logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Afterwards {
    /// The request of a client.
    Authorize(Box<Interrupted>),
    /// The account page.
    Account,
    /// The page of a device, with what was typed there where that is a code.
    Device { user_code: Option<String> },
}

/// How a login page says that a person has proved who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LoginProof {
    /// By what (`amr`, RFC 8176).
    pub(super) amr: Vec<String>,
    /// How sure that is (`acr`, `OpenID` Connect Core §2).
    pub(super) acr: Option<String>,
    /// How long the session shall live, in seconds, within what the server allows.
    pub(super) session_lifetime_seconds: Option<u32>,
}

/// What a login page has decided, as it travels.
#[derive(Debug, Serialize, Deserialize)]
struct Verified {
    challenge: Challenge,
    subject: String,
    proof: LoginProof,
}

/// A person whom a login page has let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LetIn {
    /// Who.
    pub(super) subject: Subject,
    /// How they proved it.
    pub(super) proof: LoginProof,
    /// What goes on now.
    pub(super) afterwards: Afterwards,
}

/// A challenge or a verifier that was opened.
pub(super) struct Presented<T> {
    pub(super) content: T,
    pub(super) sealed_at: UnixTime,
    id: [u8; 16],
}

/// Why a challenge or a verifier counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LoginChallengeError {
    /// There is no login page of the operator's.
    #[error("this server has no login_url")]
    NotConfigured,
    /// It does not open.
    #[error("the challenge is unknown: {0}")]
    Unknown(OpenError),
    /// It was used.
    #[error("the challenge was decided about before")]
    Used,
    /// It is another browser's.
    #[error("this login was begun in another browser, or too long ago")]
    OtherBrowser,
    /// More are used than are kept in mind.
    #[error("too many people are logging in: try again in a moment")]
    Busy,
}

/// How long a person may take to log in, in seconds.
pub(super) const CHALLENGE_SECONDS: u32 = 1800;
/// How long the browser may take to come back, in seconds.
const VERIFIER_SECONDS: u32 = 120;
/// The longest challenge that is sent with a redirect: it is a part of a URL, there and at the admin API.
const CHALLENGE_BYTES_MAX: usize = 8 * 1024;

impl OperatorLogin {
    /// With the page's URL.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self { url, decided: OnceOnly::default(), returned: OnceOnly::default() }
    }

    /// Where a browser goes to log in.
    ///
    /// # Errors
    ///
    /// [`SealError`]; `TooLong` for a request that fits into no URL.
    pub(super) fn location(
        &self,
        sealer: &Sealer,
        afterwards: Afterwards,
        browser: &str,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<String, SealError> {
        let challenge = Challenge { afterwards, browser: BrowserDigest::of(browser) };
        let content = serde_json::to_vec(&challenge).unwrap_or_default();
        let sealed = sealer.seal(Purpose::LoginChallenge, &content, now, random)?;
        if sealed.len() > CHALLENGE_BYTES_MAX {
            return Err(SealError::TooLong);
        }
        let separator = if self.url.contains('?') { '&' } else { '?' };
        Ok(format!("{}{separator}login_challenge={sealed}", self.url))
    }

    /// Reads a challenge that nobody has decided about.
    pub(super) fn read(
        &self,
        sealer: &Sealer,
        text: &str,
        now: UnixTime,
    ) -> Result<Presented<Challenge>, LoginChallengeError> {
        let opened = open(sealer, Purpose::LoginChallenge, text, CHALLENGE_SECONDS, now)?;
        if self.decided.is_used(&opened.id, now) { Err(LoginChallengeError::Used) } else { Ok(opened) }
    }

    /// Notes that a challenge is decided about, which happens once.
    pub(super) fn decide(&self, challenge: &Presented<Challenge>, now: UnixTime) -> Result<(), LoginChallengeError> {
        self.decided.take(challenge.id, now, CHALLENGE_SECONDS)
    }

    /// The verifier that says that this person was let in.
    pub(super) fn verifier(
        sealer: &Sealer,
        challenge: Challenge,
        subject: &Subject,
        proof: LoginProof,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<String, SealError> {
        let verified = Verified { challenge, subject: subject.as_str().to_owned(), proof };
        sealer.seal(Purpose::LoginVerifier, &serde_json::to_vec(&verified).unwrap_or_default(), now, random)
    }

    /// Takes a verifier that a browser brings back, once.
    pub(super) fn redeem(
        &self,
        sealer: &Sealer,
        text: &str,
        browser: Option<&str>,
        now: UnixTime,
    ) -> Result<LetIn, LoginChallengeError> {
        let verified: Presented<Verified> = open(sealer, Purpose::LoginVerifier, text, VERIFIER_SECONDS, now)?;
        let is_same = browser.is_some_and(|browser| verified.content.challenge.browser.is_of(browser));
        if !is_same {
            return Err(LoginChallengeError::OtherBrowser);
        }
        self.returned.take(verified.id, now, VERIFIER_SECONDS)?;
        let Verified { challenge, subject, proof } = verified.content;
        let subject = Subject::parse(&subject).map_err(|_| LoginChallengeError::Unknown(OpenError::Broken))?;
        Ok(LetIn { subject, proof, afterwards: challenge.afterwards })
    }
}

fn open<T: for<'a> Deserialize<'a>>(
    sealer: &Sealer,
    purpose: Purpose,
    text: &str,
    seconds_max: u32,
    now: UnixTime,
) -> Result<Presented<T>, LoginChallengeError> {
    let opened = sealer.open(purpose, text, seconds_max, now).map_err(LoginChallengeError::Unknown)?;
    let content = serde_json::from_slice(&opened.content);
    let content = content.map_err(|_| LoginChallengeError::Unknown(OpenError::Broken))?;
    Ok(Presented { content, sealed_at: opened.sealed_at, id: opened.id })
}

/// SHA-256 of the cookie of a browser.
#[derive(Debug, Serialize, Deserialize)]
struct BrowserDigest(String);

impl BrowserDigest {
    fn of(cookie: &str) -> Self {
        Self(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, cookie.as_bytes())))
    }

    fn is_of(&self, cookie: &str) -> bool {
        self.0.as_bytes().ct_eq(Self::of(cookie).0.as_bytes()).into()
    }
}

/// Names that count once, until what they name has expired anyway. A restart forgets them.
#[derive(Debug, Default)]
struct OnceOnly(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    names: HashSet<[u8; 16]>,
    /// The same, by when they are forgotten.
    until: VecDeque<(UnixTime, [u8; 16])>,
}

/// The most names that are kept in mind.
const USED_MAX: usize = 100_000;

impl OnceOnly {
    fn is_used(&self, name: &[u8; 16], now: UnixTime) -> bool {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        used.forget(now);
        used.names.contains(name)
    }

    fn take(&self, name: [u8; 16], now: UnixTime, seconds: u32) -> Result<(), LoginChallengeError> {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        used.forget(now);
        if used.names.len() >= USED_MAX {
            return Err(LoginChallengeError::Busy);
        }
        if !used.names.insert(name) {
            return Err(LoginChallengeError::Used);
        }
        // One that is used now opens for so long at most.
        used.until.push_back((now.plus_seconds(u64::from(seconds)), name));
        Ok(())
    }
}

impl Used {
    fn forget(&mut self, now: UnixTime) {
        while let Some((_, name)) = self.until.pop_front_if(|(until, _)| *until < now) {
            self.names.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use serde_json::json;

    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_000);

    fn after(seconds: u32) -> UnixTime {
        UnixTime::from_seconds(1_000 + u64::from(seconds))
    }

    fn interrupted() -> Interrupted {
        let request = json!({
            "client_id": "app", "client_generation": 1, "redirect_uri": "https://client.example/cb",
            "was_redirect_uri_sent": true, "scope": "read",
            "prompt": { "is_none": false, "has_login": false, "has_consent": false, "has_select_account": false },
        });
        Interrupted { request: serde_json::from_value(request).unwrap(), session_id: None, asked_at_seconds: 1_000 }
    }

    fn afterwards() -> Afterwards {
        Afterwards::Authorize(Box::new(interrupted()))
    }

    fn proof() -> LoginProof {
        LoginProof {
            amr: vec!["otp".to_owned()],
            acr: Some("urn:example:2".to_owned()),
            session_lifetime_seconds: Some(600),
        }
    }

    fn setting() -> (OperatorLogin, Sealer) {
        (OperatorLogin::new("https://login.example/?a=b".to_owned()), Sealer::new(&[1; 32]))
    }

    fn challenge(login: &OperatorLogin, sealer: &Sealer) -> String {
        let location = login.location(sealer, afterwards(), "cookie", NOW, &SystemRandom::new()).unwrap();
        location.strip_prefix("https://login.example/?a=b&login_challenge=").unwrap().to_owned()
    }

    fn accept(login: &OperatorLogin, sealer: &Sealer) -> String {
        let presented = login.read(sealer, &challenge(login, sealer), NOW).unwrap();
        login.decide(&presented, NOW).unwrap();
        let subject = Subject::parse("ann").unwrap();
        OperatorLogin::verifier(sealer, presented.content, &subject, proof(), NOW, &SystemRandom::new()).unwrap()
    }

    #[test]
    fn a_challenge_is_decided_about_once_and_in_time() {
        let (login, sealer) = setting();
        let text = challenge(&login, &sealer);
        let presented = login.read(&sealer, &text, after(CHALLENGE_SECONDS)).unwrap();
        assert_eq!(login.decide(&presented, NOW), Ok(()));
        assert_eq!(login.decide(&presented, NOW), Err(LoginChallengeError::Used));
        assert_eq!(login.read(&sealer, &text, NOW).err(), Some(LoginChallengeError::Used));
        let late = login.read(&sealer, &text, after(CHALLENGE_SECONDS + 1)).err();
        assert_eq!(late, Some(LoginChallengeError::Unknown(OpenError::Expired)));
        let forged = login.read(&sealer, "forged", NOW).err();
        assert_eq!(forged, Some(LoginChallengeError::Unknown(OpenError::Broken)));
    }

    #[test]
    fn a_verifier_logs_in_the_browser_that_began_once() {
        let (login, sealer) = setting();
        let verifier = accept(&login, &sealer);
        for other in [None, Some(""), Some("another")] {
            let refused = login.redeem(&sealer, &verifier, other, NOW).err();
            assert_eq!(refused, Some(LoginChallengeError::OtherBrowser), "{other:?}");
        }
        let late = login.redeem(&sealer, &verifier, Some("cookie"), after(VERIFIER_SECONDS + 1)).err();
        assert_eq!(late, Some(LoginChallengeError::Unknown(OpenError::Expired)));
        let let_in = login.redeem(&sealer, &verifier, Some("cookie"), NOW).unwrap();
        let subject = Subject::parse("ann").unwrap();
        assert_eq!(let_in, LetIn { subject, proof: proof(), afterwards: afterwards() });
        let again = login.redeem(&sealer, &verifier, Some("cookie"), NOW).err();
        assert_eq!(again, Some(LoginChallengeError::Used));
    }

    #[test]
    fn a_challenge_is_no_verifier() {
        let (login, sealer) = setting();
        let text = challenge(&login, &sealer);
        let refused = login.redeem(&sealer, &text, Some("cookie"), NOW).err();
        assert_eq!(refused, Some(LoginChallengeError::Unknown(OpenError::Broken)));
        assert!(login.read(&sealer, &accept(&login, &sealer), NOW).is_err());
    }

    #[test]
    fn a_request_that_fits_into_no_url_is_refused() {
        let (login, sealer) = setting();
        let mut long = interrupted();
        long.request.state = Some("s".repeat(8_000));
        let refused =
            login.location(&sealer, Afterwards::Authorize(Box::new(long)), "cookie", NOW, &SystemRandom::new());
        assert_eq!(refused, Err(SealError::TooLong));
    }

    #[test]
    fn what_is_used_up_is_forgotten_once_it_has_expired() {
        let once = OnceOnly::default();
        assert_eq!(once.take([1; 16], NOW, 60), Ok(()));
        assert_eq!(once.take([1; 16], after(60), 60), Err(LoginChallengeError::Used));
        assert_eq!(once.take([2; 16], after(61), 60), Ok(()));
        assert_eq!(once.0.lock().unwrap().names.len(), 1);
    }
}
