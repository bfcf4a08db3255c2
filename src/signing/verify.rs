//! Signatures of others, and our own when they come back: checked by `jsonwebtoken`, with an algorithm that the key decides and
//! a `typ` that the use decides. Nothing in the text decides anything.

use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde::de::DeserializeOwned;

use crate::signing::provider::{install, theirs};
use crate::signing::public_key::{PublicKey, PublicNumbers};

/// Why a text is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not a signed JWT, of another algorithm than its key's, or with a header that says what is not understood.
    #[error("it is no JWT that this key signs")]
    Malformed,
    /// It is for another use.
    #[error("its typ is that of another use")]
    Type,
    /// The signature does not match.
    #[error("its signature does not match")]
    Signature,
}

/// The claims of a JWT that `key` has signed for the use that `typ` names. Its times and names are for the caller to check.
///
/// # Errors
///
/// [`VerifyError`].
pub fn verify<C: DeserializeOwned>(token: &str, key: &PublicKey, typ: Option<&str>) -> Result<C, VerifyError> {
    install();
    let header = decode_header(token).map_err(|_| VerifyError::Malformed)?;
    // RFC 7515 §4.1.11: what must be understood is not.
    if header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
        return Err(VerifyError::Malformed);
    }
    // RFC 7515 §4.1.9: names of media types know no case, and may leave out `application/`.
    let named = header.typ.as_deref().map(|named| named.strip_prefix("application/").unwrap_or(named));
    let is_expected = match typ {
        Some(typ) => named.is_some_and(|named| named.eq_ignore_ascii_case(typ)),
        None => true,
    };
    if !is_expected {
        return Err(VerifyError::Type);
    }
    let mut validation = Validation::new(theirs(key.algorithm));
    // Against the machine's clock, which is not ours.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let verified = decode::<C>(token, &decoding_key(key), &validation);
    verified.map(|data| data.claims).map_err(|error| match error.kind() {
        jsonwebtoken::errors::ErrorKind::InvalidSignature => VerifyError::Signature,
        _ => VerifyError::Malformed,
    })
}

/// The key that the header of a JWT names, which proves nothing yet.
#[must_use]
pub fn kid_of(token: &str) -> Option<String> {
    decode_header(token).ok()?.kid
}

fn decoding_key(key: &PublicKey) -> DecodingKey {
    match &key.numbers {
        PublicNumbers::Okp { x } => DecodingKey::from_ed_der(x),
        PublicNumbers::Ec { x, y } => DecodingKey::from_ec_der(&[&[UNCOMPRESSED], x.as_slice(), y].concat()),
        PublicNumbers::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
    }
}

