//! What is asked of a server.

use std::sync::{Arc, PoisonError};

use clap::ValueEnum;
use serde::Serialize;

use crate::client::Credentials;
use crate::engine::answer::Expected;
use crate::engine::requests::{Chains, Leaves, Mix, Order, Part, Ready, Requests, TokenForms, Tokens};
use crate::fill::{FORM, request_head, token_request, write_request};
use crate::measured::Subject;
use crate::people::REFRESH_FORM;

/// What is asked of a server, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// Introspect live tokens, any of all, each for one of some gateways that authenticates.
    Introspect,
    /// Introspect tokens of the right shape that nobody has issued.
    IntrospectUnknown,
    /// Introspect texts of other shapes.
    IntrospectGarbage,
    /// Introspect tokens that have expired.
    IntrospectExpired,
    /// Introspect tokens that were revoked.
    IntrospectRevoked,
    /// Introspect live, dead and unknown tokens, each kind with its share.
    IntrospectMix,
    /// Introspect a thousand live tokens with each request.
    IntrospectBatch,
    /// Issue tokens, to all clients in turn.
    Issue,
    /// Refresh people's grants, each with the token that its last refresh gave.
    Refresh,
    /// Revoke live tokens, each once.
    Revoke,
    /// Introspect live tokens while others are revoked; only the introspections are timed.
    RevokeStorm,
}

/// What parts a mix has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, clap::Args)]
pub(crate) struct Shares {
    /// Of the requests of introspect-mix, the share for tokens that were revoked or have expired, in equal parts.
    #[arg(long, default_value_t = DEAD_SHARE, value_parser = share)]
    pub(crate) dead_share: f64,
    /// Of the requests of introspect-mix, the share for tokens that nobody has issued.
    #[arg(long, default_value_t = UNKNOWN_SHARE, value_parser = share)]
    pub(crate) unknown_share: f64,
    /// Of the requests of revoke-storm, the share that revokes.
    #[arg(long, default_value_t = STORM_SHARE, value_parser = share)]
    pub(crate) storm_share: f64,
}

const DEAD_SHARE: f64 = 0.05;
const UNKNOWN_SHARE: f64 = 0.05;
const STORM_SHARE: f64 = 0.2;

impl Default for Shares {
    fn default() -> Self {
        Self { dead_share: DEAD_SHARE, unknown_share: UNKNOWN_SHARE, storm_share: STORM_SHARE }
    }
}

fn share(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|share| (0.0..=0.5).contains(share)).ok_or("not a share from 0 to 0.5")
}

/// Tokens of one request of a batch.
pub(crate) const BATCH_TOKENS: u32 = 1000;

impl Scenario {
    /// As it is called on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it changes what the server holds: then answers wait for the disk.
    pub(crate) const fn is_change(self) -> bool {
        matches!(self, Self::Issue | Self::Refresh | Self::Revoke)
    }

    /// Tokens of one request.
    pub(crate) const fn tokens_per_request(self) -> u32 {
        if matches!(self, Self::IntrospectBatch) { BATCH_TOKENS } else { 1 }
    }

    /// Connections, where nobody says how many. Changes that wait for the same sync are answered by it together.
    pub(crate) const fn connections(self) -> u32 {
        match self {
            Self::Issue | Self::Refresh | Self::Revoke => 256,
            Self::IntrospectBatch => 8,
            _ => 32,
        }
    }

    /// Which share of the requests revokes a token, which can be done once.
    pub(crate) const fn revoking_share(self, shares: &Shares) -> f64 {
        match self {
            Self::Revoke => 1.0,
            Self::RevokeStorm => shares.storm_share,
            _ => 0.0,
        }
    }

    /// How long the body of Tessera's answer is, about: the floor's answer is as long.
    pub(crate) const fn answer_body_bytes(self) -> usize {
        match self {
            Self::Introspect | Self::IntrospectMix | Self::RevokeStorm => 210,
            Self::IntrospectUnknown | Self::IntrospectGarbage | Self::IntrospectExpired | Self::IntrospectRevoked => 16,
            Self::IntrospectBatch => 211_000,
            Self::Issue => 142,
            Self::Refresh => 254,
            // The floor's answer is JSON: it has ten bytes at least.
            Self::Revoke => 10,
        }
    }
}

