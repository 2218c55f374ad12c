//! Which events a watch shows.

use rstmdb_types::{
    InstanceEvent, InstanceEventKind, Json, Offset, Operation, Text, WatchAllRequest,
    WatchInstanceRequest,
};

/// The request of either watch operation.
#[derive(Debug, Clone)]
pub struct WatchFilter {
    instance_id: Option<Text>,
    rules: WatchAllRequest,
}

impl WatchFilter {
    /// Reads the request of one of the two watch operations.
    pub fn parse(operation: Operation, request: &Json) -> WatchFilter {
        if operation == Operation::WatchAll {
            return WatchFilter { instance_id: None, rules: request.decode().unwrap() };
        }
        let one: WatchInstanceRequest = request.decode().unwrap();
        let rules = WatchAllRequest {
            include_ctx: one.include_ctx,
            include_lifecycle: one.include_lifecycle,
            from_offset: one.from_offset,
            history_id: one.history_id,
            ..WatchAllRequest::default()
        };
        WatchFilter { instance_id: Some(one.instance_id), rules }
    }

    /// Where the replay begins, when there is one.
    pub fn replay_from(&self) -> Option<Offset> {
        self.rules.from_offset.filter(|offset| *offset > 0)
    }

    /// The event as the watch shows it, unless it does not.
    pub fn pass(&self, event: &InstanceEvent) -> Option<InstanceEvent> {
        fn listed(list: &[Text], value: Option<&Text>) -> bool {
            list.is_empty() || value.is_some_and(|value| list.contains(value))
        }
        let rules = &self.rules;
        let shown = (rules.include_lifecycle || event.kind == InstanceEventKind::Applied)
            && self.instance_id.as_ref().is_none_or(|id| event.instance_id == *id)
            && listed(&rules.machines, Some(&event.machine))
            && listed(&rules.from_states, event.from_state.as_ref())
            && listed(&rules.to_states, event.to_state.as_ref())
            && listed(&rules.events, event.event.as_ref());
        let ctx = event.ctx.clone().filter(|_| rules.include_ctx);
        shown.then(|| InstanceEvent { ctx, ..event.clone() })
    }
}