/// What a point begins with whose coordinates follow both (SEC 1 §2.3.3).
const UNCOMPRESSED: u8 = 4;

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::rand::SystemRandom;
    use rsa::BigUint;
    use rsa::pkcs8::DecodePrivateKey as _;
    use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
    use serde_json::{Value, json};

    use super::*;
    use crate::oauth::algorithm::SigningAlgorithm;
    use crate::signing::jws::JwsHeader;
    use crate::signing::private_key::{PrivateKey, PrivateKeyError};

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    fn signed(key: &PrivateKey, header: &str, payload: &str) -> String {
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = key.sign(text.as_bytes(), &SystemRandom::new(), <[u8]>::to_vec).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn check(token: &str, key: &PublicKey, expected: Result<(), VerifyError>) {
        assert_eq!(verify::<Value>(token, key, None).map(|_| ()), expected, "{token}");
    }

    #[test]
    fn what_each_algorithm_signs_it_verifies_and_no_other_does() {
        let keys =
            SigningAlgorithm::ALL.map(|algorithm| PrivateKey::generate(algorithm, &SystemRandom::new()).unwrap());
        for key in &keys {
            let token = JwsHeader::new("at+jwt", key).sign(key, br#"{"sub":"ada"}"#, &SystemRandom::new()).unwrap();
            let claims = verify::<Value>(&token, key.public(), Some("at+jwt"));
            assert_eq!(claims, Ok(json!({ "sub": "ada" })), "{:?}", key.public().algorithm);
            assert_eq!(verify::<Value>(&token, key.public(), Some("JWT")), Err(VerifyError::Type));
            for other in keys.iter().filter(|other| other.public() != key.public()) {
                check(&token, other.public(), Err(VerifyError::Malformed));
            }
            let (text, signature) = token.rsplit_once('.').unwrap();
            let mut wrong = bytes(signature);
            wrong[9] ^= 1;
            check(&format!("{text}.{}", URL_SAFE_NO_PAD.encode(wrong)), key.public(), Err(VerifyError::Signature));
        }
    }

    /// RFC 8037 Appendix A.4.
    #[test]
    fn ed25519_signs_as_in_the_rfc() {
        let jwk = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let key = PrivateKey::import(SigningAlgorithm::EdDsa, jwk).unwrap();
        let token = signed(&key, r#"{"alg":"EdDSA"}"#, "Example of Ed25519 signing");
        assert_eq!(
            token,
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcN\
             R4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
        let wrong = jwk.replace("11qYAY", "11qYAZ");
        assert_eq!(PrivateKey::import(SigningAlgorithm::EdDsa, &wrong).unwrap_err(), PrivateKeyError::Key);
    }

    const CLAIMS: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

    /// RFC 7515 Appendix A.2.
    #[test]
    fn rs256_verifies_as_in_the_rfc() {
        let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZ\
                 S-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2Ca\
                 pHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h\
                 4FRWyuXpoQ";
        let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJ\
                         dbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN93\
                         83LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWk\
                         WywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        let numbers = PublicNumbers::Rsa { n: bytes(n), e: bytes("AQAB") };
        let key = PublicKey { algorithm: SigningAlgorithm::Rs256, numbers };
        let token = format!("eyJhbGciOiJSUzI1NiJ9.{CLAIMS}.{signature}");
        check(&token, &key, Ok(()));
        check(&token, &PublicKey { algorithm: SigningAlgorithm::Ps256, ..key }, Err(VerifyError::Malformed));
    }

    const P256_D: &str = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
    const P256_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const P256_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    /// RFC 7515 Appendix A.3.
    #[test]
    fn es256_verifies_as_in_the_rfc() {
        let jwk = format!(r#"{{"kty":"EC","crv":"P-256","d":"{P256_D}","x":"{P256_X}","y":"{P256_Y}"}}"#);
        let key = PrivateKey::import(SigningAlgorithm::Es256, &jwk).unwrap();
        let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        check(&format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.{signature}"), key.public(), Ok(()));
        check(&signed(&key, r#"{"alg":"ES256"}"#, "{}"), key.public(), Ok(()));
    }

    const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    const P384_ORDER: &str =
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";

    /// The kinds of the signatures that Wycheproof has for ECDSA in its form of a fixed length.
    #[test]
    fn ecdsa_takes_one_form_of_a_signature() {
        for (algorithm, order) in [(SigningAlgorithm::Es256, P256_ORDER), (SigningAlgorithm::Es384, P384_ORDER)] {
            let key = PrivateKey::generate(algorithm, &SystemRandom::new()).unwrap();
            let token = signed(&key, &format!(r#"{{"alg":"{}"}}"#, algorithm.as_str()), "{}");
            let (text, signature) = token.rsplit_once('.').unwrap();
            let good = bytes(signature);
            let half = good.len() / 2;
            let (r, s) = good.split_at(half);
            let order = BigUint::parse_bytes(order.as_bytes(), 16).unwrap();
            let fixed = |number: &BigUint| {
                let digits = number.to_bytes_be();
                [vec![0; half - digits.len()], digits].concat()
            };
            let (zero, n) = (vec![0; half], fixed(&order));
            let one = fixed(&BigUint::from(1_u8));
            let above = fixed(&(BigUint::from_bytes_be(s) % BigUint::from(1_u64 << 20)));
            let mirrored = fixed(&(&order - BigUint::from_bytes_be(s)));
            let cases: [(&str, Vec<u8>, Result<(), VerifyError>); 16] = [
                ("as it is", good.clone(), Ok(())),
                ("s mirrored, which JWS allows", [r, &mirrored].concat(), Ok(())),
                ("empty", vec![], Err(VerifyError::Signature)),
                ("all zero", [&zero[..], &zero].concat(), Err(VerifyError::Signature)),
                ("r zero", [&zero[..], s].concat(), Err(VerifyError::Signature)),
                ("s zero", [r, &zero].concat(), Err(VerifyError::Signature)),
                ("r the order", [&n[..], s].concat(), Err(VerifyError::Signature)),
                ("s the order", [r, &n].concat(), Err(VerifyError::Signature)),
                ("both the order", [&n[..], &n].concat(), Err(VerifyError::Signature)),
                ("both one", [&one[..], &one].concat(), Err(VerifyError::Signature)),
                ("s another", [r, &above].concat(), Err(VerifyError::Signature)),
                ("swapped", [s, r].concat(), Err(VerifyError::Signature)),
                ("a byte short", good[1..].to_vec(), Err(VerifyError::Signature)),
                ("a byte behind", [&good[..], &[0]].concat(), Err(VerifyError::Signature)),
                ("a byte before", [&[0], &good[..]].concat(), Err(VerifyError::Signature)),
                ("in DER, as X.509 has it", der(r, s), Err(VerifyError::Signature)),
            ];
            for (name, signature, expected) in cases {
                let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature));
                assert_eq!(verify::<Value>(&token, key.public(), None).map(|_| ()), expected, "{algorithm:?}: {name}");
            }
            check(&format!("{token}="), key.public(), Err(VerifyError::Malformed));
        }
    }

    /// `SEQUENCE { INTEGER r, INTEGER s }` (RFC 3279 §2.2.3).
    fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
        let integer = |bytes: &[u8]| {
            let digits = BigUint::from_bytes_be(bytes).to_bytes_be();
            let sign: &[u8] = if digits[0] < 128 { &[] } else { &[0] };
            [&[2, u8::try_from(sign.len() + digits.len()).unwrap()], sign, &digits].concat()
        };
        let content = [integer(r), integer(s)].concat();
        [&[0x30, u8::try_from(content.len()).unwrap()], &content[..]].concat()
    }

    /// The kinds of the signatures that Wycheproof has for PKCS #1 v1.5 and for PSS.
    #[test]
    fn rsa_takes_one_form_of_a_signature() {
        let random = SystemRandom::new();
        let pkcs8 = PrivateKey::generate(SigningAlgorithm::Rs256, &random).unwrap().as_pkcs8().to_vec();
        let [rs256, ps256] = [SigningAlgorithm::Rs256, SigningAlgorithm::Ps256]
            .map(|algorithm| PrivateKey::of_pkcs8(algorithm, zeroize::Zeroizing::new(pkcs8.clone())).unwrap());
        let raw = rsa::RsaPrivateKey::from_pkcs8_der(&pkcs8).unwrap();
        let (n, bytes_max) = (raw.n().clone(), 256);
        let power = |padded: &[u8]| {
            let digits = BigUint::from_bytes_be(padded).modpow(raw.d(), &n).to_bytes_be();
            [vec![0; bytes_max - digits.len()], digits].concat()
        };
        // RFC 8017 §9.2: `00 01 FF … FF 00 DigestInfo`.
        let padded = |start: [u8; 2], fill: u8, end: u8, info: &[u8], behind: &[u8]| {
            let filled = bytes_max - 3 - info.len() - behind.len();
            [&start[..], &vec![fill; filled], &[end], info, behind].concat()
        };
        let info = |digest: &[u8]| [SHA256_INFO, digest].concat();
        for key in [&rs256, &ps256] {
            let name = key.public().algorithm.as_str();
            let token = signed(key, &format!(r#"{{"alg":"{name}"}}"#), "{}");
            let (text, signature) = token.rsplit_once('.').unwrap();
            let good = bytes(signature);
            let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
            let digest = digest.as_ref();
            let other = ring::digest::digest(&ring::digest::SHA256, b"another text");
            let is_rs256 = name == "RS256";
            let by_number = if is_rs256 { Ok(()) } else { Err(VerifyError::Signature) };
            let wrong = Err(VerifyError::Signature);
            let cases = [
                ("as it is", good.clone(), Ok(())),
                ("PKCS #1 v1.5", power(&padded([0, 1], 0xff, 0, &info(digest), &[])), by_number),
                ("of another text", power(&padded([0, 1], 0xff, 0, &info(other.as_ref()), &[])), wrong),
                ("of another block type", power(&padded([0, 2], 0xff, 0, &info(digest), &[])), wrong),
                ("filled otherwise", power(&padded([0, 1], 0xfe, 0, &info(digest), &[])), wrong),
                ("without an end of the filling", power(&padded([0, 1], 0xff, 0xff, &info(digest), &[])), wrong),
                // Bleichenbacher's forgery of 2006 hides what is wrong there.
                ("something behind it", power(&padded([0, 1], 0xff, 0, &info(digest), &[0; 16])), wrong),
                ("without the name of the digest", power(&padded([0, 1], 0xff, 0, digest, &[])), wrong),
                ("the digest alone", power(digest), wrong),
                ("a byte short", good[1..].to_vec(), wrong),
                ("its last byte gone", good[..good.len() - 1].to_vec(), wrong),
                ("a byte before", [&[0], &good[..]].concat(), wrong),
                ("a byte behind", [&good[..], &[0]].concat(), wrong),
                ("not reduced", (BigUint::from_bytes_be(&good) + &n).to_bytes_be(), wrong),
                ("zero", vec![0; bytes_max], wrong),
                ("one", [&vec![0; bytes_max - 1][..], &[1]].concat(), wrong),
                ("the modulus", n.to_bytes_be(), wrong),
                ("the modulus less one", (&n - BigUint::from(1_u8)).to_bytes_be(), wrong),
                ("empty", vec![], wrong),
            ];
            for (case, signature, expected) in cases {
                let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature));
                assert_eq!(verify::<Value>(&token, key.public(), None).map(|_| ()), expected, "{name}: {case}");
            }
        }
        // The one's signature is none of the other's.
        let token = signed(&rs256, r#"{"alg":"PS256"}"#, "{}");
        check(&token, ps256.public(), Err(VerifyError::Signature));
        let token = signed(&ps256, r#"{"alg":"RS256"}"#, "{}");
        check(&token, rs256.public(), Err(VerifyError::Signature));
    }

    /// RFC 8017 §9.2, note 1.
    const SHA256_INFO: &[u8] = &[
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
        0x20,
    ];

    #[test]
    fn ed25519_takes_one_form_of_a_signature() {
        let key = PrivateKey::generate(SigningAlgorithm::EdDsa, &SystemRandom::new()).unwrap();
        let token = signed(&key, r#"{"alg":"EdDSA"}"#, "{}");
        let (text, signature) = token.rsplit_once('.').unwrap();
        let good = bytes(signature);
        let mut above = good.clone();
        // S + L, which the first version of the algorithm let pass (RFC 8032 §5.1.7).
        let order = BigUint::parse_bytes(ED25519_ORDER.as_bytes(), 16).unwrap();
        let mut digits = (BigUint::from_bytes_le(&good[32..]) + order).to_bytes_le();
        digits.resize(32, 0);
        above[32..].copy_from_slice(&digits);
        for (name, signature) in [
            ("S not reduced", above),
            ("all zero", vec![0; 64]),
            ("a byte short", good[..63].to_vec()),
            ("a byte behind", [&good[..], &[0]].concat()),
            ("empty", vec![]),
        ] {
            let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature));
            assert_eq!(verify::<Value>(&token, key.public(), None), Err(VerifyError::Signature), "{name}");
        }
    }

    const ED25519_ORDER: &str = "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed";

    #[test]
    fn a_header_decides_nothing() {
        let key = PrivateKey::generate(SigningAlgorithm::EdDsa, &SystemRandom::new()).unwrap();
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"ES256"}"#,
            r#"{"alg":"eddsa"}"#,
            r#"{}"#,
            r#"{"alg":"EdDSA","crit":["exp"]}"#,
            r#"{"alg":"EdDSA","crit":[]}"#,
            "",
            "[]",
        ] {
            check(&signed(&key, header, "{}"), key.public(), Err(VerifyError::Malformed));
        }
        let typed = signed(&key, r#"{"alg":"EdDSA","typ":"application/AT+JWT"}"#, "{}");
        assert_eq!(verify::<Value>(&typed, key.public(), Some("at+jwt")), Ok(json!({})));
        let untyped = signed(&key, r#"{"alg":"EdDSA"}"#, "{}");
        assert_eq!(verify::<Value>(&untyped, key.public(), Some("at+jwt")), Err(VerifyError::Type));
        for token in ["", ".", "..", "a.b.c", "a.b", "e30.e30.", "a.b.c.d"] {
            check(token, key.public(), Err(VerifyError::Malformed));
        }
    }

    #[test]
    fn a_key_is_imported_for_its_own_algorithm() {
        for algorithm in SigningAlgorithm::ALL {
            let key = PrivateKey::generate(algorithm, &SystemRandom::new()).unwrap();
            let document = rsa::pkcs8::SecretDocument::try_from(key.as_pkcs8()).unwrap();
            let pem = document.to_pem("PRIVATE KEY", rsa::pkcs8::LineEnding::LF).unwrap();
            let imported = PrivateKey::import(algorithm, &pem).unwrap();
            assert_eq!(imported.public(), key.public());
            let is_rsa = |algorithm| matches!(algorithm, SigningAlgorithm::Rs256 | SigningAlgorithm::Ps256);
            for other in SigningAlgorithm::ALL.into_iter().filter(|other| *other != algorithm) {
                if !(is_rsa(other) && is_rsa(algorithm)) {
                    assert_eq!(PrivateKey::import(other, &pem).unwrap_err(), PrivateKeyError::Key, "{other:?}");
                }
            }
        }
        for text in ["", "{}", "-----BEGIN PRIVATE KEY-----", "[]"] {
            assert_eq!(PrivateKey::import(SigningAlgorithm::EdDsa, text).unwrap_err(), PrivateKeyError::Format);
        }
    }
}