/// What requests are made of.
#[derive(Clone, Default)]
pub(crate) struct Material {
    /// Who introspects.
    pub(crate) gateways: Vec<Credentials>,
    /// To whom tokens are issued.
    pub(crate) clients: Vec<Credentials>,
    /// To whom the tokens belong that are revoked.
    pub(crate) revoker: Option<Credentials>,
    pub(crate) live: Arc<Tokens>,
    pub(crate) expired: Arc<Tokens>,
    pub(crate) revoked: Arc<Tokens>,
    pub(crate) unknown: Arc<Tokens>,
    /// To be revoked.
    pub(crate) pool: Arc<Tokens>,
    /// The client that people's grants are of.
    pub(crate) people_client: Option<Credentials>,
    /// The refresh tokens of those grants.
    pub(crate) leaves: Leaves,
}

/// Makes the requests of a scenario for each thread.
pub(crate) struct Recipe {
    scenario: Scenario,
    subject: Subject,
    shares: Shares,
    answers: Answers,
    material: Material,
    introspect_fronts: Arc<Vec<Vec<u8>>>,
    revoke_fronts: Arc<Vec<Vec<u8>>>,
    refresh_front: Arc<Vec<u8>>,
    ready: Arc<Vec<Vec<u8>>>,
}

/// What right answers begin with.
struct Answers {
    active: Expected,
    inactive: Expected,
    batch: Expected,
    issued: Expected,
    revoked: Expected,
}

impl Answers {
    const fn of(subject: Subject) -> Self {
        match subject {
            Subject::Floor => Self { active: CANNED, inactive: CANNED, batch: CANNED, issued: CANNED, revoked: CANNED },
            Subject::Tessera | Subject::Rival => Self {
                active: br#"{"active":true"#,
                inactive: br#"{"active":false}"#,
                batch: br#"{"results":[{"active":true"#,
                issued: br#"{"access_token":""#,
                revoked: b"",
            },
        }
    }
}

const CANNED: Expected = br#"{"pad":""#;

impl Recipe {
    pub(crate) fn new(scenario: Scenario, shares: Shares, subject: Subject, material: Material, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let introspect_fronts = fronts("/oauth2/introspect", &material.gateways, material.live.token_bytes());
        let revoke_fronts = fronts("/oauth2/revoke", material.revoker.as_slice(), material.pool.token_bytes());
        let ready = match scenario {
            Scenario::Issue => material.clients.iter().map(|client| token_request(client, "read")).collect(),
            Scenario::IntrospectBatch => batches(&material, &mut random),
            Scenario::IntrospectGarbage => garbage(&material, &mut random),
            Scenario::Refresh => refreshes(&material),
            _ => Vec::new(),
        };
        let answers = Answers::of(subject);
        let refresh_front = Arc::new(refresh_front(&material));
        let (introspect_fronts, revoke_fronts) = (Arc::new(introspect_fronts), Arc::new(revoke_fronts));
        Self {
            scenario,
            subject,
            shares,
            answers,
            material,
            introspect_fronts,
            revoke_fronts,
            refresh_front,
            ready: Arc::new(ready),
        }
    }

    /// The requests of thread `number` of `threads`.
    pub(crate) fn requests(&self, (number, threads): (u32, u32), seed: u64) -> Box<dyn Requests> {
        let random = fastrand::Rng::with_seed(seed ^ (u64::from(number) << 32));
        let (material, answers) = (&self.material, &self.answers);
        let revoking = || self.revoke((number, threads));
        match self.scenario {
            Scenario::Introspect => self.introspect(&material.live, answers.active, random),
            Scenario::IntrospectUnknown => self.introspect(&material.unknown, answers.inactive, random),
            Scenario::IntrospectExpired => self.introspect(&material.expired, answers.inactive, random),
            Scenario::IntrospectRevoked => self.introspect(&material.revoked, answers.inactive, random),
            Scenario::IntrospectGarbage => self.ready(answers.inactive, random),
            Scenario::IntrospectBatch => self.ready(answers.batch, random),
            Scenario::Issue => self.ready(answers.issued, random),
            Scenario::Refresh if self.subject == Subject::Tessera => self.refresh((number, threads)),
            Scenario::Refresh => self.ready(answers.issued, random),
            Scenario::Revoke => revoking(),
            Scenario::IntrospectMix => self.mix(random),
            Scenario::RevokeStorm => {
                let (share, fork) = (self.shares.storm_share, random.clone());
                let introspection = self.introspect(&material.live, answers.active, fork);
                let parts = vec![
                    Part { share: 1.0 - share, is_timed: true, requests: introspection },
                    Part { share, is_timed: false, requests: revoking() },
                ];
                Box::new(Mix { parts, random })
            }
        }
    }

