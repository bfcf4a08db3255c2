//! What a client says about itself, for people (RFC 7591 §2). Nothing is decided by it, and nothing of it is fetched.

use crate::client::metadata::{ClientMetadataDocument, InvalidClientMetadata};
use crate::client::name::check_visible;
use crate::oauth::redirect_uri::RedirectUri;

/// What a client says about itself. Every field has been checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its page. An `https` URL of at most 2,048 bytes, like the other three.
    pub client_uri: Option<String>,
    /// Its picture.
    pub logo_uri: Option<String>,
    /// Its terms of service.
    pub tos_uri: Option<String>,
    /// What it does with data of people.
    pub policy_uri: Option<String>,
    /// Whom to ask, mostly email addresses; at most [`CONTACTS_MAX`].
    pub contacts: Vec<String>,
    /// Which program it is, in whatever version.
    pub software_id: Option<String>,
    /// In which version.
    pub software_version: Option<String>,
}

/// The most contacts of a client.
pub const CONTACTS_MAX: usize = 16;
/// The longest contact, software id or version, in bytes.
pub const ABOUT_TEXT_BYTES_MAX: usize = 255;

impl About {
    /// Checks what a document says.
    ///
    /// # Errors
    ///
    /// [`InvalidClientMetadata`] names the first member that is out of bounds.
    pub(super) fn parse(document: &ClientMetadataDocument) -> Result<Self, InvalidClientMetadata> {
        let contacts = document.contacts.as_deref().unwrap_or_default();
        if contacts.len() > CONTACTS_MAX {
            return Err(invalid("contacts", "a client has at most 16 contacts"));
        }
        contacts.iter().try_for_each(|contact| check_text("contacts", contact))?;
        Ok(Self {
            client_uri: page("client_uri", document.client_uri.as_ref())?,
            logo_uri: page("logo_uri", document.logo_uri.as_ref())?,
            tos_uri: page("tos_uri", document.tos_uri.as_ref())?,
            policy_uri: page("policy_uri", document.policy_uri.as_ref())?,
            contacts: contacts.to_vec(),
            software_id: text("software_id", document.software_id.as_ref())?,
            software_version: text("software_version", document.software_version.as_ref())?,
        })
    }
}

/// What every parser reads alike: the rules of redirect URIs, and `https` alone.
fn page(member: &'static str, uri: Option<&String>) -> Result<Option<String>, InvalidClientMetadata> {
    let is_page = |uri: &String| uri.starts_with("https://") && RedirectUri::parse(uri).is_ok();
    match uri {
        Some(uri) if !is_page(uri) => Err(invalid(
            member,
            "must be an https URL of at most 2048 bytes, of visible ASCII, without user information and fragment",
        )),
        uri => Ok(uri.cloned()),
    }
}

fn text(member: &'static str, text: Option<&String>) -> Result<Option<String>, InvalidClientMetadata> {
    text.map(|text| check_text(member, text).map(|()| text.clone())).transpose()
}

fn check_text(member: &'static str, text: &str) -> Result<(), InvalidClientMetadata> {
    if text.is_empty() || text.len() > ABOUT_TEXT_BYTES_MAX {
        return Err(invalid(member, "a text must have 1 to 255 bytes"));
    }
    check_visible(text).map_err(|error| invalid(member, &error.to_string()))
}

fn invalid(member: &'static str, reason: &str) -> InvalidClientMetadata {
    InvalidClientMetadata { member, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client::metadata::ClientMetadata;

    #[track_caller]
    fn check(document: Value, expected: Result<(), &str>) {
        let text = document.to_string();
        let document: ClientMetadataDocument = serde_json::from_value(document).unwrap();
        let parsed = ClientMetadata::parse(&document);
        assert_eq!(parsed.as_ref().map(|_| ()).map_err(|error| error.member), expected, "{text}");
        if let Ok(metadata) = parsed {
            assert_eq!(ClientMetadata::parse(&metadata.to_document()), Ok(metadata), "{text}");
        }
    }

    #[test]
    fn pages_are_https_and_texts_are_short() {
        check(json!({ "client_uri": "https://client.example/?page=1", "contacts": ["ops@client.example"] }), Ok(()));
        check(json!({ "software_id": "4NRB1-0XZABZI9E6-5SM3R", "software_version": "2.0" }), Ok(()));
        for uri in
            ["http://client.example/", "javascript:alert(1)", "https://user@client.example/", "https://", "", "/a"]
        {
            for member in ["client_uri", "logo_uri", "tos_uri", "policy_uri"] {
                check(json!({ member: uri }), Err(member));
            }
        }
        check(json!({ "client_uri": format!("https://client.example/{}", "a".repeat(2048)) }), Err("client_uri"));
        check(json!({ "contacts": vec!["a"; 17] }), Err("contacts"));
        for text in ["", "a\n", "a\u{202e}", &"a".repeat(256)] {
            check(json!({ "contacts": [text] }), Err("contacts"));
            check(json!({ "software_id": text }), Err("software_id"));
            check(json!({ "software_version": text }), Err("software_version"));
        }
    }
}
