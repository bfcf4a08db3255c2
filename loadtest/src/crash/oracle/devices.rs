//! Devices that wait for people: what a person has said to each, and whether it got its tokens.
//!
//! ```text
//!           a person decides         acknowledged          polled
//! Not ──────────────────────▶ Perhaps ──────────▶ Surely ──────────▶ a grant, once; or a denial, again and again
//!  ▲                             │
//!  └─────────────────────────────┘
//!   refused; or it waits after a restart, which ended all requests
//! ```
//!
//! A device is worked with by one connection at a time. Where the answer to a poll was lost its code may have been redeemed: then
//! nobody has the tokens, for a device code gives them once.

use std::collections::BTreeSet;

use tokio::time::{Duration, Instant};

use crate::client::Granted;
use crate::crash::oracle::grants::Origin;
use crate::crash::oracle::{ClientNumber, Oracle, TRIES, sample, with_sample};
use crate::crash::violation::Violation;

/// A device, by its number in the order of the first answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::crash) struct DeviceNumber(usize);

/// Every device that was acknowledged.
#[derive(Default)]
pub(super) struct Devices {
    devices: Vec<Device>,
    /// Touched since the last check.
    changed: BTreeSet<DeviceNumber>,
}

struct Device {
    client: ClientNumber,
    device_code: String,
    user_code: String,
    asked_at: Instant,
    decided: Decided,
    redeemed: Redeemed,
    is_taken: bool,
}

/// What a person says to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::crash) enum Decision {
    Allow,
    Deny,
}

/// What a person has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decided {
    Not,
    /// Nobody knows whether it came to the server.
    Perhaps(Decision),
    Surely(Decision),
}

/// Whether a device code was redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Redeemed {
    Not,
    /// The answer was lost.
    Perhaps,
    /// It was, or has expired: nobody gets anything for it any more.
    Surely,
}

/// What a device is told (RFC 8628 §3.5).
pub(in crate::crash) enum Polled {
    Granted(Granted),
    /// `authorization_pending` or `slow_down`.
    Pending,
    /// `access_denied`.
    Denied,
    /// `invalid_grant` or `expired_token`.
    Refused,
    /// It changed nothing.
    Busy,
}

/// Asked before a poll is sent, handed back with the answer.
#[derive(Clone, Copy, Debug)]
pub(in crate::crash) struct Polling {
    device: DeviceNumber,
    redeemed: Redeemed,
}

/// For how long a device surely waits for a person.
const DEVICE_GOOD: Duration = Duration::from_secs(480);

impl Device {
    /// Whether its code is surely known still, and not redeemed.
    fn waits(&self, now: Instant) -> bool {
        self.redeemed == Redeemed::Not && now < self.asked_at + DEVICE_GOOD
    }
}

/// What a connection may do next.
impl Oracle {
    /// A device that nobody has decided about. It is the caller's until it is given back.
    pub(in crate::crash) fn take_undecided(
        &mut self,
        random: &mut fastrand::Rng,
        now: Instant,
    ) -> Option<DeviceNumber> {
        self.take_device(random, |device| device.waits(now) && device.decided == Decided::Not)
    }

    /// A device that waits for its tokens.
    pub(in crate::crash) fn take_waiting(&mut self, random: &mut fastrand::Rng, now: Instant) -> Option<DeviceNumber> {
        self.take_device(random, |device| device.waits(now))
    }

    /// A device that has got its tokens.
    pub(in crate::crash) fn take_redeemed(&mut self, random: &mut fastrand::Rng) -> Option<DeviceNumber> {
        self.take_device(random, |device| device.redeemed == Redeemed::Surely)
    }

    fn take_device(&mut self, random: &mut fastrand::Rng, is_wanted: impl Fn(&Device) -> bool) -> Option<DeviceNumber> {
        let picked = sample(TRIES, self.devices.devices.len(), DeviceNumber, random);
        let is_free = |number: &DeviceNumber| !self.device(*number).is_taken && is_wanted(self.device(*number));
        let found = picked.into_iter().find(is_free)?;
        self.take_this_device(found);
        Some(found)
    }

    /// That device, while nobody else asks for anything.
    pub(in crate::crash) fn take_this_device(&mut self, number: DeviceNumber) {
        self.devices.changed.insert(number);
        self.device_mut(number).is_taken = true;
    }

    pub(in crate::crash) fn give_back_device(&mut self, number: DeviceNumber) {
        self.device_mut(number).is_taken = false;
    }

    pub(in crate::crash) fn client_of_device(&self, number: DeviceNumber) -> ClientNumber {
        self.device(number).client
    }

    pub(in crate::crash) fn device_code(&self, number: DeviceNumber) -> &str {
        &self.device(number).device_code
    }

    pub(in crate::crash) fn user_code(&self, number: DeviceNumber) -> &str {
        &self.device(number).user_code
    }
}

