//! Prompts (`OpenID` Connect Core §3.1.2.1): what the user is to be asked, whatever the server remembers.

use serde::{Deserialize, Serialize};

/// The values of `prompt`, read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// `none`: no page may be shown. It stands alone.
    pub is_none: bool,
    /// `login`: the user has to log in again.
    pub has_login: bool,
    /// `consent`: the user has to consent again.
    pub has_consent: bool,
    /// `select_account`: the user is to choose an account, which here is the same as a login.
    pub has_select_account: bool,
}

/// Why a text is no list of prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrompt {
    /// A value that is not known, a repeated one, or spaces that part nothing.
    #[error("prompt must be none, or any of login, consent and select_account, each once, parted by single spaces")]
    Value,
    /// `none` with something beside it.
    #[error("prompt none stands alone")]
    NoneWithOthers,
}

impl Prompt {
    /// The values there are, as metadata names them.
    pub const VALUES: [&str; 4] = ["none", "login", "consent", "select_account"];

    /// Reads `prompt`.
    ///
    /// # Errors
    ///
    /// [`InvalidPrompt`] for what `OpenID` Connect Core §3.1.2.1 does not allow.
    pub fn parse(text: &str) -> Result<Self, InvalidPrompt> {
        let mut prompt = Self::default();
        for value in text.split(' ') {
            let named = match value {
                "none" => &mut prompt.is_none,
                "login" => &mut prompt.has_login,
                "consent" => &mut prompt.has_consent,
                "select_account" => &mut prompt.has_select_account,
                _ => return Err(InvalidPrompt::Value),
            };
            if std::mem::replace(named, true) {
                return Err(InvalidPrompt::Value);
            }
        }
        if prompt.is_none && (prompt.has_login || prompt.has_consent || prompt.has_select_account) {
            return Err(InvalidPrompt::NoneWithOthers);
        }
        Ok(prompt)
    }

    /// The text that parses to this; empty where nothing was asked for.
    #[must_use]
    pub fn to_text(self) -> String {
        let present = [self.is_none, self.has_login, self.has_consent, self.has_select_account];
        let values = Self::VALUES.into_iter().zip(present).filter(|(_, is_present)| *is_present);
        values.map(|(value, _)| value).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_stands_alone_and_others_stand_once() {
        for text in ["none", "login", "consent", "select_account", "login consent select_account"] {
            assert_eq!(Prompt::parse(text).map(Prompt::to_text).as_deref(), Ok(text));
        }
        assert_eq!(Prompt::parse("consent login").unwrap(), Prompt::parse("login consent").unwrap());
        for text in
            ["", " ", "Login", "login ", "login  consent", "create", "login login", "none none", "login\tconsent"]
        {
            assert_eq!(Prompt::parse(text), Err(InvalidPrompt::Value), "{text:?}");
        }
        for text in ["none login", "consent none", "select_account none"] {
            assert_eq!(Prompt::parse(text), Err(InvalidPrompt::NoneWithOthers), "{text:?}");
        }
    }
}
