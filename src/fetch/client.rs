//! One fetch: a name is resolved, its addresses are checked, and one document is read over a connection of its own.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::fetch::address::{RefusedAddress, check_address};
use crate::fetch::allow::AllowList;
use crate::fetch::resolve::Resolve;
use crate::oauth::fetch_uri::{FetchHost, FetchUri};

/// What a fetch may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// How long it may take until an address answers, with the handshake of TLS. Default 2 s.
    pub connect: Duration,
    /// How long it may take altogether, also to wait for others. Default 5 s.
    pub whole: Duration,
    /// The longest document, in bytes. Default 64 KiB.
    pub body_bytes: usize,
    /// How many may go on at once. Default 16.
    pub at_once: usize,
    /// How many of them from one host and port. Default 2.
    pub at_once_of_host: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            whole: Duration::from_secs(5),
            body_bytes: 64 * 1024,
            at_once: 16,
            at_once_of_host: 2,
        }
    }
}

/// The longest head of an answer, in bytes, and the most fields that it may have.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEAD_FIELDS_MAX: usize = 64;
/// How many addresses of a name are tried.
const ADDRESSES_TRIED_MAX: usize = 3;

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No operator has allowed it.
    #[error("the setting fetch_allow does not allow this host and port")]
    NotAllowed,
    /// The name has no address.
    #[error("its name cannot be resolved: {0}")]
    Resolve(io::Error),
    /// The name has an address, perhaps among others, that nothing is fetched from.
    #[error("its name has the address {address}, which is {reason}: if that is meant, name the network in fetch_allow")]
    Address {
        /// The address.
        address: IpAddr,
        /// What it is.
        reason: RefusedAddress,
    },
    /// Nobody answers, or not in time.
    #[error("it cannot be connected to: {0}")]
    Connect(io::Error),
    /// The certificate is not of that name, or of nobody whom we trust.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The answer is no HTTP, or its head is too long, or it breaks off.
    #[error("its answer cannot be read: {0}")]
    Http(#[from] hyper::Error),
    /// The answer leads elsewhere.
    #[error("it answers {0}, and redirects are not followed")]
    Redirect(StatusCode),
    /// The answer is no document.
    #[error("it answers {0}")]
    Status(StatusCode),
    /// The answer is compressed, which nobody asked for.
    #[error("its answer has a Content-Encoding")]
    Encoded,
    /// The document is too long.
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
    /// The whole time is over.
    #[error("it took longer than {} ms", .0.as_millis())]
    Overdue(Duration),
}

impl FetchError {
    /// What metrics call it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::Resolve(_) => "unresolved",
            Self::Address { .. } => "address_refused",
            Self::Connect(_) => "unconnected",
            Self::Tls(_) => "tls",
            Self::Http(_) => "http",
            Self::Redirect(_) => "redirect",
            Self::Status(_) => "status",
            Self::Encoded => "encoded",
            Self::TooLong(_) => "too_long",
            Self::Overdue(_) => "overdue",
        }
    }
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The document.
    pub body: Bytes,
    /// How long it may be kept, as its `Cache-Control` says, in seconds.
    pub max_age_seconds: Option<u64>,
}

/// Whose certificates are believed.
#[derive(Clone, Debug)]
pub struct Roots(RootCertStore);

/// Why there is nobody to believe.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file cannot be read.
    #[error("fetch_ca_file: {} cannot be read: {reason}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The machine has none.
    #[error(
        "fetch_allow: this machine has no certificates of authorities: install its package (ca-certificates), or name a file in \
         fetch_ca_file"
    )]
    None,
}

impl Roots {
    /// Those of the machine: its operator, who updates and adds to them, decides whom it trusts, and not what was compiled in.
    ///
    /// # Errors
    ///
    /// [`RootsError::None`].
    pub fn of_system() -> Result<Self, RootsError> {
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 { Err(RootsError::None) } else { Ok(Self(store)) }
    }

