//! What a person's grant is known by, from the code that opens it to its last token.

use std::fmt;

use ring::rand::SecureRandom;

use crate::token::access_token::RoutingId;

/// The id of a person's grant: 128 random bits, of which the first 64 are the routing id of the grant and of all that hangs on
/// it. Its text is 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId([u8; 16]);

impl GrantId {
    /// A new id.
    ///
    /// # Errors
    ///
    /// [`ring::error::Unspecified`] when the system has no randomness to give.
    pub fn random(random: &dyn SecureRandom) -> Result<Self, ring::error::Unspecified> {
        let mut bytes = [0; 16];
        random.fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// A new id of that routing id.
    ///
    /// # Errors
    ///
    /// As [`GrantId::random`].
    pub fn random_of(routing_id: RoutingId, random: &dyn SecureRandom) -> Result<Self, ring::error::Unspecified> {
        let mut id = Self::random(random)?;
        if let Some((routing, _)) = id.0.split_first_chunk_mut() {
            *routing = routing_id.0.to_le_bytes();
        }
        Ok(id)
    }

    /// The id with those bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Which shard has the grant.
    #[must_use]
    pub fn routing_id(&self) -> RoutingId {
        let (routing, _) = self.0.split_first_chunk().unwrap_or((&[0; 8], &[]));
        RoutingId(u64::from_le_bytes(*routing))
    }

    /// Reads the text of an id: 32 hexadecimal digits in lower case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(is_hexadecimal) {
            return None;
        }
        let bits = u128::from_str_radix(text, 16).ok()?;
        Some(Self(bits.swap_bytes().to_le_bytes()))
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", u128::from_le_bytes(self.0).swap_bytes())
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The id is a part of the texts of codes and refresh tokens, though not of what makes them secret.
        formatter.write_str("GrantId(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_holds_its_routing_id() {
        let random = ring::rand::SystemRandom::new();
        let id = GrantId::random_of(RoutingId(0x0102_0304_0506_0708), &random).unwrap();
        assert_eq!(id.routing_id(), RoutingId(0x0102_0304_0506_0708));
        assert!(id.to_string().starts_with("0807060504030201"), "{id}");
        assert_eq!(GrantId::parse(&id.to_string()), Some(id));
        for text in ["", "00", &"0".repeat(33), &"A".repeat(32), &"g".repeat(32), &format!("+{}", "0".repeat(31))] {
            assert_eq!(GrantId::parse(text), None, "{text:?}");
        }
        assert_ne!(id, GrantId::random_of(id.routing_id(), &random).unwrap());
    }
}
