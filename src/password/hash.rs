//! What is kept of a password.

use std::fmt;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{NO_PAD, STANDARD_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose};
use bcrypt::HashParts;
use ring::pbkdf2;
use ring::rand::SecureRandom;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The hash of a password, as its text says how to check it: Argon2id (RFC 9106), bcrypt (`$2a$`, `$2b$`, `$2y$`) or PBKDF2
/// (RFC 8018). It prints as `PasswordHash(..)`. Clones share one text.
#[derive(Clone)]
pub struct PasswordHash(Arc<Parsed>);

struct Parsed {
    text: Box<str>,
    method: Method,
}

enum Method {
    Argon2id { version: Version, params: Params, salt: Box<[u8]>, output: Box<[u8]> },
    Bcrypt,
    Pbkdf2 { digest: Pbkdf2Digest, iterations: std::num::NonZeroU32, salt: Box<[u8]>, output: Box<[u8]> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pbkdf2Digest {
    Sha256,
    Sha512,
}

/// A text that is no hash of a password, or one whose check would cost too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPasswordHash {
    /// No known format.
    #[error(
        "a password hash must be a string of Argon2id ($argon2id$v=19$m=…,t=…,p=…$salt$hash), bcrypt ($2a$, $2b$ or $2y$) or PBKDF2 \
         ($pbkdf2-sha256$ or $pbkdf2-sha512$)"
    )]
    Unknown,
    /// Argon2 out of bounds.
    #[error(
        "the Argon2id hash must have m from 8 to 131072 (KiB), t from 1 to 10, p from 1 to 16, m times t at most 524288, a salt of \
         8 to 48 and a hash of 16 to 64 bytes"
    )]
    Argon2id,
    /// bcrypt out of bounds.
    #[error("the bcrypt hash must have 60 characters and a cost from 04 to 14")]
    Bcrypt,
    /// PBKDF2 out of bounds.
    #[error("the PBKDF2 hash must have 1 to 2000000 iterations, a salt of 4 to 48 and a hash of 16 to 64 bytes")]
    Pbkdf2,
}

/// A password that may not be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a password must have at least 8 characters and at most 1024 bytes")]
pub struct UnsuitablePassword;

/// The system has no randomness or memory to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no randomness or memory to hash a password with")]
pub struct NoResources;

/// The longest password that is looked at, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;
const PASSWORD_CHARACTERS_MIN: usize = 8;

/// What OWASP's Password Storage Cheat Sheet asks for at least. RFC 9106's second choice takes 64 MiB for each check, and what is
/// read from memory there is taken from the workers that share it.
const OWN_MEMORY_KIB: u32 = 19 * 1024;
const OWN_PASSES: u32 = 2;
const OWN_LANES: u32 = 1;
const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;

/// With [`ARGON2_WORK_MAX`], about a second of a core; and 128 MiB for each thread that checks.
const ARGON2_MEMORY_KIB_MAX: u32 = 128 * 1024;
const ARGON2_PASSES_MAX: u32 = 10;
const ARGON2_LANES_MAX: u32 = 16;
/// Memory times passes, in KiB.
const ARGON2_WORK_MAX: u64 = 512 * 1024;
const BCRYPT_COST_MIN: u32 = 4;
const BCRYPT_COST_MAX: u32 = 14;
const PBKDF2_ITERATIONS_MAX: u32 = 2_000_000;

/// Checks that a password may be set: NIST SP 800-63B §3.1.1.2 asks for a length, and against rules of composition.
///
/// # Errors
///
/// [`UnsuitablePassword`].
pub fn check_new(password: &str) -> Result<(), UnsuitablePassword> {
    let is_long_enough = password.chars().take(PASSWORD_CHARACTERS_MIN).count() == PASSWORD_CHARACTERS_MIN;
    if is_long_enough && password.len() <= PASSWORD_BYTES_MAX { Ok(()) } else { Err(UnsuitablePassword) }
}