    fn mix(&self, mut random: fastrand::Rng) -> Box<dyn Requests> {
        let (Shares { dead_share, unknown_share, .. }, material) = (self.shares, &self.material);
        let (active, inactive) = (self.answers.active, self.answers.inactive);
        let kinds = [
            (1.0 - dead_share - unknown_share, &material.live, active),
            (dead_share / 2.0, &material.expired, inactive),
            (dead_share / 2.0, &material.revoked, inactive),
            (unknown_share, &material.unknown, inactive),
        ];
        let part = |(share, tokens, expected): (f64, _, _)| Part {
            share,
            is_timed: true,
            requests: self.introspect(tokens, expected, random.fork()),
        };
        let parts = kinds.into_iter().map(part).collect();
        Box::new(Mix { parts, random })
    }

    fn introspect(&self, tokens: &Arc<Tokens>, expected: Expected, random: fastrand::Rng) -> Box<dyn Requests> {
        let (fronts, tokens) = (Arc::clone(&self.introspect_fronts), Arc::clone(tokens));
        Box::new(TokenForms { fronts, tokens, order: Order::Random(random), expected, asker: 0 })
    }

    fn revoke(&self, (number, threads): (u32, u32)) -> Box<dyn Requests> {
        let share = |number: u32| self.material.pool.len() * number as usize / threads.max(1) as usize;
        let order = Order::Once(share(number)..share(number + 1));
        let (fronts, tokens) = (Arc::clone(&self.revoke_fronts), Arc::clone(&self.material.pool));
        Box::new(TokenForms { fronts, tokens, order, expected: self.answers.revoked, asker: 0 })
    }

    fn refresh(&self, (number, threads): (u32, u32)) -> Box<dyn Requests> {
        let home = Arc::clone(&self.material.leaves);
        let leaves = {
            let mut all = home.lock().unwrap_or_else(PoisonError::into_inner);
            // Of what is left for this thread and those after it.
            let share = all.len() / threads.saturating_sub(number).max(1) as usize;
            all.drain(..share).collect()
        };
        Box::new(Chains { front: Arc::clone(&self.refresh_front), home, leaves, expected: self.answers.issued })
    }

    fn ready(&self, expected: Expected, random: fastrand::Rng) -> Box<dyn Requests> {
        Box::new(Ready { requests: Arc::clone(&self.ready), random, expected })
    }
}

/// For each of those who ask, all of a request but a token of that length.
fn fronts(path: &str, askers: &[Credentials], token_bytes: usize) -> Vec<Vec<u8>> {
    let front = |asker: &Credentials| {
        let mut front = request_head(path, asker.authorization(), FORM).into_bytes();
        let length = TOKEN_FIELD.len() + token_bytes;
        front.extend_from_slice(format!("Content-Length: {length}\r\n\r\n{TOKEN_FIELD}").as_bytes());
        front
    };
    askers.iter().map(front).collect()
}

const TOKEN_FIELD: &str = "token=";

/// All of a refresh but the token.
fn refresh_front(material: &Material) -> Vec<u8> {
    let client = material.people_client.as_ref();
    let head = request_head("/oauth2/token", client.map_or("", Credentials::authorization), FORM);
    let length = REFRESH_FORM.len() + REFRESH_TOKEN_BYTES;
    format!("{head}Content-Length: {length}\r\n\r\n{REFRESH_FORM}").into_bytes()
}

/// What refreshes look like, for who does not read them.
fn refreshes(material: &Material) -> Vec<Vec<u8>> {
    vec![[&*refresh_front(material), &[b'x'; REFRESH_TOKEN_BYTES]].concat()]
}

/// The length of a refresh token of Tessera's.
pub(crate) const REFRESH_TOKEN_BYTES: usize = 93;

