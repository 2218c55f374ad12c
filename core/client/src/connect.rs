//! Reaching a server: name, TCP, TLS, hello and credentials.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rstmdb_protocol::frame::{self, Decoded, PAYLOAD_BYTES_MAX, WireMode};
use rstmdb_protocol::handshake::{
    AuthRequest, EXTENDED, HelloRequest, HelloResult, extended_features,
};
use rstmdb_protocol::message::{self, Incoming};
use rstmdb_protocol::{PROTOCOL_VERSION, WireCommand};
use rstmdb_types::pem::AUTHORITY_ADVICE;
use rstmdb_types::{Error, ErrorCode, Result};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::{invalid_option, refused, unreachable};
use crate::options::{Endpoint, Options};
use crate::server::ServerInfo;

/// Everything needed to connect.
#[derive(Debug)]
pub(crate) struct ConnectSettings {
    pub options: Options,
    pub tls: Option<Arc<ClientConfig>>,
}

/// A connection that may be used.
#[derive(Debug)]
pub(crate) struct Connected {
    pub stream: Stream,
    /// What arrived behind the last answer.
    pub buffer: Vec<u8>,
    pub server: Arc<ServerInfo>,
    /// Which of the endpoints it is.
    pub endpoint: usize,
}

/// Tries the endpoints in turn, beginning with number `first`.
pub(crate) async fn any(settings: &ConnectSettings, first: usize) -> Result<Connected> {
    let endpoints = &settings.options.endpoints;
    let mut errors: Vec<Error> = Vec::new();
    for offset in 0..endpoints.len() {
        let number = (first + offset) % endpoints.len();
        let Some(endpoint) = endpoints.get(number) else { continue };
        match one(settings, endpoint).await {
            Ok((stream, buffer, server)) => {
                return Ok(Connected { stream, buffer, server, endpoint: number });
            }
            Err(error) => errors.push(error),
        }
    }
    // What may pass is worth another try, whatever the other endpoints say.
    let message = errors.iter().map(Error::message).collect::<Vec<_>>().join("; ");
    let several = errors.len() > 1;
    let error = errors.into_iter().reduce(|one, next| if one.retryable() { one } else { next });
    let error = error.ok_or_else(|| invalid_option("endpoints", "there is no endpoint"))?;
    if !several {
        return Err(error);
    }
    let mut all = Error::new(error.code(), message);
    if let Some(reason) = error.reason() {
        all = all.with_reason(reason);
    }
    Err(all.as_sent(error.kind(), error.retryable()))
}

type Greeted = (Stream, Vec<u8>, Arc<ServerInfo>);

async fn one(settings: &ConnectSettings, endpoint: &Endpoint) -> Result<Greeted> {
    let timeout = settings.options.connect_timeout;
    if timeout.is_zero() {
        return reach(settings, endpoint).await;
    }
    match tokio::time::timeout(timeout, reach(settings, endpoint)).await {
        Ok(result) => result,
        Err(_) => {
            let what =
                format!("no answer within {} ms; is it the right host?", timeout.as_millis());
            Err(unreachable(endpoint, &what))
        }
    }
}

async fn reach(settings: &ConnectSettings, endpoint: &Endpoint) -> Result<Greeted> {
    let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
    let tcp = tcp.map_err(|error| {
        unreachable(endpoint, &format!("{error}; is a server running there, on this port?"))
    })?;
    // Requests are gathered by us; waiting for more would only delay them.
    let _ = tcp.set_nodelay(true);
    let mut stream = match &settings.tls {
        None => Stream::Plain(tcp),
        Some(config) => {
            let connector = TlsConnector::from(config.clone());
            Stream::Tls(Box::new(secure(settings, endpoint, &connector, tcp).await?))
        }
    };
    let (buffer, server) = greet(&settings.options, endpoint, &mut stream).await?;
    Ok((stream, buffer, Arc::new(server)))
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
    options: &Options,
    endpoint: &Endpoint,
    stream: &mut Stream,
) -> Result<(Vec<u8>, ServerInfo)> {
    let mut bytes = Vec::new();
    let hello = HelloRequest {
        protocol_version: PROTOCOL_VERSION,
        client_name: Some(options.client_name.as_str().into()),
        wire_modes: vec![WireMode::Frames.name().into()],
        features: extended_features().map(Into::into).collect(),
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
    if options.token.is_some() {
        answer(endpoint, stream, &mut buffer).await?;
    }
    let server = ServerInfo {
        name: hello.server_name,
        version: hello.server_version,
        extended: hello.features.iter().any(|name| name == EXTENDED),
        features: hello.features,
        endpoint: endpoint.clone(),
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