impl PasswordHash {
    /// The Argon2id hash of a password, under a new salt. Takes tens of milliseconds: see [`super::pool`].
    ///
    /// # Errors
    ///
    /// [`NoResources`].
    pub fn of(password: &str, random: &dyn SecureRandom) -> Result<Self, NoResources> {
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt).map_err(|_| NoResources)?;
        let params = own_params()?;
        let mut output = [0; OUTPUT_BYTES];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        argon2.hash_password_into(password.as_bytes(), &salt, &mut output).map_err(|_| NoResources)?;
        Ok(Self::own(params, &salt, &output))
    }

    /// A hash of the kind that we make and that no password is known to have.
    ///
    /// # Errors
    ///
    /// [`NoResources`].
    pub fn decoy(random: &dyn SecureRandom) -> Result<Self, NoResources> {
        let mut bytes = [0; SALT_BYTES + OUTPUT_BYTES];
        random.fill(&mut bytes).map_err(|_| NoResources)?;
        let (salt, output) = bytes.split_at(SALT_BYTES);
        Ok(Self::own(own_params()?, salt, output))
    }

    fn own(params: Params, salt: &[u8], output: &[u8]) -> Self {
        let (encoded_salt, encoded) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
        let (m, t, p) = (params.m_cost(), params.t_cost(), params.p_cost());
        let text = format!("$argon2id$v=19$m={m},t={t},p={p}${encoded_salt}${encoded}");
        let method = Method::Argon2id { version: Version::V0x13, params, salt: salt.into(), output: output.into() };
        Self(Arc::new(Parsed { text: text.into(), method }))
    }

    /// Reads the text of a hash.
    ///
    /// # Errors
    ///
    /// [`InvalidPasswordHash`] says what is allowed.
    pub fn parse(text: &str) -> Result<Self, InvalidPasswordHash> {
        let method = match text.split('$').nth(1) {
            Some("argon2id") => parse_argon2id(text).ok_or(InvalidPasswordHash::Argon2id)?,
            Some("2a" | "2b" | "2y") => parse_bcrypt(text).ok_or(InvalidPasswordHash::Bcrypt)?,
            Some("pbkdf2-sha256") => parse_pbkdf2(text, Pbkdf2Digest::Sha256).ok_or(InvalidPasswordHash::Pbkdf2)?,
            Some("pbkdf2-sha512") => parse_pbkdf2(text, Pbkdf2Digest::Sha512).ok_or(InvalidPasswordHash::Pbkdf2)?,
            _ => return Err(InvalidPasswordHash::Unknown),
        };
        Ok(Self(Arc::new(Parsed { text: text.into(), method })))
    }

    /// Whether it is of the kind and cost that we make.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        let Method::Argon2id { version: Version::V0x13, params, output, .. } = &self.0.method else { return false };
        let costs = (params.m_cost(), params.t_cost(), params.p_cost());
        costs == (OWN_MEMORY_KIB, OWN_PASSES, OWN_LANES) && output.len() == OUTPUT_BYTES
    }

    /// The text of it, for the journal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether this is the hash of the password. Takes as long whether it is or not, and for long: see [`super::pool`].
    #[must_use]
    pub fn verify(&self, password: &str) -> bool {
        match &self.0.method {
            Method::Argon2id { version, params, salt, output } => {
                let mut computed = Zeroizing::new(vec![0; output.len()]);
                let argon2 = Argon2::new(Algorithm::Argon2id, *version, params.clone());
                let hashed = argon2.hash_password_into(password.as_bytes(), salt, &mut computed);
                hashed.is_ok() && bool::from(computed.ct_eq(output))
            }
            // What is behind the 72nd byte does not count, as where the hash was made.
            Method::Bcrypt => bcrypt::verify(password, &self.0.text).unwrap_or(false),
            Method::Pbkdf2 { digest, iterations, salt, output } => {
                let algorithm = match digest {
                    Pbkdf2Digest::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
                    Pbkdf2Digest::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
                };
                pbkdf2::verify(algorithm, *iterations, salt, password.as_bytes(), output).is_ok()
            }
        }
    }
}

impl PartialEq for PasswordHash {
    fn eq(&self, other: &Self) -> bool {
        bool::from(self.0.text.as_bytes().ct_eq(other.0.text.as_bytes()))
    }
}

impl Eq for PasswordHash {}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(..)")
    }
}

fn own_params() -> Result<Params, NoResources> {
    Params::new(OWN_MEMORY_KIB, OWN_PASSES, OWN_LANES, Some(OUTPUT_BYTES)).map_err(|_| NoResources)
}

