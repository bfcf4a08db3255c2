//! The vectors of Wycheproof (C2SP), each algorithm's, through what verifies the signatures of others.

use jsonwebtoken::DecodingKey;
use jsonwebtoken::signature::Verifier as _;
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use crate::oauth::algorithm::SigningAlgorithm;
use crate::signing::provider::{RingVerifier, theirs};

/// Counts what was judged, so that a set that is not read is noticed.
#[derive(Default)]
struct Judged {
    valid: usize,
    invalid: usize,
}

impl Judged {
    #[track_caller]
    fn judge(
        &mut self,
        (algorithm, key): (SigningAlgorithm, &DecodingKey),
        (message, signature): (&[u8], &[u8]),
        expected: TestResult,
        about: &str,
    ) {
        let verifier = RingVerifier::new(theirs(algorithm), key).unwrap();
        let is_verified = verifier.verify(message, &signature.to_vec()).is_ok();
        match expected {
            TestResult::Valid => {
                self.valid += 1;
                assert!(is_verified, "{algorithm:?}, {about}");
            }
            TestResult::Invalid => {
                self.invalid += 1;
                assert!(!is_verified, "{algorithm:?}, {about}");
            }
            TestResult::Acceptable => {}
        }
    }
}

#[test]
fn wycheproof_eddsa() {
    let mut judged = Judged::default();
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let key = DecodingKey::from_ed_der(&group.key.pk);
        for test in &group.tests {
            let about = format!("{} {}", test.tc_id, test.comment);
            judged.judge((SigningAlgorithm::EdDsa, &key), (&test.msg, &test.sig), test.result, &about);
        }
    }
    assert!(judged.valid > 50 && judged.invalid > 50, "{} {}", judged.valid, judged.invalid);
}

#[test]
fn wycheproof_ecdsa() {
    for (algorithm, set) in [
        (SigningAlgorithm::Es256, ecdsa::TestName::EcdsaSecp256r1Sha256P1363),
        (SigningAlgorithm::Es384, ecdsa::TestName::EcdsaSecp384r1Sha384P1363),
    ] {
        let mut judged = Judged::default();
        for group in ecdsa::TestSet::load(set).unwrap().test_groups {
            let key = DecodingKey::from_ec_der(&group.key.key);
            for test in &group.tests {
                let about = format!("{} {}", test.tc_id, test.comment);
                judged.judge((algorithm, &key), (&test.msg, &test.sig), test.result, &about);
            }
        }
        assert!(judged.valid > 50 && judged.invalid > 50, "{} {}", judged.valid, judged.invalid);
    }
}

/// Numbers without zeros before them, as in a JWK.
fn rsa_key(n: &[u8], e: &[u8]) -> DecodingKey {
    let number = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
    DecodingKey::from_rsa_raw_components(&number(n), &number(e))
}

#[test]
fn wycheproof_rsa_pkcs1() {
    use rsa_pkcs1_verify::TestName::{Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256};

    for set in [Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256] {
        let mut judged = Judged::default();
        for group in rsa_pkcs1_verify::TestSet::load(set).unwrap().test_groups {
            let key = rsa_key(&group.key.n, &group.key.e);
            for test in &group.tests {
                let about = format!("{} {}", test.tc_id, test.comment);
                judged.judge((SigningAlgorithm::Rs256, &key), (&test.msg, &test.sig), test.result, &about);
            }
        }
        assert!(judged.valid > 0 && judged.invalid > 50, "{} {}", judged.valid, judged.invalid);
    }
}

#[test]
fn wycheproof_rsa_pss() {
    use rsa_pss_verify::TestName::{
        RsaPss2048Sha256Mgf1SaltLen0, RsaPss2048Sha256Mgf1SaltLen32, RsaPss3072Sha256Mgf1SaltLen32,
        RsaPss4096Sha256Mgf1SaltLen32,
    };

    for set in [
        RsaPss2048Sha256Mgf1SaltLen32,
        RsaPss3072Sha256Mgf1SaltLen32,
        RsaPss4096Sha256Mgf1SaltLen32,
        RsaPss2048Sha256Mgf1SaltLen0,
    ] {
        let mut judged = Judged::default();
        for group in rsa_pss_verify::TestSet::load(set).unwrap().test_groups {
            let key = rsa_key(&group.key.n, &group.key.e);
            // RFC 7518 §3.5: the salt is as long as the hash.
            let has_our_salt = group.salt_size == 32;
            for test in &group.tests {
                let about = format!("{} {}", test.tc_id, test.comment);
                let expected = match test.result {
                    judged if has_our_salt => judged,
                    TestResult::Valid => TestResult::Invalid,
                    // Among them is one whose salt is as long as ours.
                    _ => TestResult::Acceptable,
                };
                judged.judge((SigningAlgorithm::Ps256, &key), (&test.msg, &test.sig), expected, &about);
            }
        }
        assert!(judged.valid + judged.invalid > 50, "{} {}", judged.valid, judged.invalid);
    }
}