/// What happens to devices.
impl Oracle {
    /// A device that asked then was let in.
    pub(in crate::crash) fn device_begun(
        &mut self,
        client: ClientNumber,
        device_code: String,
        user_code: String,
        asked_at: Instant,
    ) {
        let number = DeviceNumber(self.devices.devices.len());
        let (decided, redeemed, is_taken) = (Decided::Not, Redeemed::Not, false);
        self.devices.devices.push(Device { client, device_code, user_code, asked_at, decided, redeemed, is_taken });
        self.devices.changed.insert(number);
    }

    /// What a person says to a taken device is about to be sent.
    pub(in crate::crash) fn begin_decision(&mut self, number: DeviceNumber, decision: Decision) {
        self.device_mut(number).decided = Decided::Perhaps(decision);
    }

    /// It was acknowledged.
    pub(in crate::crash) fn decided(&mut self, number: DeviceNumber, decision: Decision) {
        self.device_mut(number).decided = Decided::Surely(decision);
    }

    /// It was refused, and a refusal changes nothing.
    pub(in crate::crash) fn decision_refused(&mut self, number: DeviceNumber) {
        self.device_mut(number).decided = Decided::Not;
    }

    /// A person has looked for a taken device that waits, and there is none.
    pub(in crate::crash) fn device_unknown(&mut self, number: DeviceNumber) {
        let place = self.place_of_client(self.device(number).client);
        self.note(Violation::DeviceLost(place));
        self.device_mut(number).redeemed = Redeemed::Surely;
    }

    /// A poll of a taken device is about to be sent.
    pub(in crate::crash) fn begin_poll(&mut self, number: DeviceNumber) -> Polling {
        let device = self.device_mut(number);
        let redeemed = device.redeemed;
        let may_be_allowed =
            matches!(device.decided, Decided::Perhaps(Decision::Allow) | Decided::Surely(Decision::Allow));
        if redeemed == Redeemed::Not && may_be_allowed {
            device.redeemed = Redeemed::Perhaps;
        }
        Polling { device: number, redeemed }
    }

    /// It was answered.
    pub(in crate::crash) fn polled(
        &mut self,
        Polling { device: number, redeemed }: Polling,
        polled: Polled,
        connection: usize,
        times: (Instant, Instant),
    ) {
        let (_, now) = times;
        let device = self.device(number);
        let (client, decided, is_good) = (device.client, device.decided, now < device.asked_at + DEVICE_GOOD);
        if let Some(violation) = violation(&polled, decided, redeemed, is_good) {
            let place = self.place_of_client(client);
            return self.note(violation(place));
        }
        let device = self.device_mut(number);
        (device.decided, device.redeemed) = match &polled {
            Polled::Granted(_) => (Decided::Surely(Decision::Allow), Redeemed::Surely),
            // Were a decision in the journal, the device would be told of it: it will never come.
            Polled::Pending => (Decided::Not, Redeemed::Not),
            Polled::Denied => (Decided::Surely(Decision::Deny), Redeemed::Not),
            Polled::Refused => (decided, Redeemed::Surely),
            Polled::Busy => (decided, redeemed),
        };
        if let Polled::Granted(granted) = polled {
            self.granted(client, Origin::Device, granted, connection, times);
        }
    }
}

/// What is wrong with an answer to a poll.
const fn violation(
    polled: &Polled,
    decided: Decided,
    redeemed: Redeemed,
    is_good: bool,
) -> Option<fn(crate::crash::violation::Place) -> Violation> {
    use Decided::{Not, Perhaps, Surely};
    use Decision::{Allow, Deny};
    match (polled, redeemed, decided) {
        (Polled::Granted(_), Redeemed::Surely, _) => Some(Violation::UsedTwice),
        (Polled::Granted(_), _, Not | Perhaps(Deny) | Surely(Deny)) => Some(Violation::NotAllowed),
        (Polled::Pending | Polled::Denied, Redeemed::Surely, _)
        | (Polled::Pending, _, Surely(_))
        | (Polled::Denied, _, Not | Perhaps(Allow) | Surely(Allow)) => Some(Violation::DecisionLost),
        (Polled::Refused, Redeemed::Not, _) if is_good => Some(Violation::DeviceLost),
        _ => None,
    }
}

/// What is looked up after a restart.
impl Oracle {
    /// All devices that were touched since this was last called, and `sample` others. No request may be under way.
    pub(in crate::crash) fn take_changed_devices(
        &mut self,
        sample: usize,
        random: &mut fastrand::Rng,
    ) -> Vec<DeviceNumber> {
        let changed = std::mem::take(&mut self.devices.changed);
        with_sample(changed, sample, self.devices.devices.len(), DeviceNumber, random)
    }

    pub(in crate::crash) fn all_devices(&self) -> Vec<DeviceNumber> {
        (0..self.devices.devices.len()).map(DeviceNumber).collect()
    }

    /// Nobody works with a device any more: the requests to the server before have ended.
    pub(super) fn give_back_all_devices(&mut self) {
        self.devices.devices.iter_mut().for_each(|device| device.is_taken = false);
    }

    #[expect(clippy::indexing_slicing, reason = "numbers are made here alone, and nothing is ever removed")]
    fn device(&self, number: DeviceNumber) -> &Device {
        &self.devices.devices[number.0]
    }