fn parse_argon2id(text: &str) -> Option<Method> {
    let phc = phc::PasswordHash::new(text).ok()?;
    let (salt, output) = (phc.salt?, phc.hash?);
    let is_known = phc.params.iter().all(|(name, _)| matches!(name.as_str(), "m" | "t" | "p"));
    let [m, t, p] = ["m", "t", "p"].map(|name| phc.params.get_decimal(name));
    let (m, t, p) = (m?, t?, p?);
    let version = match phc.version {
        Some(19) => Version::V0x13,
        // A text without a version is of the one before (RFC 9106 has none but 19).
        Some(16) | None => Version::V0x10,
        Some(_) => return None,
    };
    let is_within = m <= ARGON2_MEMORY_KIB_MAX
        && t <= ARGON2_PASSES_MAX
        && p <= ARGON2_LANES_MAX
        && u64::from(m) * u64::from(t) <= ARGON2_WORK_MAX
        && are_lengths_within(8, salt.as_ref(), output.as_bytes());
    let params = Params::new(m, t, p, Some(output.len())).ok().filter(|_| is_known && is_within)?;
    Some(Method::Argon2id { version, params, salt: salt.as_ref().into(), output: output.as_bytes().into() })
}

fn parse_bcrypt(text: &str) -> Option<Method> {
    let is_number = text.get(4..6).is_some_and(|cost| cost.bytes().all(|byte| byte.is_ascii_digit()));
    let parts = text.parse::<HashParts>().ok().filter(|_| is_number)?;
    (BCRYPT_COST_MIN..=BCRYPT_COST_MAX).contains(&parts.get_cost()).then_some(Method::Bcrypt)
}

/// `$pbkdf2-sha256$i=600000,l=32$salt$hash` (PHC), or `$pbkdf2-sha256$29000$salt$hash` as Python's `passlib` writes it.
fn parse_pbkdf2(text: &str, digest: Pbkdf2Digest) -> Option<Method> {
    let mut fields = text.split('$').skip(2);
    let (parameters, salt, output) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() {
        return None;
    }
    let is_decimal = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit());
    let number = |number: &str| number.parse::<u32>().ok().filter(|_| is_decimal(number));
    let (iterations, length) = if parameters.contains('=') {
        let (mut iterations, mut length) = (None, None);
        for parameter in parameters.split(',') {
            let (name, value) = parameter.split_once('=')?;
            let place = match name {
                "i" => &mut iterations,
                "l" => &mut length,
                _ => return None,
            };
            if place.replace(number(value)?).is_some() {
                return None;
            }
        }
        (iterations?, length)
    } else {
        (number(parameters)?, None)
    };
    // `passlib` writes a dot for a plus.
    let decode = |text: &str| STANDARD_LENIENT.decode(text.replace('.', "+")).ok();
    let (salt, output) = (decode(salt)?, decode(output)?);
    let is_of_length = length.is_none_or(|length| usize::try_from(length) == Ok(output.len()));
    let is_within = iterations <= PBKDF2_ITERATIONS_MAX && are_lengths_within(4, &salt, &output);
    let iterations = std::num::NonZeroU32::new(iterations).filter(|_| is_of_length && is_within)?;
    Some(Method::Pbkdf2 { digest, iterations, salt: salt.into(), output: output.into() })
}

fn are_lengths_within(salt_bytes_min: usize, salt: &[u8], output: &[u8]) -> bool {
    (salt_bytes_min..=48).contains(&salt.len()) && (16..=64).contains(&output.len())
}

