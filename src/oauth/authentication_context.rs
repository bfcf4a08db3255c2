//! How a person proved who they are (`amr`, RFC 8176; `acr`, `OpenID` Connect Core §2).

use std::sync::Arc;

/// What is known of a login beside its time. Clones share it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AuthenticationContext(Option<Arc<Known>>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Known {
    amr: Box<[Box<str>]>,
    acr: Option<Box<str>>,
}

impl AuthenticationContext {
    /// A login by these means, and as sure as that.
    #[must_use]
    pub fn new<'a>(amr: impl IntoIterator<Item = &'a str>, acr: Option<&str>) -> Self {
        let known = Known { amr: amr.into_iter().map(Box::from).collect(), acr: acr.map(Box::from) };
        let is_known = !known.amr.is_empty() || known.acr.is_some();
        Self(is_known.then(|| Arc::new(known)))
    }

    /// By what means, in order; none where nobody has said.
    pub fn amr(&self) -> impl ExactSizeIterator<Item = &str> {
        let amr = self.0.as_ref().map_or(&[][..], |known| &known.amr);
        amr.iter().map(|method| &**method)
    }

    /// How sure it is, where somebody has said so.
    #[must_use]
    pub fn acr(&self) -> Option<&str> {
        self.0.as_ref()?.acr.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_takes_no_place() {
        assert_eq!(AuthenticationContext::new([], None), AuthenticationContext::default());
        let known = AuthenticationContext::new(["pwd", "otp"], Some("urn:x"));
        assert_eq!((known.amr().collect::<Vec<_>>(), known.acr()), (vec!["pwd", "otp"], Some("urn:x")));
        assert_ne!(known, AuthenticationContext::new(["pwd"], Some("urn:x")));
        assert_eq!(size_of::<AuthenticationContext>(), size_of::<usize>());
    }
}