    #[expect(clippy::indexing_slicing, reason = "numbers are made here alone, and nothing is ever removed")]
    fn device_mut(&mut self, number: DeviceNumber) -> &mut Device {
        &mut self.devices.devices[number.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Credentials;
    use crate::crash::oracle::tests::check;

    /// An oracle with one device, which was acknowledged.
    fn one_device() -> (Oracle, DeviceNumber, Instant) {
        let (mut oracle, now) = (Oracle::default(), Instant::now());
        oracle.started();
        let client = oracle.registered(Credentials::new("app", "secret"), Duration::from_secs(3600));
        oracle.device_begun(client, "code".to_owned(), "BCDF-GHJK".to_owned(), now);
        let device = oracle.take_undecided(&mut fastrand::Rng::with_seed(1), now).unwrap();
        (oracle, device, now)
    }

    fn tokens() -> Polled {
        Polled::Granted(Granted { access_token: "at".to_owned(), refresh_token: "rt".to_owned() })
    }

    fn decide(oracle: &mut Oracle, device: DeviceNumber, decision: Decision) {
        oracle.begin_decision(device, decision);
        oracle.decided(device, decision);
    }

    fn poll(oracle: &mut Oracle, device: DeviceNumber, polled: Polled, now: Instant) {
        let polling = oracle.begin_poll(device);
        oracle.polled(polling, polled, 0, (now, now));
    }

    #[test]
    fn a_device_that_was_acknowledged_waits_until_it_expires() {
        let (mut oracle, device, now) = one_device();
        poll(&mut oracle, device, Polled::Pending, now);
        poll(&mut oracle, device, Polled::Refused, now + DEVICE_GOOD);
        check(&oracle, &[]);
        let (mut oracle, device, now) = one_device();
        poll(&mut oracle, device, Polled::Refused, now);
        oracle.device_unknown(device);
        check(&oracle, &[Violation::DeviceLost, Violation::DeviceLost]);
    }

    #[test]
    fn an_acknowledged_decision_is_not_forgotten() {
        for (decision, wrong) in [(Decision::Allow, Polled::Denied), (Decision::Deny, Polled::Pending)] {
            let (mut oracle, device, now) = one_device();
            decide(&mut oracle, device, decision);
            poll(&mut oracle, device, Polled::Busy, now);
            check(&oracle, &[]);
            poll(&mut oracle, device, wrong, now);
            poll(&mut oracle, device, Polled::Pending, now);
            check(&oracle, &[Violation::DecisionLost, Violation::DecisionLost]);
        }
    }

    #[test]
    fn a_device_gets_tokens_once_and_only_if_somebody_may_have_allowed_it() {
        let (mut oracle, device, now) = one_device();
        decide(&mut oracle, device, Decision::Allow);
        poll(&mut oracle, device, tokens(), now);
        poll(&mut oracle, device, Polled::Refused, now);
        assert_eq!((oracle.all_grants().len(), oracle.all_tokens().len()), (1, 1));
        check(&oracle, &[]);
        poll(&mut oracle, device, tokens(), now);
        poll(&mut oracle, device, Polled::Pending, now);
        check(&oracle, &[Violation::UsedTwice, Violation::DecisionLost]);

        let (mut oracle, device, now) = one_device();
        poll(&mut oracle, device, tokens(), now);
        poll(&mut oracle, device, Polled::Denied, now);
        decide(&mut oracle, device, Decision::Deny);
        poll(&mut oracle, device, Polled::Denied, now);
        poll(&mut oracle, device, tokens(), now);
        check(&oracle, &[Violation::NotAllowed, Violation::DecisionLost, Violation::NotAllowed]);
    }

    #[test]
    fn a_decision_that_nobody_answered_may_have_happened_or_not_but_what_was_seen_of_it_stays() {
        for (decision, done) in [(Decision::Allow, tokens()), (Decision::Deny, Polled::Denied)] {
            let (mut oracle, device, now) = one_device();
            oracle.begin_decision(device, decision);
            poll(&mut oracle, device, done, now);
            check(&oracle, &[]);
            poll(&mut oracle, device, Polled::Pending, now);
            check(&oracle, &[Violation::DecisionLost]);

            let (mut oracle, device, now) = one_device();
            oracle.begin_decision(device, decision);
            poll(&mut oracle, device, Polled::Pending, now);
            check(&oracle, &[]);
            poll(&mut oracle, device, tokens(), now);
            check(&oracle, &[Violation::NotAllowed]);
        }
    }

    #[test]
    fn a_poll_that_nobody_answered_may_have_used_the_code_up() {
        let (mut oracle, device, now) = one_device();
        decide(&mut oracle, device, Decision::Allow);
        oracle.begin_poll(device);
        assert_eq!(oracle.take_waiting(&mut fastrand::Rng::with_seed(1), now), None);
        poll(&mut oracle, device, Polled::Refused, now);
        check(&oracle, &[]);
        poll(&mut oracle, device, tokens(), now);
        check(&oracle, &[Violation::UsedTwice]);

        let (mut oracle, device, now) = one_device();
        oracle.begin_poll(device);
        poll(&mut oracle, device, Polled::Refused, now);
        check(&oracle, &[Violation::DeviceLost]);
    }
}
