//! The keys that somebody else signs with, as a JWK Set brings them (RFC 7517 §5). A set is checked as a whole: one key that is
//! weak, private or not understood, and nothing of it is taken.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::BigUint;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use crate::oauth::algorithm::SigningAlgorithm;
use crate::signing::public_key::{PublicKey, PublicNumbers};

/// The most keys of a set: room for a rotation of each algorithm, and a search stays short.
pub const KEYS_MAX: usize = 20;
/// The longest `kid`, in bytes.
pub const KID_BYTES_MAX: usize = 256;
/// The sizes of an RSA modulus, in bits: less is weak (RFC 7518 §3.3), and what is more takes long to verify.
pub const RSA_BITS_MIN: usize = 2048;
/// See [`RSA_BITS_MIN`].
pub const RSA_BITS_MAX: usize = 4096;

/// A JWK Set as it goes over the wire and into the journal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JwkSetDocument {
    /// `keys`
    pub keys: Vec<JwkDocument>,
}

/// A member of a [`JwkSetDocument`]. Members that are not named here mean nothing to us (RFC 7517 §4) and are left out of what
/// is kept; those of private keys are noticed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the members are those of RFC 7517 §4 and RFC 7518 §6")]
pub struct JwkDocument {
    pub kty: String,
    #[serde(rename = "use", default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_ops: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    #[serde(default, skip_serializing)]
    d: Option<Noticed>,
    #[serde(default, skip_serializing)]
    p: Option<Noticed>,
    #[serde(default, skip_serializing)]
    q: Option<Noticed>,
    #[serde(default, skip_serializing)]
    dp: Option<Noticed>,
    #[serde(default, skip_serializing)]
    dq: Option<Noticed>,
    #[serde(default, skip_serializing)]
    qi: Option<Noticed>,
    #[serde(default, skip_serializing)]
    oth: Option<Noticed>,
    #[serde(default, skip_serializing)]
    k: Option<Noticed>,
}

/// That a member is there, and nothing of what it says.
#[derive(Clone, Debug)]
struct Noticed;

impl<'de> Deserialize<'de> for Noticed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Why a JWK Set is refused: which key, what is wrong with it, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidJwkSet(String);

/// A JWK Set, every key of which has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwkSet(Vec<SetKey>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct SetKey {
    kid: Option<String>,
    /// The only algorithm that it is for, where it says so. An RSA key may be for several.
    algorithm: Option<SigningAlgorithm>,
    numbers: PublicNumbers,
    /// What it may verify, of which an elliptic curve leaves no choice.
    usual: SigningAlgorithm,
}

impl JwkSet {
    /// Checks a set.
    ///
    /// # Errors
    ///
    /// [`InvalidJwkSet`] for the first key that is refused.
    pub fn parse(document: &JwkSetDocument) -> Result<Self, InvalidJwkSet> {
        let count = document.keys.len();
        if count == 0 || count > KEYS_MAX {
            return Err(InvalidJwkSet(format!("a JWK Set has 1 to {KEYS_MAX} keys, this one has {count}")));
        }
        let mut keys: Vec<SetKey> = Vec::with_capacity(count);
        for (index, document) in document.keys.iter().enumerate() {
            let refused = |reason: &str| InvalidJwkSet(format!("key {} of {count}: {reason}", index + 1));
            let key = SetKey::parse(document).map_err(refused)?;
            if count > 1 && key.kid.is_none() {
                return Err(refused("a set of several keys needs a kid on each"));
            }
            if keys.iter().any(|before| before.kid == key.kid) {
                return Err(refused("its kid is that of a key before it"));
            }
            keys.push(key);
        }
        Ok(Self(keys))
    }

    /// Takes the keys of a set that is published for everybody: what is not for signatures, or not understood, is left out (RFC 7517
    /// §5), and of several keys of one `kid` the first counts. Keys without a `kid` are found by their algorithm.
    ///
    /// # Errors
    ///
    /// [`InvalidJwkSet`] where no key is left or too many are, and where a private key has been published.
    pub fn parse_fetched(document: &JwkSetDocument) -> Result<Self, InvalidJwkSet> {
        let mut keys: Vec<SetKey> = Vec::new();
        for (index, document) in document.keys.iter().enumerate() {
            if document.is_private() {
                return Err(InvalidJwkSet(format!("key {}: {PRIVATE}", index + 1)));
            }
            let Ok(key) = SetKey::parse(document) else { continue };
            if key.kid.is_none() || keys.iter().all(|before| before.kid != key.kid) {
                keys.push(key);
            }
        }
        if keys.is_empty() || keys.len() > KEYS_MAX {
            let count = keys.len();
            return Err(InvalidJwkSet(format!("1 to {KEYS_MAX} keys for signatures are expected, there are {count}")));
        }
        Ok(Self(keys))
    }