    /// Those of a file, in PEM, and no others.
    ///
    /// # Errors
    ///
    /// [`RootsError::File`].
    pub fn read(path: &Path) -> Result<Self, RootsError> {
        let refused = |reason: String| RootsError::File { path: path.to_owned(), reason };
        let text = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| refused(format!("it is no PEM: {error}")))?;
            store.add(certificate).map_err(|error| refused(format!("a certificate is not understood: {error}")))?;
        }
        if store.is_empty() { Err(refused("there is no certificate in it".to_owned())) } else { Ok(Self(store)) }
    }
}

/// Fetches documents.
pub struct Fetcher {
    allow: AllowList,
    limits: FetchLimits,
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
    places: Semaphore,
    places_by_host: Mutex<HashMap<(FetchHost, u16), Arc<Semaphore>>>,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Fetcher").field("allow", &self.allow).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Fetches from whom the list allows.
    #[must_use]
    pub fn new(allow: AllowList, limits: FetchLimits, resolver: Arc<dyn Resolve>, roots: Roots) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let mut config = match builder.with_protocol_versions(rustls::ALL_VERSIONS) {
            Ok(builder) => builder.with_root_certificates(roots.0).with_no_client_auth(),
            Err(error) => unreachable!("ring has suites of TLS 1.2 and 1.3: {error}"),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            allow,
            limits,
            resolver,
            tls: TlsConnector::from(Arc::new(config)),
            places: Semaphore::new(limits.at_once),
            places_by_host: Mutex::default(),
        }
    }

    /// Whom it may fetch from.
    #[must_use]
    pub const fn allow(&self) -> &AllowList {
        &self.allow
    }

    /// Fetches a document.
    ///
    /// # Errors
    ///
    /// [`FetchError`], which is for operators: it may name what only this machine sees.
    pub async fn fetch(&self, uri: &FetchUri) -> Result<Fetched, FetchError> {
        let networks = self.allow.find(uri).ok_or(FetchError::NotAllowed)?;
        let of_host = self.places_of(uri);
        let fetching = async {
            // Whoever waits for a slow host takes nobody else's place.
            let _place_of_host = of_host.acquire().await;
            let _place = self.places.acquire().await;
            let addresses = self.addresses(uri, &networks).await?;
            self.fetch_from(uri, &addresses).await
        };
        let fetched = timeout(self.limits.whole, fetching).await;
        drop(of_host);
        self.forget_idle_hosts();
        fetched.unwrap_or(Err(FetchError::Overdue(self.limits.whole)))
    }

    fn places_of(&self, uri: &FetchUri) -> Arc<Semaphore> {
        let mut by_host = self.places_by_host.lock().unwrap_or_else(PoisonError::into_inner);
        let places = || Arc::new(Semaphore::new(self.limits.at_once_of_host));
        Arc::clone(by_host.entry((uri.host().clone(), uri.port())).or_insert_with(places))
    }

    /// There are as many hosts as fetches that go on.
    fn forget_idle_hosts(&self) {
        let mut by_host = self.places_by_host.lock().unwrap_or_else(PoisonError::into_inner);
        by_host.retain(|_, places| Arc::strong_count(places) > 1);
    }

    /// The addresses of a host, looked up once; every one has been checked.
    async fn addresses(&self, uri: &FetchUri, networks: &[ipnet::IpNet]) -> Result<Vec<SocketAddr>, FetchError> {
        let found = match uri.host() {
            FetchHost::Address(address) => vec![*address],
            FetchHost::Name(name) => self.resolver.resolve(name).await.map_err(FetchError::Resolve)?,
        };
        if found.is_empty() {
            return Err(FetchError::Resolve(io::Error::other("it has no address")));
        }
        let checked = found.into_iter().map(|address| {
            check_address(address, networks).map_err(|reason| FetchError::Address { address, reason })?;
            Ok(SocketAddr::new(address.to_canonical(), uri.port()))
        });
        checked.collect()
    }

    async fn fetch_from(&self, uri: &FetchUri, addresses: &[SocketAddr]) -> Result<Fetched, FetchError> {
        let mut failure = FetchError::Connect(io::Error::other("it has no address"));
        for address in addresses.iter().take(ADDRESSES_TRIED_MAX) {
            let connected = timeout(self.limits.connect, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) if uri.is_plain() => return self.exchange(uri, stream).await,
                Ok(stream) => {
                    let handshake = self.tls.connect(server_name(uri.host()), stream);
                    let secured = timeout(self.limits.connect, handshake).await;
                    let secured = secured.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                    return self.exchange(uri, secured.map_err(FetchError::Tls)?).await;
                }
                Err(error) => failure = FetchError::Connect(error),
            }
        }
        Err(failure)
    }

    /// One request over a connection that ends with it.
    async fn exchange(
        &self,
        uri: &FetchUri,
        stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<Fetched, FetchError> {
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEAD_FIELDS_MAX);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        let mut connection = pin!(connection);
        let mut answered = pin!(async {
            let response = sender.send_request(request_for(uri)).await?;
            self.read(response).await
        });
        let mut is_open = true;
        // Both in one future: whoever gives up waiting for it ends the connection too.
        loop {
            tokio::select! {
                biased;
                fetched = &mut answered => return fetched,
                _ = &mut connection, if is_open => is_open = false,
            }
        }
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Fetched, FetchError> {
        let status = response.status();
        if status.is_redirection() {
            return Err(FetchError::Redirect(status));
        }
        if status != StatusCode::OK {
            return Err(FetchError::Status(status));
        }
        if response.headers().contains_key(header::CONTENT_ENCODING) {
            return Err(FetchError::Encoded);
        }
        let max_age_seconds = max_age(response.headers());
        let body_bytes = self.limits.body_bytes;
        let body = Limited::new(response.into_body(), body_bytes).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => FetchError::Http(*error),
            Err(other) => {
                debug_assert!(other.is::<LengthLimitError>(), "{other}");
                FetchError::TooLong(body_bytes)
            }
        })?;
        Ok(Fetched { body: body.to_bytes(), max_age_seconds })
    }
}

