//! Reaching a server: name, TCP, TLS, hello and credentials.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rstmdb_protocol::frame::{self, Decoded, PAYLOAD_BYTES_MAX, WireMode};
use rstmdb_protocol::handshake::{
    AuthRequest, AuthResult, EXTENDED, HelloRequest, HelloResult, extended_features,
};
use rstmdb_protocol::message::{self, Incoming};
use rstmdb_protocol::{PROTOCOL_VERSION, ReadMode, ReadWish, WireCommand};
use rstmdb_types::error::reason;
use rstmdb_types::pem::AUTHORITY_ADVICE;
use rstmdb_types::{Error, ErrorCode, Offset, Result};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::{invalid_option, refused, unreachable};
use crate::nodes::Nodes;
use crate::options::{Endpoint, Options};
use crate::server::ServerInfo;

/// So many servers are followed that say that another one takes writes.
const LEADERS_MAX: usize = 3;
/// After so long without an answer the next host is tried beside those before it.
const ALONE: Duration = Duration::from_secs(1);

/// Everything needed to connect, and what all connections of a client know.
#[derive(Debug)]
pub(crate) struct ConnectSettings {
    pub options: Options,
    pub tls: Option<Arc<ClientConfig>>,
    pub nodes: Nodes,
    pub seen: SeenOffset,
}

impl ConnectSettings {
    /// What a request says of its reading.
    pub(crate) fn wish(&self, mode: ReadMode) -> ReadWish {
        let max_lag = self.options.max_lag.filter(|_| mode == ReadMode::Bounded);
        ReadWish {
            mode,
            min_offset: self.seen.offset().filter(|_| mode == ReadMode::Session),
            max_lag_ms: max_lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Where writes are taken, if that is worth leaving this server for. Who names one host wants that one.
    pub(crate) fn leader_beside(&self, server: &ServerInfo) -> Option<Endpoint> {
        if self.options.endpoints.len() < 2 { None } else { self.nodes.leader_beside(server) }
    }
}

/// How far in the log this client has seen; noted once somebody wants to know.
#[derive(Debug, Default)]
pub(crate) struct SeenOffset {
    is_wanted: AtomicBool,
    offset: AtomicU64,
}

impl SeenOffset {
    pub(crate) fn want(&self) {
        self.is_wanted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, offset: Offset) {
        self.offset.fetch_max(offset, Ordering::Relaxed);
    }

    fn offset(&self) -> Option<Offset> {
        Some(self.offset.load(Ordering::Relaxed)).filter(|offset| *offset > 0)
    }
}

/// A connection that may be used.
#[derive(Debug)]
pub(crate) struct Connected {
    pub stream: Stream,
    /// What arrived behind the last answer.
    pub buffer: Vec<u8>,
    pub server: Arc<ServerInfo>,
}

/// Tries hosts in turn, each a while after the one before. With `follows`, goes on from there to where writes are
/// taken, if that can be reached.
pub(crate) async fn any(
    settings: &ConnectSettings,
    hosts: &[Endpoint],
    follows: bool,
) -> Result<Connected> {
    match first(settings, hosts).await {
        Ok(connected) if follows => Ok(leader(settings, connected).await),
        Ok(connected) => Ok(connected),
        Err(errors) => Err(all_of(errors)),
    }
}

/// The first that answers, or why none does. Those that it overtook count as unreachable.
async fn first(
    settings: &ConnectSettings,
    hosts: &[Endpoint],
) -> std::result::Result<Connected, Vec<Error>> {
    let mut errors = Vec::new();
    let mut left = hosts.iter();
    let mut tried = Vec::new();
    loop {
        match left.next() {
            Some(host) => tried.push((host, Box::pin(one(settings, host)))),
            None if tried.is_empty() => return Err(errors),
            None => {}
        }
        let is_last = left.len() == 0;
        let answered = std::future::poll_fn(|context| {
            for (place, (_, attempt)) in tried.iter_mut().enumerate() {
                if let Poll::Ready(connected) = attempt.as_mut().poll(context) {
                    return Poll::Ready((place, connected));
                }
            }
            Poll::Pending
        });
        tokio::select! {
            biased;
            (place, connected) = answered => {
                drop(tried.remove(place));
                match connected {
                    Ok(connected) => {
                        let overtaken = tried.iter().take(place);
                        overtaken.for_each(|(host, _)| settings.nodes.unreachable(host));
                        return Ok(connected);
                    }
                    Err(error) => errors.push(error),
                }
            }
            () = tokio::time::sleep(ALONE), if !is_last => {}
        }
    }
}

/// What may pass is worth another try, whatever the other endpoints say.
fn all_of(errors: Vec<Error>) -> Error {
    let message = errors.iter().map(Error::message).collect::<Vec<_>>().join("; ");
    let several = errors.len() > 1;
    let error = errors.into_iter().reduce(|one, next| if one.retryable() { one } else { next });
    let Some(error) = error else {
        return invalid_option("endpoints", "there is no endpoint");
    };
    if !several {
        return error;
    }
    let mut all = Error::new(error.code(), message);
    if let Some(reason) = error.reason() {
        all = all.with_reason(reason);
    }
    all.as_sent(error.kind(), error.retryable())
}

async fn leader(settings: &ConnectSettings, mut connected: Connected) -> Connected {
    for _ in 0..LEADERS_MAX {
        let Some(leader) = settings.leader_beside(&connected.server) else { break };
        let Ok(next) = one(settings, &leader).await else { break };
        connected = next;
    }
    connected
}

async fn one(settings: &ConnectSettings, endpoint: &Endpoint) -> Result<Connected> {
    let connected = in_time(settings, endpoint).await;
    match &connected {
        Ok(_) => settings.nodes.reachable(endpoint),
        Err(_) => settings.nodes.unreachable(endpoint),
    }
    connected
}

async fn in_time(settings: &ConnectSettings, endpoint: &Endpoint) -> Result<Connected> {
    within(settings.options.connect_timeout, endpoint, reach(settings, endpoint)).await
}

/// Gives up after this time, if it is not zero.
pub(crate) async fn within<T>(
    timeout: Duration,
    endpoint: &Endpoint,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    if timeout.is_zero() {
        return work.await;
    }
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_) => {
            let what =
                format!("no answer within {} ms; is it the right host?", timeout.as_millis());
            Err(unreachable(endpoint, &what))
        }
    }
}