    /// The document that parses to this.
    #[must_use]
    pub fn to_document(&self) -> JwkSetDocument {
        JwkSetDocument { keys: self.0.iter().map(SetKey::to_document).collect() }
    }

    /// The key for what says that `kid` has signed it with `algorithm`; without a `kid`, the only one that could have. One at
    /// most is ever tried.
    #[must_use]
    pub fn find(&self, kid: Option<&str>, algorithm: SigningAlgorithm) -> Option<PublicKey> {
        let mut able = self.0.iter().filter(|key| key.verifies(algorithm));
        let found = match kid {
            Some(kid) => able.find(|key| key.kid.as_deref() == Some(kid))?,
            None => able.next()?,
        };
        let is_only = kid.is_some() || able.next().is_none();
        is_only.then(|| PublicKey { algorithm, numbers: found.numbers.clone() })
    }

    /// Whether a key of it has that `kid`.
    #[must_use]
    pub fn has(&self, kid: &str) -> bool {
        self.0.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// Whether a key of it may verify with that algorithm.
    #[must_use]
    pub fn verifies(&self, algorithm: SigningAlgorithm) -> bool {
        self.0.iter().any(|key| key.verifies(algorithm))
    }
}

impl JwkDocument {
    fn is_private(&self) -> bool {
        let Self { d, p, q, dp, dq, qi, oth, k, .. } = self;
        [d, p, q, dp, dq, qi, oth, k].into_iter().any(Option::is_some)
    }
}

const PRIVATE: &str = "it has members of a private or symmetric key (d, p, q, dp, dq, qi, oth or k): send the public half alone, and \
                       make a new key, for this one has been told";

impl SetKey {
    fn parse(document: &JwkDocument) -> Result<Self, &'static str> {
        if document.is_private() {
            return Err(PRIVATE);
        }
        if document.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err("its use must be sig, or be left out");
        }
        if document.key_ops.as_deref().is_some_and(|operations| operations != ["verify"]) {
            return Err("its key_ops must be [\"verify\"], or be left out");
        }
        let kid = document.kid.clone();
        let is_kid = |kid: &String| (1..=KID_BYTES_MAX).contains(&kid.len()) && !kid.chars().any(char::is_control);
        if !kid.as_ref().is_none_or(is_kid) {
            return Err("its kid must have 1 to 256 bytes without control characters");
        }
        let (usual, numbers) = numbers_of(document)?;
        let algorithm = document.alg.as_deref().map(|name| {
            let algorithm =
                SigningAlgorithm::parse(name).ok_or("its alg must be EdDSA, ES256, ES384, RS256 or PS256")?;
            let is_of_key = algorithm == usual || (is_rsa(algorithm) && is_rsa(usual));
            if is_of_key { Ok(algorithm) } else { Err("its alg is that of another kty or crv") }
        });
        Ok(Self { kid, algorithm: algorithm.transpose()?, numbers, usual })
    }

    fn verifies(&self, algorithm: SigningAlgorithm) -> bool {
        match self.algorithm {
            Some(only) => only == algorithm,
            None => self.usual == algorithm || (is_rsa(self.usual) && is_rsa(algorithm)),
        }
    }

    fn to_document(&self) -> JwkDocument {
        let text = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        let alg = self.algorithm.map(|algorithm| algorithm.as_str().to_owned());
        let common =
            JwkDocument { kid: self.kid.clone(), alg, usage: Some("sig".to_owned()), ..JwkDocument::default() };
        let crv = |name: &str| Some(name.to_owned());
        match &self.numbers {
            PublicNumbers::Okp { x } => {
                JwkDocument { kty: "OKP".to_owned(), crv: crv("Ed25519"), x: text(x), ..common }
            }
            PublicNumbers::Ec { x, y } => {
                let curve = if self.usual == SigningAlgorithm::Es384 { "P-384" } else { "P-256" };
                JwkDocument { kty: "EC".to_owned(), crv: crv(curve), x: text(x), y: text(y), ..common }
            }
            PublicNumbers::Rsa { n, e } => JwkDocument { kty: "RSA".to_owned(), n: text(n), e: text(e), ..common },
        }
    }
}