fn request_for(uri: &FetchUri) -> Request<Empty<Bytes>> {
    let usual = if uri.is_plain() { 80 } else { 443 };
    let host = if uri.port() == usual { uri.host().to_string() } else { format!("{}:{}", uri.host(), uri.port()) };
    let request = Request::get(uri.target()).header(header::HOST, host);
    let request = request.header(header::ACCEPT, "application/jwk-set+json, application/json");
    let request = request.header(header::USER_AGENT, concat!("tessera/", env!("CARGO_PKG_VERSION")));
    // A target of visible characters and these fields are a request.
    request.header(header::CONNECTION, "close").body(Empty::new()).unwrap_or_default()
}

fn server_name(host: &FetchHost) -> ServerName<'static> {
    match host {
        FetchHost::Address(address) => ServerName::from(*address),
        FetchHost::Name(name) => match ServerName::try_from(name.clone()) {
            Ok(name) => name,
            // No certificate has an unspecified address, so it is refused.
            Err(_) => ServerName::from(IpAddr::from([0, 0, 0, 0])),
        },
    }
}

/// RFC 9111 §5.2.2.1; 0 for what is not to be kept.
fn max_age(headers: &HeaderMap) -> Option<u64> {
    let fields = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|field| field.to_str().ok());
    let directives = fields.flat_map(|field| field.split(',')).map(|directive| directive.trim().to_ascii_lowercase());
    let seconds = directives.filter_map(|directive| match directive.as_str() {
        "no-store" | "no-cache" => Some(0),
        other => other.strip_prefix("max-age=")?.trim_matches('"').parse().ok(),
    });
    seconds.min()
}
