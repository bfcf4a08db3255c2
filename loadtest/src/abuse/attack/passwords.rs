//! A flood of logins with wrong passwords: of accounts that exist and of some that do not, from ever new addresses, so that
//! no limit of an address or of an account keeps the passwords from being checked.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::abuse::attack::{Deeds, Target};
use crate::client::{Bearer, Connection, NoAnswer};
use crate::people::{Account, Browser};

pub(super) const CONNECTIONS: usize = 100;
/// Between two logins on one connection: 2,000 a second in all.
const PERIOD: Duration = Duration::from_millis(50);
/// Logins from one address: fewer than it may fail in a minute.
const LOGINS_OF_ADDRESS: usize = 20;
/// Accounts that exist.
const ACCOUNTS: usize = 500;

/// Makes the accounts, and attacks them.
pub(super) async fn run(target: &Target, deeds: &Deeds) {
    if let Err(reason) = make_accounts(target, deeds).await {
        deeds.note(format_args!("accounts not made: {reason}"));
    }
    join_all((0..CONNECTIONS).map(async |_| {
        let mut random = fastrand::Rng::new();
        sleep(PERIOD.mul_f64(random.f64())).await;
        loop {
            // Whoever is refused a connection tries again from elsewhere.
            if log_in_from(any_address(&mut random), target, deeds, &mut random).await.is_err() {
                deeds.note("not answered");
                sleep(PERIOD).await;
            }
        }
    }))
    .await;
}

async fn log_in_from(
    source: IpAddr,
    target: &Target,
    deeds: &Deeds,
    random: &mut fastrand::Rng,
) -> Result<(), NoAnswer> {
    let mut connection = Connection::open_from(source, target.address).await?;
    deeds.connected();
    let mut browser = Browser::default();
    let page = connection.ask(browser.login_page()).await?;
    browser.take(&page);
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..LOGINS_OF_ADDRESS {
        ticks.tick().await;
        let username = if random.bool() { username(random.usize(..ACCOUNTS)) } else { username(random.usize(..)) };
        let answer = connection.ask(browser.log_in(&page, &Account::new(username, random))).await?;
        deeds.note(format_args!("answered {}", answer.status.as_u16()));
    }
    Ok(())
}

/// An address of this machine, of 16 million.
fn any_address(random: &mut fastrand::Rng) -> IpAddr {
    Ipv4Addr::new(127, random.u8(1..255), random.u8(..), random.u8(1..255)).into()
}

fn username(number: usize) -> String {
    format!("victim-{number}")
}

/// An account whose password nobody knows.
#[derive(Serialize)]
struct Victim {
    username: String,
    password_hash: &'static str,
}

/// Of a password that nobody knows, at the cost that the server's own hashes have.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0IG9mIG91cnM$\
    AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// Those that are there already are refused, and stay.
async fn make_accounts(target: &Target, deeds: &Deeds) -> Result<(), NoAnswer> {
    let mut connection = Connection::open(target.address).await?;
    let answer = connection.ask(target.admin.issue()).await?;
    let bearer = Bearer::new(&answer.access_token().unwrap_or_default());
    for number in 0..ACCOUNTS {
        let victim = Victim { username: username(number), password_hash: HASH };
        let answer = connection.ask(bearer.create_user(&victim)).await?;
        deeds.note(format_args!("accounts answered {}", answer.status.as_u16()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_this_machine_and_another_each_time() {
        let mut random = fastrand::Rng::with_seed(1);
        let [one, other] = [any_address(&mut random), any_address(&mut random)];
        assert!(one.is_loopback() && other.is_loopback() && one != other);
    }
}
