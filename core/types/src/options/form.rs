//! What the value of an option looks like in JSON, by its Rust type.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::policy::{FsyncPolicy, Retention};
use super::read::{OptionProblem, members};
use super::{OptionRow, OptionTable, Retry, TlsOptions};
use crate::limits::Limits;

/// What the value of an option looks like. A language has a type for each.
#[derive(Debug, Clone, Copy)]
pub enum OptionForm {
    /// `true` or `false`.
    Flag,
    /// A whole number, from 0 to this one.
    Integer {
        /// The largest that fits.
        most: u64,
    },
    /// A span of time in whole milliseconds.
    Millis,
    /// A point in time in milliseconds since 1970.
    Time,
    /// Text.
    Text,
    /// The name of a file.
    Path,
    /// The text of an [`FsyncPolicy`].
    Fsync,
    /// A [`Retention`]: `"forever"`, `{"bytes": 1}` or `{"age_ms": 1}`.
    Retention,
    /// An object whose members are rows; those that are not given keep their value.
    Object {
        /// The name of its type.
        name: &'static str,
        /// Its members.
        rows: &'static [OptionRow],
    },
    /// `true`, `false`, or the object that says how.
    FlagOrObject {
        /// The name of its type.
        name: &'static str,
        /// Its members.
        rows: &'static [OptionRow],
    },
}

/// A type that an option can have.
pub trait OptionType {
    /// Its form in JSON.
    const FORM: OptionForm;

    /// Takes the value that is given; what was there before is the default, or comes from a URL.
    fn read(&mut self, given: &Value) -> Result<(), OptionProblem>;

    /// As JSON.
    fn show(&self) -> Value;
}

impl OptionType for bool {
    const FORM: OptionForm = OptionForm::Flag;

    fn read(&mut self, given: &Value) -> Result<(), OptionProblem> {
        *self = given.as_bool().ok_or("must be true or false")?;
        Ok(())
    }

    fn show(&self) -> Value {
        json!(self)
    }
}

macro_rules! integers {
    ($($type:ident)*) => { $(
        impl OptionType for $type {
            const FORM: OptionForm = OptionForm::Integer { most: $type::MAX as u64 };

            fn read(&mut self, given: &Value) -> Result<(), OptionProblem> {
                let number = given.as_u64().and_then(|number| number.try_into().ok());
                let most = $type::MAX;
                *self = number.ok_or_else(|| format!("must be a whole number from 0 to {most}"))?;
                Ok(())
            }

            fn show(&self) -> Value {
                json!(self)
            }
        }
    )* };
}

integers!(u32 u64 usize);

impl OptionType for Duration {
    const FORM: OptionForm = OptionForm::Millis;

    fn read(&mut self, given: &Value) -> Result<(), OptionProblem> {
        let ms = given.as_u64().ok_or("must be a whole number of milliseconds, 0 or more")?;
        *self = Duration::from_millis(ms);
        Ok(())
    }

    fn show(&self) -> Value {
        json!(u64::try_from(self.as_millis()).unwrap_or(u64::MAX))
    }
}

impl OptionType for Option<i64> {
    const FORM: OptionForm = OptionForm::Time;

    fn read(&mut self, given: &Value) -> Result<(), OptionProblem> {
        *self = Some(given.as_i64().ok_or("must be a whole number of milliseconds since 1970")?);
        Ok(())
    }

    fn show(&self) -> Value {
        json!(self)
    }
}

impl OptionType for String {
    const FORM: OptionForm = OptionForm::Text;

    fn read(&mut self, given: &Value) -> Result<(), OptionProblem> {
        // What was given may be a secret in another type: no message repeats it.
        given.as_str().ok_or("must be a string")?.clone_into(self);
        Ok(())
    }

    fn show(&self) -> Value {
        json!(self)
    }
}

macro_rules! texts {
    ($($type:ty, $form:ident;)*) => { $(
        impl OptionType for Option<$type> {
            const FORM: OptionForm = OptionForm::$form;

            fn read(&mut self, given: &Value) -> Result<(), OptionProblem> {
                let text = given.as_str().ok_or("must be a string")?;
                if self.is_some() {
                    return Err(TWICE.into());
                }
                *self = Some(text.into());
                Ok(())
            }

            fn show(&self) -> Value {
                json!(self)
            }
        }
    )* };
}

texts! {
    String, Text;
    PathBuf, Path;
}

const TWICE: &str = "is in the URL and among the options; leave one out";

impl OptionType for FsyncPolicy {
    const FORM: OptionForm = OptionForm::Fsync;

    fn read(&mut self, given: &Value) -> Result<(), OptionProblem> {
        let text = given.as_str().ok_or("must be a string such as \"every_write\"")?;
        *self = text.parse().map_err(OptionProblem::from_error)?;
        Ok(())
    }

    fn show(&self) -> Value {
        json!(self.to_string())
    }
}

impl OptionType for Retention {
    const FORM: OptionForm = OptionForm::Retention;

    fn read(&mut self, given: &Value) -> Result<(), OptionProblem> {
        let member = given.as_object().filter(|given| given.len() == 1);
        let member = member.and_then(|given| given.iter().next());
        let amount = member.and_then(|(name, amount)| Some((name.as_str(), amount.as_u64()?)));
        *self = match amount {
            Some(("bytes", bytes)) => Retention::Bytes(bytes),
            Some(("age_ms", ms)) => Retention::Age(Duration::from_millis(ms)),
            _ if given == "forever" => Retention::Forever,
            _ => return Err(r#"must be "forever", {"bytes": COUNT} or {"age_ms": COUNT}"#.into()),
        };
        Ok(())
    }

    fn show(&self) -> Value {
        match self {
            Retention::Forever => json!("forever"),
            Retention::Bytes(bytes) => json!({ "bytes": bytes }),
            Retention::Age(age) => json!({ "age_ms": age.show() }),
        }
    }
}

macro_rules! objects {
    ($($type:ident)*) => { $(
        impl OptionType for $type {
            const FORM: OptionForm =
                OptionForm::Object { name: stringify!($type), rows: <$type as OptionTable>::ROWS };

            fn read(&mut self, given: &Value) -> Result<(), OptionProblem> {
                members(self, Self::ROWS, given.as_object().ok_or("must be an object")?)
            }

            fn show(&self) -> Value {
                OptionTable::show(self)
            }
        }
    )* };
}

objects!(Limits Retry);

impl OptionType for Option<TlsOptions> {
    const FORM: OptionForm =
        OptionForm::FlagOrObject { name: "TlsOptions", rows: TlsOptions::ROWS };

    fn read(&mut self, given: &Value) -> Result<(), OptionProblem> {
        let given = match given {
            Value::Bool(true) => {
                self.get_or_insert_default();
                return Ok(());
            }
            Value::Bool(false) if self.is_none() => return Ok(()),
            Value::Bool(false) => {
                return Err("is false, and the URL asks for TLS; leave one out".into());
            }
            Value::Object(given) => given,
            _ => return Err("must be true, false or an object".into()),
        };
        let tls = self.get_or_insert_default();
        if *tls != TlsOptions::default() {
            return Err(TWICE.into());
        }
        members(tls, TlsOptions::ROWS, given)?;
        if tls.client_cert.is_some() != tls.client_key.is_some() {
            return Err("client_cert and client_key belong together; give both".into());
        }
        Ok(())
    }

    fn show(&self) -> Value {
        self.as_ref().map_or(json!(false), OptionTable::show)
    }
}
