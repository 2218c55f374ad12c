//! The options of a database: one table. Everything that lists options follows it.
//!
//! A row makes the field of the Rust struct with its default, its reading from JSON, the option of
//! every language with its documentation, and its line in the reference. What remains is its use.
//! The table has two halves, for a database of this process and for one on a server; an option of
//! the other half is refused, not ignored.
//!
//! A row is a name, a type with a [`OptionForm`] in JSON, and a default. Where the name in JSON differs,
//! because it says a unit that the Rust type knows, it stands behind the default.

mod form;
mod policy;
mod read;

pub use form::{OptionForm, OptionType};
pub use policy::{FsyncPolicy, Retention};
pub use read::{Half, OptionProblem, read};
// The macro names it where this crate is not a dependency.
#[doc(hidden)]
pub use serde_json::Value;

/// One option, as data.
#[derive(Debug, Clone, Copy)]
pub struct OptionRow {
    /// The name in JSON.
    pub name: &'static str,
    /// The Rust type.
    pub rust: &'static str,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// What its value looks like.
    pub form: OptionForm,
    /// The value when it is not given, as JSON; `null` for none.
    pub default: fn() -> Value,
}

impl OptionRow {
    /// What a number counts; empty for what is no number and for plain counts.
    pub fn unit(&self) -> &'static str {
        match self.form {
            OptionForm::Millis | OptionForm::Time => "ms",
            OptionForm::Integer { .. } if self.name.contains("bytes") => "bytes",
            _ => "",
        }
    }
}

/// A struct whose fields are rows.
pub trait OptionTable {
    /// Its rows, in order.
    const ROWS: &'static [OptionRow];

    /// Reads the value of one option; `None` when the struct has no such option.
    fn set(&mut self, name: &str, value: &Value) -> Option<Result<(), OptionProblem>>;

    /// The values, as JSON.
    fn show(&self) -> Value;
}

