//! The text of what is handed out: a prefix, random bytes, and a checksum.
//!
//! ```text
//! tsr_xx_  base64url(body)  base64url(CRC-32C of all before)
//! prefix   a multiple of 3  6 characters
//! ```
//!
//! Prefix and checksum let secret scanners find what has leaked without false alarms. The checksum proves nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// How many characters of a text are its checksum.
pub const CHECKSUM_CHARACTERS: usize = 6;

/// The text of `body` behind `prefix`.
#[must_use]
pub fn write(prefix: &str, body: &[u8]) -> Zeroizing<String> {
    let characters = prefix.len() + body.len().div_ceil(3) * 4 + CHECKSUM_CHARACTERS;
    // As long as it will ever be, so that no copy of it stays behind.
    let mut text = Zeroizing::new(String::with_capacity(characters));
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(body, &mut text);
    let checksum = checksum(&text);
    text.push_str(std::str::from_utf8(&checksum).unwrap_or_default());
    text
}

/// The body of a text that was written with this prefix, and with nothing changed.
#[must_use]
pub fn read<const N: usize>(prefix: &str, text: &str) -> Option<Zeroizing<[u8; N]>> {
    let (checked, presented) = text.split_at_checked(text.len().checked_sub(CHECKSUM_CHARACTERS)?)?;
    if presented.as_bytes() != checksum(checked) {
        return None;
    }
    let mut body = Zeroizing::new([0; N]);
    let length = URL_SAFE_NO_PAD.decode_slice(checked.strip_prefix(prefix)?, body.as_mut()).ok()?;
    (length == N).then_some(body)
}

/// The checksum of all that is before it.
#[must_use]
pub fn checksum(text: &str) -> [u8; CHECKSUM_CHARACTERS] {
    let mut characters = [0; CHECKSUM_CHARACTERS];
    let encoded = URL_SAFE_NO_PAD.encode_slice(crc32c::crc32c(text.as_bytes()).to_le_bytes(), &mut characters);
    debug_assert_eq!(encoded, Ok(CHECKSUM_CHARACTERS), "4 bytes are 6 characters");
    characters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_back_and_nothing_but_its_very_text_is_read() {
        let text = write("tsr_xx_", &[7; 48]);
        assert_eq!(read::<48>("tsr_xx_", &text).as_deref(), Some(&[7; 48]));
        assert_eq!(read::<48>("tsr_yy_", &text), None);
        assert_eq!(read::<45>("tsr_xx_", &text), None);
        assert_eq!(read::<51>("tsr_xx_", &text), None);
        for position in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[position] ^= 1;
            assert_eq!(read::<48>("tsr_xx_", &String::from_utf8(bytes).unwrap()), None, "at {position}");
            assert_eq!(read::<48>("tsr_xx_", &text[..position]), None, "cut at {position}");
        }
        for changed in
            [format!("{}A", *text), format!(" {}", *text), format!("{}=", *text), "é".repeat(40), String::new()]
        {
            assert_eq!(read::<48>("tsr_xx_", &changed), None, "{changed}");
        }
    }
}
