//! `import-peer`: copies machines and instances from a running server, by its own protocol.
//!
//! It is made for moving from rstmdb 0.3.0. What is there already and equal is passed over, so an
//! interrupted copy goes on when it is run again.

mod copy;
mod machines;
mod report;
mod source;

use std::time::Instant;

use clap::Args;

use crate::error::{self, CommandResult, Failure};
use crate::interrupt;
use crate::place::{self, Target};
use crate::progress;
use crate::session::CliSession;
use crate::talk::Talk;
use copy::Copy;
use report::CopyReport;
use source::PeerSource;

/// Copy machines and instances from a running server, such as rstmdb 0.3.0.
///
/// All versions of all machines are stored, and every instance is created in the state and with the
/// context it has there. The other server is only read. Run again, it passes over what is there and
/// equal, so it goes on after an interruption. An instance that exists here and differs is reported
/// and left alone, unless --replace is given.
///
/// Histories, offsets, idempotency keys and times of creation stay behind: no protocol gives them away.
/// When others write there meanwhile, run it once more after they have stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli import-peer --from old:7401
  rstmdb-cli import-peer --from 'rstmdb://old?ca=old-ca.pem' --to new:7401
  rstmdb-cli --path ./data import-peer --from old --from-token s3cret --output json")]
pub(crate) struct ImportPeer {
    /// The server to copy from: HOST:PORT, or a URL with TLS and other parameters (rstmdb://HOST?…).
    #[arg(long, value_name = "HOST:PORT|URL")]
    from: String,
    /// The token that the other server asks for.
    #[arg(long, env = "RSTMDB_FROM_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    from_token: Option<String>,
    /// The server to copy to; the same as --server. --path copies to a directory.
    #[arg(long, value_name = "HOST:PORT|URL")]
    pub(crate) to: Option<String>,
    /// Only this machine and its instances; may be repeated.
    #[arg(short, long = "machine", value_name = "MACHINE")]
    machines: Vec<String>,
    /// Delete and create again what differs, if it was not changed since it was created here. Nobody
    /// should write here meanwhile.
    #[arg(long)]
    replace: bool,
}

impl ImportPeer {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        if self.to.is_some() && session.watches.is_some() {
            let message = "--to is fixed in the shell; give it when starting one, as --server";
            return Err(error::usage(message).into());
        }
        let began = Instant::now();
        let mut options = place::server(&self.from)?;
        if let Some(token) = self.from_token.filter(|token| !token.is_empty()) {
            options.token = Some(token);
        }
        if let Target::There(to) = &session.place
            && to.endpoints.iter().any(|endpoint| options.endpoints.contains(endpoint))
        {
            let message = format!("--from and the server to copy to are the same, {}", self.from);
            return Err(error::usage(message).into());
        }
        let source = PeerSource::connect(options, self.machines)?;
        // What fails there leaves no folder behind here.
        let total = source.total()?;
        let database = session.open_or_create()?;
        let interrupt = interrupt::listen();
        let talk = Talk::new(session.output, progress::of_import(total));
        let mut report = CopyReport::new(&source, session.place.to_string());
        let outcome = machines::copy(&source, &database, &talk, &mut report).and_then(|refused| {
            Copy::new(&source, &database, refused, self.replace, &talk, interrupt).run(&mut report)
        });
        talk.finish();
        let stopped = match outcome {
            Ok(stopped) => stopped,
            Err(problem) => {
                session.output.note("what was copied stays; run it again to go on");
                return Err(problem);
            }
        };
        report.finish(&database, began.elapsed(), stopped)?;
        session.output.show(&report, CopyReport::screen)?;
        for advice in report.advice() {
            session.output.note(&advice);
        }
        match (stopped, report.exit_code()) {
            (true, _) => Err(Failure::Interrupted),
            (false, 0) => Ok(()),
            (false, code) => Err(Failure::Reported(code)),
        }
    }
}