/// Makes a struct of rows, with further fields that only Rust has behind them.
#[doc(hidden)]
#[macro_export]
macro_rules! options_struct {
    (
        [$($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr $(, $name:literal)?;)+]
        [$($elsewhere:tt)*]
        $(#[$attribute:meta])* pub struct $struct:ident {
            $($(#[$more_attribute:meta])* pub $more:ident: $more_type:ty = $more_default:expr;)*
        }
    ) => {
        $(#[$attribute])*
        pub struct $struct {
            $($(#[doc = $doc])+ pub $field: $type,)+
            $($(#[$more_attribute])* pub $more: $more_type,)*
        }

        impl Default for $struct {
            fn default() -> $struct {
                $struct { $($field: $default,)+ $($more: $more_default,)* }
            }
        }

        impl $crate::options::OptionTable for $struct {
            const ROWS: &'static [$crate::options::OptionRow] = $crate::options_struct!(
                [$($(#[doc = $doc])+ $field: $type = $default $(, $name)?;)+] [] rows
            );

            fn set(
                &mut self,
                name: &str,
                value: &$crate::options::Value,
            ) -> Option<std::result::Result<(), $crate::options::OptionProblem>> {
                $(if name == $crate::options_struct!(@name $field $($name)?) {
                    return Some($crate::options::OptionType::read(&mut self.$field, value));
                })+
                None
            }

            fn show(&self) -> $crate::options::Value {
                let rows = [$((
                    $crate::options_struct!(@name $field $($name)?).to_owned(),
                    $crate::options::OptionType::show(&self.$field),
                ),)+];
                $crate::options::Value::Object(rows.into_iter().collect())
            }
        }
    };
    // The rows as data, with those that Rust programs say otherwise.
    (
        [$($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr $(, $name:literal)?;)+]
        [$($(#[doc = $more_doc:literal])+ $more:ident: $more_type:ty = $more_default:expr;)*]
        rows
    ) => {
        &[
            $($crate::options::OptionRow {
                name: $crate::options_struct!(@name $field $($name)?),
                rust: stringify!($type),
                doc: concat!($($doc),+).trim_ascii(),
                form: <$type as $crate::options::OptionType>::FORM,
                default: || <$type as $crate::options::OptionType>::show(&$default),
            },)+
            $($crate::options::OptionRow {
                name: stringify!($more),
                rust: stringify!($more_type),
                doc: concat!($($more_doc),+).trim_ascii(),
                form: <$more_type as $crate::options::OptionType>::FORM,
                default: || <$more_type as $crate::options::OptionType>::show(&$more_default),
            },)*
        ]
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
}

/// The options of a database of this process: makes the struct that is handed in.
#[doc(hidden)]
#[macro_export]
macro_rules! embedded_options {
    ($($made:tt)*) => {
        $crate::options_struct! {
            [
                /// When a change is synced to the disk, and with it what an answer promises:
                /// `every_write`, `every_n:COUNT`, `every_ms:MILLISECONDS` or `never`.
                fsync: $crate::options::FsyncPolicy = $crate::options::FsyncPolicy::EveryWrite;
                /// Sizes and counts that requests may not exceed.
                limits: $crate::Limits = $crate::Limits::default();
                /// How much history is kept: all, a size of the log, or an age.
                retention: $crate::options::Retention = $crate::options::Retention::Bytes(1 << 30);
                /// The size of a segment of the log, in bytes.
                segment_bytes_max: u64 = 64 << 20;
                /// A checkpoint is written when this many bytes were logged since the last; 0: only
                /// on request.
                checkpoint_log_bytes: u64 = 256 << 20;
                /// Writes are refused when less than this is free on the disk, in bytes.
                free_bytes_min: u64 = 64 << 20;
                /// How long idempotency keys are remembered.
                idempotency_window: std::time::Duration = std::time::Duration::from_secs(24 * 3600),
                    "idempotency_window_ms";
                /// The most idempotency keys remembered; the oldest give way.
                idempotency_keys_max: usize = 1_000_000;
                /// Whether the id of a deleted instance may be used again.
                allow_instance_recreate: bool = true;
                /// Whether `flush_all` is allowed.
                allow_flush_all: bool = false;
                /// Whether a missing database is created.
                create: bool = true;
            ]
            [
                /// For tests: the clock stands still at this time, in milliseconds since 1970, until
                /// `advance_clock` moves it.
                manual_clock_ms: Option<i64> = None;
            ]
            $($made)*
        }
    };
}

/// The options of a database on a server: makes the struct that is handed in.
#[doc(hidden)]
#[macro_export]
macro_rules! remote_options {
    ($($made:tt)*) => {
        $crate::options_struct! {
            [
                /// Presented to the server after each connect. Never printed.
                token: Option<String> = None;
                /// Whether TLS is used, and how.
                tls: Option<$crate::options::TlsOptions> = None;
                /// How long reaching one endpoint may take, with TLS and credentials.
                connect_timeout: std::time::Duration = std::time::Duration::from_secs(5),
                    "connect_timeout_ms";
                /// How long a request may take, with its repetitions; zero for ever.
                request_timeout: std::time::Duration = std::time::Duration::from_secs(30),
                    "request_timeout_ms";
                /// How long a connection may be silent before the client asks whether it is still
                /// there; zero for ever.
                keep_alive: std::time::Duration = std::time::Duration::from_secs(60),
                    "keep_alive_ms";
                /// The number of connections. Requests of one caller that do not wait for each other
                /// may be done in another order when there are several.
                pool_size: usize = 1;
                /// The most requests in flight on a connection; more wait. A large request counts
                /// for several.
                in_flight_max: usize = 4096;
                /// What the client calls itself to the server; its language and version unless told
                /// otherwise.
                client_name: String = concat!("rstmdb-rust/", env!("CARGO_PKG_VERSION")).to_owned();
                /// How often, and how soon, a request that failed on its way is repeated.
                retry: $crate::options::Retry = $crate::options::Retry::default();
            ]
            []
            $($made)*
        }
    };
}

options_struct! {
    [
        /// A PEM file of authorities to trust; those of the system when absent.
        ca: Option<std::path::PathBuf> = None;
        /// A PEM file of the client's certificate and its chain.
        client_cert: Option<std::path::PathBuf> = None;
        /// A PEM file of the key of the client's certificate.
        client_key: Option<std::path::PathBuf> = None;
        /// The name the server's certificate must have; the host's when absent.
        server_name: Option<String> = None;
        /// Accepts ANY certificate. Whoever sits between client and server can then read and change
        /// everything, the token included. For experiments only.
        insecure: bool = false;
    ]
    []
    /// How a connection is secured.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct TlsOptions {}
}

options_struct! {
    [
        /// Repetitions of a request, and failed connects in a row before waiting requests fail; 0
        /// repeats nothing.
        attempts: u32 = 10;
        /// The upper bound of the first pause. Each pause is random, between zero and its bound.
        backoff_min: std::time::Duration = std::time::Duration::from_millis(20), "backoff_min_ms";
        /// The bound doubles with each pause up to this one.
        backoff_max: std::time::Duration = std::time::Duration::from_secs(1), "backoff_max_ms";
    ]
    []
    /// How often, and how soon, a request is repeated that failed on its way.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Retry {}
}

/// The options of a database of this process.
pub const EMBEDDED: &[OptionRow] = embedded_options!(rows);

/// The options of a database on a server.
pub const REMOTE: &[OptionRow] = remote_options!(rows);

#[cfg(test)]
mod tests;
