//! The server that is copied from. It is only read.

use rstmdb::blocking::Database;
use rstmdb::{
    InfoRequest, InstanceSummary, ListInstancesRequest, ListMachinesRequest, MachineVersions,
    RemoteOptions, Result, Text,
};

/// The instances of one page. A list costs an older server a walk through all its instances, whatever
/// the page.
const PAGE: u32 = 5000;

/// The server and what of it is wanted.
#[derive(Debug)]
pub(super) struct PeerSource {
    pub(super) database: Database,
    pub(super) beside: rstmdb::Database,
    /// What it calls itself, its version and where it is.
    pub(super) name: String,
    /// Only these machines; all when empty.
    machines: Vec<String>,
}

impl PeerSource {
    pub(super) fn connect(options: RemoteOptions, machines: Vec<String>) -> Result<PeerSource> {
        let places: Vec<_> = options.endpoints.iter().map(ToString::to_string).collect();
        let database = Database::connect(options)?;
        let info = database.info(InfoRequest {})?;
        let name = format!("{} {} at {}", info.server_name, info.server_version, places.join(","));
        Ok(PeerSource { beside: database.asynchronous(), database, name, machines })
    }

    pub(super) fn machines(&self) -> Result<Vec<MachineVersions>> {
        let items = self.database.list_machines(ListMachinesRequest {})?.items;
        let is_wanted = |item: &MachineVersions| {
            self.machines.is_empty() || self.machines.iter().any(|name| *name == *item.machine)
        };
        Ok(items.into_iter().filter(is_wanted).collect())
    }

    /// How many instances there are now.
    pub(super) fn total(&self) -> Result<u64> {
        let mut total = 0;
        for machine in self.lists() {
            let request = ListInstancesRequest { machine, limit: Some(1), ..Default::default() };
            total += self.database.list_instances(request)?.total;
        }
        Ok(total)
    }

    /// One list for each machine that is wanted, or one of all.
    fn lists(&self) -> Vec<Option<Text>> {
        if self.machines.is_empty() {
            return vec![None];
        }
        self.machines.iter().map(|name| Some(name.as_str().into())).collect()
    }

    /// Hands out all instances, a page at a time, until `each` says no.
    ///
    /// While others write, a page may miss some and repeat some.
    pub(super) fn each_page<E: From<rstmdb::Error>>(
        &self,
        mut each: impl FnMut(Vec<InstanceSummary>) -> std::result::Result<bool, E>,
    ) -> std::result::Result<bool, E> {
        for machine in self.lists() {
            let mut request =
                ListInstancesRequest { machine, limit: Some(PAGE), ..Default::default() };
            loop {
                let page = self.database.list_instances(request.clone())?;
                let count = page.instances.len();
                if count == 0 {
                    break;
                }
                if !each(page.instances)? {
                    return Ok(false);
                }
                // An older server has no cursors; its order stays the same while it runs.
                match page.next_cursor {
                    Some(cursor) => request.cursor = Some(cursor),
                    None if page.has_more => {
                        let before = request.offset.unwrap_or(0);
                        let count = u32::try_from(count).unwrap_or(u32::MAX);
                        request.offset = Some(before.saturating_add(count));
                    }
                    None => break,
                }
            }
        }
        Ok(true)
    }
}
