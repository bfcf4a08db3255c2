//! The keys that sign: made at the first start, and looked after while the server runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::{Actor as _, Addr, Arbiter};
use ring::rand::SecureRandom;

use crate::clock::{Clock, UnixTime};
use crate::config::TokenConfig;
use crate::journal::Lane;
use crate::oauth::algorithm::SigningAlgorithm;
use crate::signing::actor::{KeyActor, KeyActorParts, KeyError, RemoveSpentKey, ask, make_key};
use crate::signing::registry::{KeyRegistry, UnopenedKey};
use crate::signing::seal::Sealer;

/// The actor of the keys on its thread.
pub(super) struct RunningKeys {
    pub(super) actor: Addr<KeyActor>,
    pub(super) arbiter: Arbiter,
    pub(super) upkeep: KeyUpkeep,
}

/// Rotates keys when they are due, and removes them when they are spent.
#[derive(Clone)]
pub(super) struct KeyUpkeep {
    registry: Arc<KeyRegistry>,
    actor: Addr<KeyActor>,
    /// 0: never.
    rotation_days: u32,
    publish_seconds: u32,
    is_busy: Arc<AtomicBool>,
}

impl RunningKeys {
    /// Opens what was recovered, and starts the actor.
    pub(super) fn start(
        config: &TokenConfig,
        registry: &Arc<KeyRegistry>,
        lane: Lane,
        sealer: Sealer,
        clock: &Arc<Clock>,
        random: &Arc<dyn SecureRandom + Send + Sync>,
    ) -> Result<Self, UnopenedKey> {
        registry.open(&sealer, clock.now())?;
        let (random, clock) = (Arc::clone(random), Arc::clone(clock));
        let actor = KeyActor::new(KeyActorParts { registry: Arc::clone(registry), lane, sealer, clock, random });
        let arbiter = Arbiter::new();
        let actor = KeyActor::start_in_arbiter(&arbiter.handle(), move |_| actor);
        let upkeep = KeyUpkeep {
            registry: Arc::clone(registry),
            actor: actor.clone(),
            rotation_days: config.key_rotation_days,
            publish_seconds: config.key_publish_seconds,
            is_busy: Arc::default(),
        };
        Ok(Self { actor, arbiter, upkeep })
    }

    /// Makes a key for each of these algorithms that has none. Answers when those are durable that take no time to make; one of
    /// RSA follows while the server answers already.
    pub(super) async fn ensure(&self, algorithms: &[SigningAlgorithm], now: UnixTime) -> Result<(), KeyError> {
        for algorithm in algorithms.iter().copied() {
            if self.upkeep.registry.keys().all(now).any(|(key, _)| key.algorithm() == algorithm) {
                continue;
            }
            if !matches!(algorithm, SigningAlgorithm::Rs256 | SigningAlgorithm::Ps256) {
                make_key(&self.actor, algorithm, now).await?;
                continue;
            }
            let actor = self.actor.clone();
            actix_rt::spawn(async move {
                if let Err(error) = make_key(&actor, algorithm, now).await {
                    tracing::error!(%error, algorithm = algorithm.as_str(), "a first key cannot be made; restart to try again");
                }
            });
        }
        Ok(())
    }
}

impl KeyUpkeep {
    /// Does what is due. Call it about once a second.
    pub(super) fn tick(&self, now: UnixTime) {
        let due = self.due(now);
        let keys = self.registry.keys();
        if (due.is_empty() && !keys.has_spent(now)) || self.is_busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let upkeep = self.clone();
        actix_rt::spawn(async move {
            if let Err(error) = upkeep.work(&due, now).await {
                tracing::warn!(%error, "the keys cannot be rotated or removed now; it is tried again");
            }
            upkeep.is_busy.store(false, Ordering::Release);
        });
    }

    async fn work(&self, due: &[SigningAlgorithm], now: UnixTime) -> Result<(), KeyError> {
        ask(&self.actor, RemoveSpentKey).await?;
        for algorithm in due.iter().copied() {
            make_key(&self.actor, algorithm, now.plus_seconds(u64::from(self.publish_seconds))).await?;
            tracing::info!(algorithm = algorithm.as_str(), "made a new key, which signs once others have learnt of it");
        }
        Ok(())
    }

    /// The algorithms whose newest key is as old as a key may become.
    fn due(&self, now: UnixTime) -> Vec<SigningAlgorithm> {
        if self.rotation_days == 0 {
            return Vec::new();
        }
        let keys = self.registry.keys();
        let newest = |algorithm: SigningAlgorithm| {
            let own = keys.all(now).filter(|(key, _)| key.algorithm() == algorithm);
            own.map(|(key, _)| key.created_at).max()
        };
        let is_due = |algorithm: &SigningAlgorithm| {
            newest(*algorithm).is_some_and(|made| made.plus_seconds(u64::from(self.rotation_days) * 86_400) <= now)
        };
        SigningAlgorithm::ALL.into_iter().filter(is_due).collect()
    }
}
