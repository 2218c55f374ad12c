//! The protocols whose answers the load can count.

use super::{etcd, postgres, rcp, redis};

/// How answers look.
#[derive(Debug, Clone)]
pub enum Wire {
    Rcp(rcp::Scanner),
    Resp,
    Postgres(postgres::Scanner),
    Grpc(etcd::Scanner),
}

impl Wire {
    pub fn rcp() -> Wire {
        Wire::Rcp(rcp::Scanner::default())
    }

    /// Adds the number of whole answers at the beginning of `bytes` and returns where they end. An
    /// answer that reports an error is one.
    pub fn scan(&mut self, bytes: &[u8], answers: &mut usize) -> Result<usize, String> {
        match self {
            Wire::Rcp(scanner) => scanner.scan(bytes, answers),
            Wire::Resp => redis::scan(bytes, answers),
            Wire::Postgres(scanner) => scanner.scan(bytes, answers),
            Wire::Grpc(scanner) => scanner.scan(bytes, answers),
        }
    }
}
