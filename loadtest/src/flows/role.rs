//! Users of goose: what they do, and how often.

use std::sync::Arc;

use goose::prelude::{
    GooseError, GooseUser, Scenario, Transaction, TransactionError, TransactionFunction, TransactionResult,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Somebody who goes through a flow, with what it remembers.
pub(super) trait Role: Clone + Send + Sync + 'static {
    /// One of the things that it does again and again.
    type Step: Copy + Send + Sync + 'static;

    /// What it does, under which name, and how often beside the others.
    const STEPS: &'static [(Self::Step, &'static str, u16)];

    /// Comes.
    fn arrive(&mut self, user: &mut GooseUser) -> impl Future<Output = TransactionResult> + Send;

    /// Takes a step.
    fn take(&mut self, step: Self::Step, user: &mut GooseUser) -> impl Future<Output = TransactionResult> + Send;

    /// Goes.
    fn leave(&mut self, _user: &mut GooseUser) -> impl Future<Output = TransactionResult> + Send {
        async { Ok(()) }
    }
}

pub(super) const ARRIVE: &str = "arrive";
pub(super) const LEAVE: &str = "leave";

/// A flow of users who all begin as `role` is.
pub(super) fn scenario<R: Role>(name: &str, weight: u16, role: R) -> Result<Scenario, GooseError> {
    let arrive: TransactionFunction = Arc::new(move |user| {
        let memory = Arc::new(Mutex::new(role.clone()));
        user.set_session_data(memory);
        Box::pin(async { remembered::<R>(user).await?.arrive(user).await })
    });
    let leave: TransactionFunction =
        Arc::new(|user| Box::pin(async { remembered::<R>(user).await?.leave(user).await }));
    let mut scenario = Scenario::new(name)
        .set_weight(usize::from(weight))?
        .register_transaction(Transaction::new(arrive).set_name(ARRIVE).set_on_start())
        .register_transaction(Transaction::new(leave).set_name(LEAVE).set_on_stop());
    for &(step, name, weight) in R::STEPS {
        let take: TransactionFunction =
            Arc::new(move |user| Box::pin(async move { remembered::<R>(user).await?.take(step, user).await }));
        let step = Transaction::new(take).set_name(name).set_weight(usize::from(weight))?;
        scenario = scenario.register_transaction(step);
    }
    Ok(scenario)
}

/// What a user remembers. Nobody else asks for it: goose wants what can be cloned, and that alone is why it is shared.
async fn remembered<R: Role>(user: &GooseUser) -> Result<OwnedMutexGuard<R>, Box<TransactionError>> {
    let memory = user.get_session_data::<Arc<Mutex<R>>>().ok_or("a user who never came")?;
    Ok(Arc::clone(memory).lock_owned().await)
}