async fn reach(settings: &ConnectSettings, endpoint: &Endpoint) -> Result<Connected> {
    let mut stream = open(settings, endpoint).await?;
    let (buffer, server) = greet(settings, endpoint, &mut stream, None).await?;
    Ok(Connected { stream, buffer, server: Arc::new(server) })
}

/// A connection that is for something else once a command was answered: see [`upgrade`](crate::upgrade::upgrade).
pub(crate) async fn beyond(
    settings: &ConnectSettings,
    endpoint: &Endpoint,
    feature: &'static str,
    command: WireCommand,
) -> Result<(Stream, ServerInfo)> {
    let mut stream = open(settings, endpoint).await?;
    let (mut buffer, server) = greet(settings, endpoint, &mut stream, Some(feature)).await?;
    if !server.features.iter().any(|name| name == feature) {
        let message = format!(
            "it is {} {}, which does not know {feature}: bring it to this release",
            server.name, server.version
        );
        let error = Error::new(ErrorCode::BadRequest, message).with_reason(reason::UNSUPPORTED);
        return Err(refused(endpoint, error));
    }
    let mut bytes = Vec::new();
    put(&mut bytes, command, &serde_json::json!({}));
    let failed = |error: io::Error| handshake_failure(endpoint, false, &error);
    stream.write_all(&bytes).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    answer(endpoint, &mut stream, &mut buffer).await?;
    if !buffer.is_empty() {
        return Err(unreachable(endpoint, "it spoke before it was asked"));
    }
    Ok((stream, server))
}

async fn open(settings: &ConnectSettings, endpoint: &Endpoint) -> Result<Stream> {
    let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
    let tcp = tcp.map_err(|error| {
        unreachable(endpoint, &format!("{error}; is a server running there, on this port?"))
    })?;
    // Requests are gathered by us; waiting for more would only delay them.
    let _ = tcp.set_nodelay(true);
    Ok(match &settings.tls {
        None => Stream::Plain(tcp),
        Some(config) => {
            let connector = TlsConnector::from(config.clone());
            Stream::Tls(Box::new(secure(settings, endpoint, &connector, tcp).await?))
        }
    })
}

async fn secure(
    settings: &ConnectSettings,
    endpoint: &Endpoint,
    connector: &TlsConnector,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>> {
    let name = settings.options.tls.as_ref().and_then(|tls| tls.server_name.clone());
    let name = name.unwrap_or_else(|| endpoint.host.clone());
    let name = ServerName::try_from(name).map_err(|error| {
        invalid_option("server_name", format!("the name of the server's certificate: {error}"))
    })?;
    connector.connect(name, tcp).await.map_err(|error| handshake_failure(endpoint, true, &error))
}

/// What it means that a server closed a connection before it said a word.
fn closed_at_once(has_tls: bool) -> &'static str {
    match has_tls {
        true => "it closed the connection at once; it may be full, or speak no TLS (rstmdb://)",
        false => "it closed the connection at once; it may be full, or want TLS (rstmdbs://)",
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::UnexpectedEof | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe
    )
}