const fn is_rsa(algorithm: SigningAlgorithm) -> bool {
    matches!(algorithm, SigningAlgorithm::Rs256 | SigningAlgorithm::Ps256)
}

fn numbers_of(document: &JwkDocument) -> Result<(SigningAlgorithm, PublicNumbers), &'static str> {
    let JwkDocument { x, y, n, e, .. } = document;
    match (document.kty.as_str(), document.crv.as_deref()) {
        ("OKP", Some("Ed25519")) => {
            let x = decoded(x.as_deref(), ED25519_BYTES, "its x must be 32 bytes in base64url")?;
            check_ed25519(&x)?;
            Ok((SigningAlgorithm::EdDsa, PublicNumbers::Okp { x }))
        }
        ("EC", Some("P-256")) => ec_numbers(x.as_deref(), y.as_deref(), &P256).map(|ec| (SigningAlgorithm::Es256, ec)),
        ("EC", Some("P-384")) => ec_numbers(x.as_deref(), y.as_deref(), &P384).map(|ec| (SigningAlgorithm::Es384, ec)),
        ("RSA", None) => rsa_numbers(n.as_deref(), e.as_deref()).map(|rsa| (SigningAlgorithm::Rs256, rsa)),
        _ => Err("its kty and crv must be OKP with Ed25519, EC with P-256 or P-384, or RSA without a crv"),
    }
}

fn decoded(text: Option<&str>, bytes: usize, expected: &'static str) -> Result<Vec<u8>, &'static str> {
    let decoded = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    decoded.filter(|decoded| decoded.len() == bytes).ok_or(expected)
}

fn rsa_numbers(n: Option<&str>, e: Option<&str>) -> Result<PublicNumbers, &'static str> {
    let number = |text: Option<&str>| {
        let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())?;
        // RFC 7518 §2: no octet more than it needs.
        (bytes.first().is_some_and(|first| *first != 0) && bytes.len() <= RSA_BITS_MAX / 8).then_some(bytes)
    };
    let bits = "its n must be an odd number of 2048 to 4096 bits in base64url, without zeros in front";
    let n = number(n).ok_or(bits)?;
    let modulus = BigUint::from_bytes_be(&n);
    let is_odd = |bytes: &[u8]| bytes.last().is_some_and(|last| last % 2 == 1);
    if modulus.bits() < RSA_BITS_MIN || modulus.bits() > RSA_BITS_MAX || !is_odd(&n) {
        return Err(bits);
    }
    // FIPS 186-5 §A.1.1, and what `ring` verifies with.
    let exponent = "its e must be an odd number from 65537 up to 8589934591 (33 bits) in base64url, usually AQAB";
    let e = number(e).ok_or(exponent)?;
    let value = BigUint::from_bytes_be(&e);
    if value < BigUint::from(65_537_u32) || value.bits() > 33 || !is_odd(&e) {
        return Err(exponent);
    }
    Ok(PublicNumbers::Rsa { n, e })
}

/// A curve `y² = x³ - 3x + b` over the integers modulo `p` (FIPS 186-5, SP 800-186 §3.2.1).
struct Curve {
    bytes: usize,
    p: &'static str,
    b: &'static str,
}

const P256: Curve = Curve {
    bytes: 32,
    p: "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
    b: "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
};
const P384: Curve = Curve {
    bytes: 48,
    p: "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
    b: "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
};

fn ec_numbers(x: Option<&str>, y: Option<&str>, curve: &Curve) -> Result<PublicNumbers, &'static str> {
    let length = "its x and y must each be as long as its curve's field in base64url: 32 bytes for P-256, 48 for P-384";
    let (x, y) = (decoded(x, curve.bytes, length)?, decoded(y, curve.bytes, length)?);
    let [p, b] = [curve.p, curve.b].map(hexadecimal);
    let [left, right] = [&x, &y].map(|bytes| BigUint::from_bytes_be(bytes));
    let cube = &left * &left * &left + b + (&p - &left % &p) * BigUint::from(3_u8);
    if left >= p || right >= p || &right * &right % &p != cube % &p {
        return Err("its x and y are no point of its curve");
    }
    Ok(PublicNumbers::Ec { x, y })
}

const ED25519_BYTES: usize = 32;
/// 2^255 - 19
const ED25519_P: &str = "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed";
/// RFC 8032 §5.1
const ED25519_D: &str = "52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3";
/// The `y` of the points of order 8; with 0, 1 and p - 1 those of every small order.
const ED25519_ORDER_8: [&str; 2] = [
    "05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826",
    "7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7",
];

