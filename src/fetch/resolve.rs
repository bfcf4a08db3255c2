//! What addresses a name has.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

/// Resolves names. Tests bring their own.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// All addresses that the name has now.
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a>;
}

/// The answer of [`Resolve::resolve`].
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// As the machine does it, on a thread that may wait: the file of hosts, then DNS.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}