/// What went wrong on a connection that was never of use.
fn handshake_failure(endpoint: &Endpoint, has_tls: bool, error: &io::Error) -> Error {
    use AlertDescription as Alert;
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(problem)) => {
            use rustls::CertificateError as Problem;
            let message = match problem {
                Problem::Expired | Problem::ExpiredContext { .. } => {
                    format!("the server's certificate has expired ({problem}); renew it there")
                }
                Problem::NotValidYet | Problem::NotValidYetContext { .. } => format!(
                    "the server's certificate is not valid yet ({problem}); look at the clocks"
                ),
                // It has no variant of its own.
                Problem::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                    format!("the server's certificate {AUTHORITY_ADVICE}")
                }
                Problem::UnsupportedSignatureAlgorithmContext { .. }
                | Problem::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => format!(
                    "the server's certificate is signed in a way that is not supported here, such \
                     as on the curve P-521 ({problem}); let an authority with another key sign it"
                ),
                _ => format!(
                    "the server's certificate is not accepted ({problem}); name its authority with \
                     ca, or its name with server_name"
                ),
            };
            refused(endpoint, invalid_option("ca", message))
        }
        Some(rustls::Error::AlertReceived(
            alert @ (Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
            | Alert::HandshakeFailure),
        )) => {
            let message = format!(
                "the server refuses the client's certificate ({alert:?}); give cert and key"
            );
            refused(endpoint, Error::new(ErrorCode::AuthFailed, message))
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            unreachable(endpoint, "it does not speak TLS; use rstmdb:// without tls")
        }
        None if is_closed(error) => unreachable(endpoint, closed_at_once(has_tls)),
        _ => unreachable(endpoint, &error.to_string()),
    }
}

/// Says hello and presents credentials, in one go; gives what arrived behind the answers.
async fn greet(
    settings: &ConnectSettings,
    endpoint: &Endpoint,
    stream: &mut Stream,
    feature: Option<&'static str>,
) -> Result<(Vec<u8>, ServerInfo)> {
    let options = &settings.options;
    let mut bytes = Vec::new();
    let hello = HelloRequest {
        protocol_version: PROTOCOL_VERSION,
        client_name: Some(options.client_name.as_str().into()),
        wire_modes: vec![WireMode::Frames.name().into()],
        features: extended_features().chain(feature).map(Into::into).collect(),
    };
    put(&mut bytes, WireCommand::Hello, &hello);
    if let Some(token) = &options.token {
        let auth = AuthRequest { method: Some("bearer".into()), token: token.as_str().into() };
        put(&mut bytes, WireCommand::Auth, &auth);
    }
    let has_tls = matches!(stream, Stream::Tls(_));
    let failed = |error: io::Error| handshake_failure(endpoint, has_tls, &error);
    stream.write_all(&bytes).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;

    let mut buffer = Vec::new();
    let hello = answer(endpoint, stream, &mut buffer).await?;
    let hello: HelloResult = serde_json::from_str(&hello)
        .map_err(|error| unreachable(endpoint, &format!("its hello is malformed: {error}")))?;
    if hello.wire_mode != WireMode::Frames.name() {
        return Err(unreachable(endpoint, "it does not answer in frames"));
    }
    let mut cluster = hello.cluster;
    if options.token.is_some() {
        let authenticated = answer(endpoint, stream, &mut buffer).await?;
        let told = serde_json::from_str::<AuthResult>(&authenticated).ok();
        cluster = told.and_then(|told| told.cluster).or(cluster);
    }
    settings.nodes.admit(endpoint, cluster.as_ref())?;
    let server = ServerInfo {
        name: hello.server_name,
        version: hello.server_version,
        extended: hello.features.iter().any(|name| name == EXTENDED),
        features: hello.features,
        endpoint: endpoint.clone(),
        node: cluster.and_then(|cluster| cluster.node),
    };
    Ok((buffer, server))
}

fn put(bytes: &mut Vec<u8>, command: WireCommand, params: &impl serde::Serialize) {
    // Plain data always serialises.
    let params = serde_json::to_string(params).unwrap_or_default();
    message::request(bytes, WireMode::Frames, command.wire_name(), command.wire_name(), &params);
}

/// The result of the next answer.
async fn answer(endpoint: &Endpoint, stream: &mut Stream, buffer: &mut Vec<u8>) -> Result<String> {
    loop {
        let decoded = frame::decode(buffer, PAYLOAD_BYTES_MAX);
        let decoded = decoded.map_err(|error| {
            let what = format!("{error}; is it an rstmdb server, and one without TLS?");
            unreachable(endpoint, &what)
        })?;
        if let Decoded::Message { payload, consumed } = decoded {
            let incoming =
                Incoming::parse(payload).map_err(|error| unreachable(endpoint, &error.message))?;
            let outcome = match incoming {
                Incoming::Response { outcome, .. } => {
                    Some(outcome.map(|raw| raw.map_or("{}", |raw| raw.get()).to_owned()))
                }
                Incoming::Other => None,
                _ => return Err(unreachable(endpoint, "it answers with something else")),
            };
            buffer.drain(..consumed);
            match outcome {
                Some(outcome) => return outcome.map_err(|error| refused(endpoint, error)),
                None => continue,
            }
        }
        let read = stream.read_buf(buffer).await;
        let has_tls = matches!(stream, Stream::Tls(_));
        if read.map_err(|error| handshake_failure(endpoint, has_tls, &error))? == 0 {
            return Err(unreachable(endpoint, closed_at_once(has_tls)));
        }
    }
}

/// A connection with or without TLS.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