/// Whether the bytes are those of a point (RFC 8032 §5.1.3) that verifies what its owner has signed and nothing else.
fn check_ed25519(bytes: &[u8]) -> Result<(), &'static str> {
    let mut y = BigUint::from_bytes_le(bytes);
    // The highest bit is the sign of x.
    let sign = BigUint::from(1_u8) << 255;
    if y >= sign {
        y -= sign;
    }
    let [p, d] = [ED25519_P, ED25519_D].map(hexadecimal);
    let one = BigUint::from(1_u8);
    if y >= p {
        return Err("its x is no point of Ed25519");
    }
    let is_small = y <= one || y == &p - &one || ED25519_ORDER_8.into_iter().any(|small| y == hexadecimal(small));
    if is_small {
        return Err("its x is a point of small order, which anybody can sign for");
    }
    let square = &y * &y % &p;
    let (numerator, denominator) = ((&square + &p - &one) % &p, (d * &square + &one) % &p);
    // x² is their quotient, which has a root if and only if their product has one (Euler's criterion).
    let euler = (numerator * denominator).modpow(&((&p - &one) >> 1), &p);
    if euler == one { Ok(()) } else { Err("its x is no point of Ed25519") }
}

fn hexadecimal(digits: &str) -> BigUint {
    BigUint::parse_bytes(digits.as_bytes(), 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use serde_json::{Value, json};

    use super::*;
    use crate::signing::private_key::PrivateKey;

    #[track_caller]
    fn check(keys: &Value, expected: Result<(), &str>) {
        let parsed = serde_json::from_value::<JwkSetDocument>(json!({ "keys": keys }));
        let parsed = parsed.map_err(|error| error.to_string());
        let parsed = parsed.and_then(|document| JwkSet::parse(&document).map_err(|error| error.to_string()));
        match (&parsed, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) if error.contains(part) => {}
            _ => panic!("{keys}: {parsed:?}, not {expected:?}"),
        }
    }

    fn jwk(algorithm: SigningAlgorithm) -> Value {
        let key = PrivateKey::generate(algorithm, &SystemRandom::new()).unwrap();
        serde_json::to_value(key.public().to_jwk()).unwrap()
    }

    fn with(jwk: &Value, member: &str, value: Value) -> Value {
        let mut changed = jwk.clone();
        changed[member] = value;
        changed
    }

    fn base64(bytes: &[u8]) -> Value {
        json!(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The RSA key of RFC 7638 §3.1, of 2048 bits.
    const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3okn\
        jhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbO\
        pbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

    #[test]
    fn keys_of_every_algorithm_are_taken_and_come_back_as_they_were() {
        for algorithm in [SigningAlgorithm::EdDsa, SigningAlgorithm::Es256, SigningAlgorithm::Es384] {
            for _ in 0..8 {
                check(&json!([jwk(algorithm)]), Ok(()));
            }
        }
        let rsa = json!({ "kty": "RSA", "n": N, "e": "AQAB" });
        check(&json!([rsa]), Ok(()));
        let keys = json!({ "keys": [with(&rsa, "kid", json!("a")), jwk(SigningAlgorithm::Es256)] });
        let set = JwkSet::parse(&serde_json::from_value(keys).unwrap()).unwrap();
        assert_eq!(JwkSet::parse(&set.to_document()), Ok(set.clone()));
        let found = |kid, algorithm| set.find(kid, algorithm).is_some();
        for algorithm in [SigningAlgorithm::Rs256, SigningAlgorithm::Ps256] {
            assert!(found(Some("a"), algorithm) && found(None, algorithm), "an RSA key that does not say is for both");
        }
        assert!(!found(Some("a"), SigningAlgorithm::Es256) && !found(Some("b"), SigningAlgorithm::Rs256));
        assert!(found(None, SigningAlgorithm::Es256) && !found(None, SigningAlgorithm::EdDsa));
    }

    #[test]
    fn without_a_kid_the_key_must_be_the_only_one() {
        let two = json!({ "keys": [jwk(SigningAlgorithm::Es256), jwk(SigningAlgorithm::Es256)] });
        let set = JwkSet::parse(&serde_json::from_value(two).unwrap()).unwrap();
        assert_eq!(set.find(None, SigningAlgorithm::Es256), None);
    }

    /// CA-4 of the catalogue of bad inputs.
    #[test]
    fn a_set_with_a_bad_key_is_refused_whole() {
        let (ed, p256, p384) =
            (jwk(SigningAlgorithm::EdDsa), jwk(SigningAlgorithm::Es256), jwk(SigningAlgorithm::Es384));
        let rsa = json!({ "kty": "RSA", "n": N, "e": "AQAB" });
        check(&json!([]), Err("1 to 20 keys, this one has 0"));
        check(&json!(vec![ed.clone(); 10_000]), Err("1 to 20 keys, this one has 10000"));
        check(&json!([ed, ed]), Err("key 2 of 2: its kid is that of a key before it"));
        check(&json!([ed, rsa]), Err("key 2 of 2: a set of several keys needs a kid"));
        for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            check(&json!([with(&rsa, member, json!("AQAB"))]), Err("members of a private or symmetric key"));
        }
        check(&json!([{ "kty": "oct", "k": "AQAB" }]), Err("symmetric"));
        let weak = |bits: usize| {
            let mut n = vec![0xff; bits / 8];
            n[bits / 8 - 1] = 1;
            with(&rsa, "n", base64(&n))
        };
        check(&json!([weak(512)]), Err("2048 to 4096 bits"));
        check(&json!([weak(2040)]), Err("2048 to 4096 bits"));
        check(&json!([weak(4096)]), Ok(()));
        check(&json!([weak(4104)]), Err("2048 to 4096 bits"));
        check(&json!([weak(80_000_000)]), Err("2048 to 4096 bits"));
        let even: Vec<u8> = [vec![0xff; 255], vec![2]].concat();
        check(&json!([with(&rsa, "n", base64(&even))]), Err("odd number"));
        for exponent in [&[1_u8][..], &[3], &[1, 0, 0], &[0, 1, 0, 1], &[], &[2, 0, 0, 0, 1], &[1; 4096]] {
            check(&json!([with(&rsa, "e", base64(exponent))]), Err("its e must be"));
        }
        check(&json!([with(&rsa, "e", json!("AQAB="))]), Err("its e must be"));
        let other = base64(&[1; 32]);
        check(&json!([with(&p256, "x", other)]), Err("no point of its curve"));
        check(&json!([with(&p256, "y", base64(&[0; 32]))]), Err("no point of its curve"));
        check(&json!([with(&p256, "y", base64(&[0xff; 32]))]), Err("no point of its curve"));
        check(&json!([with(&p384, "x", base64(&[1; 48]))]), Err("no point of its curve"));
        check(&json!([with(&p256, "x", base64(&[1; 33]))]), Err("as long as its curve's field"));
        check(&json!([with(&p256, "crv", json!("P-384"))]), Err("as long as its curve's field"));
        check(&json!([with(&p256, "crv", json!("secp256k1"))]), Err("kty and crv must be"));
        check(&json!([with(&ed, "crv", json!("X25519"))]), Err("kty and crv must be"));
        check(&json!([with(&ed, "x", base64(&[2; 31]))]), Err("32 bytes"));
        let mut small = [0; 32];
        check(&json!([with(&ed, "x", base64(&small))]), Err("small order"));
        small[0] = 1;
        check(&json!([with(&ed, "x", base64(&small))]), Err("small order"));
        small[0] = 2;
        check(&json!([with(&ed, "x", base64(&small))]), Err("no point of Ed25519"));
        check(&json!([with(&ed, "x", base64(&[0xff; 32]))]), Err("no point of Ed25519"));
        for small in ED25519_ORDER_8 {
            check(&json!([with(&ed, "x", base64(&hexadecimal(small).to_bytes_le()))]), Err("small order"));
        }
        check(&json!([with(&ed, "use", json!("enc"))]), Err("use must be sig"));
        check(&json!([with(&ed, "key_ops", json!(["sign", "verify"]))]), Err("key_ops must be"));
        check(&json!([with(&ed, "alg", json!("ES256"))]), Err("alg is that of another"));
        for alg in ["none", "HS256", "RSA-OAEP", "eddsa", ""] {
            check(&json!([with(&ed, "alg", json!(alg))]), Err("alg must be"));
        }
        for kid in [String::new(), "a\n".to_owned(), "k".repeat(257)] {
            check(&json!([with(&ed, "kid", json!(kid))]), Err("kid must have"));
        }
        check(&json!({}), Err("invalid type"));
        check(&json!([{ "kty": 7 }]), Err("invalid type"));
        let twice = r#"{"keys":[{"kty":"OKP","kty":"RSA"}]}"#;
        assert!(serde_json::from_str::<JwkSetDocument>(twice).unwrap_err().to_string().contains("duplicate field"));
    }
}
