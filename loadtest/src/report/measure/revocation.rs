//! How soon a revocation is in effect for somebody who asks on another connection.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Connection, Credentials};
use crate::engine::site::Site;
use crate::report::measure::facts::latency;
use crate::report::measure::{PhaseError, Run};
use crate::report::model::RevocationDelay;

/// Revokes one token after the other, while another connection introspects that one again and again.
pub(super) async fn delay(run: &mut Run, site: &mut Site) -> Result<(), PhaseError> {
    let lacks = |what: &str| PhaseError::Lacks(what.to_owned());
    let owner = site.material().revoker.clone().ok_or_else(|| lacks("a client that revokes"))?;
    let gateway = site.material().gateways.first().cloned().ok_or_else(|| lacks("a client that may ask"))?;
    let mut revoking = Connection::open(site.address()).await?;
    let mut asking = Connection::open(site.address()).await?;
    let (mut micros, mut after_answer, mut late) = (Vec::new(), Vec::new(), 0);
    for _ in 0..run.pace.revocations {
        let issued = revoking.ask(owner.issue()).await?;
        let refused = || PhaseError::Refused { what: "a token request", status: issued.status.as_u16() };
        let token = issued.access_token().ok_or_else(refused)?;
        let seen = watch(&token, (&mut revoking, &owner), (&mut asking, &gateway)).await?;
        micros.push(in_micros(seen.delay));
        after_answer.push(in_micros(seen.after_answer));
        late += seen.late;
    }
    if late > 0 {
        run.fail("revocation", format!("{late} introspections that were asked after the answer still said active"));
    }
    let revocations = u64::try_from(micros.len()).unwrap_or(u64::MAX);
    let (latency, after_answer) = (latency(micros), latency(after_answer));
    run.capacity.revocation = Some(RevocationDelay { revocations, latency, after_answer, late });
    Ok(())
}

/// What was seen of one revocation.
struct Seen {
    /// From sending it to the first answer that says so.
    delay: Duration,
    /// The same from its answer; nothing where it was in effect by then.
    after_answer: Duration,
    /// Introspections that were asked after its answer and did not say so.
    late: u64,
}

async fn watch(
    token: &str,
    (revoking, owner): (&mut Connection, &Credentials),
    (asking, gateway): (&mut Connection, &Credentials),
) -> Result<Seen, PhaseError> {
    let (began, answered) = (Instant::now(), Cell::new(None));
    let revoke = async {
        let answer = revoking.ask(owner.revoke(token)).await?;
        answered.set(Some(Instant::now()));
        match answer.status.as_u16() {
            200 => Ok(()),
            status => Err(PhaseError::Refused { what: "a revocation", status }),
        }
    };
    let look = async {
        let mut late = 0;
        loop {
            let asked = Instant::now();
            let answer = asking.ask(gateway.introspect(token)).await?;
            let is_active = answer.is_active();
            let refused = || PhaseError::Refused { what: "an introspection", status: answer.status.as_u16() };
            if !is_active.ok_or_else(refused)? {
                return Ok((Instant::now(), late));
            }
            late += u64::from(answered.get().is_some_and(|answered| answered < asked));
            if began.elapsed() > LIMIT {
                return Err(PhaseError::Late { limit: LIMIT });
            }
        }
    };
    let ((), (seen, late)) = tokio::try_join!(revoke, look)?;
    let after = answered.get().filter(|_| late > 0).map_or(Duration::ZERO, |answered| seen.duration_since(answered));
    Ok(Seen { delay: seen.duration_since(began), after_answer: after, late })
}

/// A revocation that is not in effect by then will never be.
const LIMIT: Duration = Duration::from_secs(10);

fn in_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