/// Batches of any live tokens.
fn batches(material: &Material, random: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    let batch = |number: usize, random: &mut fastrand::Rng| {
        let asker = material.gateways.get(number % material.gateways.len().max(1));
        let head = request_head("/oauth2/introspect/batch", asker.map_or("", Credentials::authorization), JSON);
        let any = |_| material.live.at(random.usize(..material.live.len().max(1)));
        let tokens: Vec<_> = (0..BATCH_TOKENS).filter_map(any).filter_map(|token| str::from_utf8(token).ok()).collect();
        let mut request = Vec::new();
        write_request(&head, &format!(r#"{{"tokens":["{}"]}}"#, tokens.join(r#"",""#)), &mut request);
        request
    };
    (0..BATCHES).map(|number| batch(number, random)).collect()
}

/// Texts that are no token, of many lengths.
fn garbage(material: &Material, random: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    let text = |number: usize, random: &mut fastrand::Rng| {
        let asker = material.gateways.get(number % material.gateways.len().max(1));
        let head = request_head("/oauth2/introspect", asker.map_or("", Credentials::authorization), FORM);
        let length = random.usize(1..GARBAGE_BYTES_MAX);
        let text: String = (0..length).map(|_| random.alphanumeric()).collect();
        let mut request = Vec::new();
        write_request(&head, &format!("{TOKEN_FIELD}{text}"), &mut request);
        request
    };
    (0..GARBAGE_TEXTS).map(|number| text(number, random)).collect()
}

const JSON: &str = "application/json";
/// Different batches: all of their tokens together are far more than a cache holds.
const BATCHES: usize = 300;
const GARBAGE_TEXTS: usize = 10_000;
const GARBAGE_BYTES_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;

    fn material() -> Material {
        let tokens = |letter: &str| {
            let mut tokens = Tokens::default();
            (0..9).for_each(|number| assert!(tokens.push(&format!("{letter}{number}"))));
            Arc::new(tokens)
        };
        let client = |id: &str| Credentials::new(id, "secret");
        Material {
            gateways: vec![client("gateway")],
            clients: vec![client("one"), client("other")],
            revoker: Some(client("revoker")),
            live: tokens("l"),
            expired: tokens("e"),
            revoked: tokens("r"),
            unknown: tokens("u"),
            pool: tokens("p"),
            people_client: Some(client("people")),
            leaves: Arc::new(Mutex::new(VecDeque::from([Box::from([b'f'; REFRESH_TOKEN_BYTES])]))),
        }
    }

    fn recipe(scenario: Scenario) -> Recipe {
        Recipe::new(scenario, Shares::default(), Subject::Tessera, material(), 1)
    }

    /// Every request of a scenario is whole, and ends in a body of the length that it says.
    #[test]
    fn every_scenario_makes_whole_requests() {
        for scenario in Scenario::value_variants() {
            let mut requests = recipe(*scenario).requests((0, 1), 1);
            let mut out = Vec::new();
            assert!(requests.write_next(&mut out).is_some(), "{scenario:?}");
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut request = httparse::Request::new(&mut headers);
            let head = request.parse(&out).unwrap().unwrap();
            let length = request.headers.iter().find(|header| header.name == "Content-Length").unwrap().value;
            assert_eq!(str::from_utf8(length).unwrap(), (out.len() - head).to_string(), "{scenario:?}");
            assert!(request.headers.iter().any(|header| header.name == "Authorization"), "{scenario:?}");
        }
    }

    #[test]
    fn threads_revoke_different_tokens_and_together_all() {
        let recipe = recipe(Scenario::Revoke);
        let mut revoked = Vec::new();
        for number in 0..4 {
            let mut requests = recipe.requests((number, 4), 1);
            let mut out = Vec::new();
            while requests.write_next(&mut out).is_some() {
                revoked.push(out.split_off(out.len() - 2));
                out.clear();
            }
        }
        revoked.sort();
        let expected: Vec<_> = (0..9).map(|number| format!("p{number}").into_bytes()).collect();
        assert_eq!(revoked, expected);
    }

    #[test]
    fn a_mix_expects_of_each_kind_its_answer() {
        let mut requests = recipe(Scenario::IntrospectMix).requests((0, 1), 1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let mut out = Vec::new();
            let sent = requests.write_next(&mut out).unwrap();
            seen.insert((char::from(out[out.len() - 2]), sent.expected.ends_with(b"true")));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [('e', false), ('l', true), ('r', false), ('u', false)]);
    }

    #[test]
    fn only_the_introspections_of_a_storm_are_timed() {
        let mut requests = recipe(Scenario::RevokeStorm).requests((0, 1), 1);
        let mut out = Vec::new();
        while let Some(sent) = requests.write_next(&mut out) {
            assert_eq!(sent.is_timed, out.starts_with(b"POST /oauth2/introspect "));
            out.clear();
        }
    }
}