/// Without padding, and with no complaint about it.
const STANDARD_LENIENT: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, NO_PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent));

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    /// Of "correct horse": by Python's argon2-cffi 23, bcrypt 4, passlib 1.7 and hashlib.
    const KNOWN: [&str; 9] = [
        "$argon2id$v=19$m=1024,t=2,p=1$i33e17WvMfpMg2tcValyMw$A4Eajm+CKfysmlNARvyq7D1NHEuDxFMj0Xoc2BQHGGs",
        "$argon2id$v=16$m=64,t=3,p=4$DXNPHHgYtr8$/mZGnwo5zzu9mY5jMeoWUg",
        "$2a$04$WMrVGPGQcC0PnDCKBdZEyuTYWIyC1A1Ijrmo7LY/F4vLGKkDuiPAO",
        "$2b$04$.q7HRqjabY2c352Ir0WJdeVmf0i1ngkBmBHD61YINN/0d6QHMe6bm",
        "$2y$05$MeVMnXWweMNACykuLErnVOnI6vwDgF8bsGxsGh4kXXCp0aj76pChK",
        "$pbkdf2-sha256$1000$U6p1rtVaa01pTak1phQi5A$W0iNwGiHvIOeWTL8UniCKmRjSWvEVgEw9Wh47l045EA",
        "$pbkdf2-sha512$1000$UMrZG0MIQeg9hzAGAIAwxg$6rLXBqNxEl98x1HfOPbz4p7WzQ47DMOpW.J0/KvBFGqXdFgBnf2zGftBACEkZ9Aq3s4xc1qybvPjgCQp3vNqdg",
        "$pbkdf2-sha256$i=1000,l=32$4/3pneUkA9aLDSr9/XDpZQ$hKSh9F6zzprWjqtqAyFHtQ7qGnL1negGFiNHEh0EMYM",
        "$pbkdf2-sha512$i=1000,l=64$q1l03aCce+erY9x7CM+WFA$wlS6AEIKNdXezGtMrnbAEUsDHYAm+51sLJz6GLxr+PLHygG/iDTJU4wcNKP58Lw/arw97FpcepojLytDAGTuiw",
    ];

    #[test]
    fn a_hash_of_ours_verifies_its_password_alone() {
        let hash = PasswordHash::of("correct horse", &SystemRandom::new()).unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_str());
        let read = PasswordHash::parse(hash.as_str()).unwrap();
        for hash in [&hash, &read] {
            assert!(hash.verify("correct horse"));
            assert!(!hash.verify("correct horsf") && !hash.verify(""));
        }
        assert_eq!(hash, read);
        assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
    }

    #[test]
    fn hashes_of_other_systems_verify() {
        for text in KNOWN {
            let hash = PasswordHash::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(hash.verify("correct horse"), "{text}");
            assert!(!hash.verify("correct horsf"), "{text}");
            assert_eq!(hash.as_str(), text);
        }
    }

    #[test]
    fn a_decoy_costs_what_our_hashes_cost() {
        let decoy = PasswordHash::decoy(&SystemRandom::new()).unwrap();
        assert!(decoy.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && !decoy.verify("correct horse"));
    }

    #[test]
    fn a_hash_that_would_cost_too_much_is_refused() {
        let (salt, output) = (STANDARD_NO_PAD.encode([1; 16]), STANDARD_NO_PAD.encode([2; 32]));
        let check = |head: &str, expected| {
            let text = format!("{head}${salt}${output}");
            assert_eq!(PasswordHash::parse(&text).map(drop), expected, "{text}");
        };
        check("$argon2id$v=19$m=131072,t=4,p=16", Ok(()));
        for parameters in
            ["m=131073,t=1,p=1", "m=131072,t=5,p=1", "m=64,t=11,p=1", "m=1024,t=1,p=17", "m=7,t=1,p=1", "m=64,t=0,p=1"]
        {
            check(&format!("$argon2id$v=19${parameters}"), Err(InvalidPasswordHash::Argon2id));
        }
        check("$argon2id$v=18$m=64,t=1,p=1", Err(InvalidPasswordHash::Argon2id));
        check("$argon2id$v=19$m=64,t=1,p=1,keyid=YWFh", Err(InvalidPasswordHash::Argon2id));
        check("$argon2i$v=19$m=64,t=1,p=1", Err(InvalidPasswordHash::Unknown));
        check("$pbkdf2-sha256$i=2000000,l=32", Ok(()));
        check("$pbkdf2-sha512$i=2000000", Ok(()));
        for parameters in
            ["i=2000001", "i=0", "l=32", "i=1000,l=31", "i=1000,i=1", "i=+5", "i=1000,x=1", "", "2000001", "-1"]
        {
            check(&format!("$pbkdf2-sha256${parameters}"), Err(InvalidPasswordHash::Pbkdf2));
        }
        check("$pbkdf2$i=1000", Err(InvalidPasswordHash::Unknown));
        let bcrypt = |cost: &str| format!("$2b${cost}$abcdefghijklmnopqrstuuKPTzXzkQJvSgvwO0e9qXXKvVHEWPxSu");
        assert_eq!(PasswordHash::parse(&bcrypt("14")).map(drop), Ok(()));
        for cost in ["15", "31", "03", "+9", "9", ""] {
            assert_eq!(PasswordHash::parse(&bcrypt(cost)), Err(InvalidPasswordHash::Bcrypt), "{cost}");
        }
        for text in
            ["", "password", "$", "$2x$10$abcdefghijklmnopqrstuuKPTzXzkQJvSgvwO0e9qXXKvVHEWPxSu", "$1$a$b", "{SSHA}x"]
        {
            assert_eq!(PasswordHash::parse(text), Err(InvalidPasswordHash::Unknown), "{text}");
        }
    }

    #[test]
    fn a_new_password_is_neither_short_nor_endless() {
        for password in ["12345678", "äöüßäöüß", &"x".repeat(1024)] {
            assert_eq!(check_new(password), Ok(()));
        }
        for password in ["", "1234567", "äöüßäöü", &"x".repeat(1025)] {
            assert_eq!(check_new(password), Err(UnsuitablePassword));
        }
    }
}
