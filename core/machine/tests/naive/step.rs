//! A second, deliberately naive way to take a step: on trees, straight from the definition's JSON.

use serde_json::{Map, Value, json};

use crate::naive::{Scope, evaluate, value};

/// Where a step leads, or what it is refused for.
pub type Outcome = Result<(String, Value, Vec<Value>), &'static str>;

/// The context in hand, and what was said.
struct Hand<'a> {
    definition: &'a Value,
    state: String,
    ctx: Value,
    emitted: Vec<Value>,
    raised: Vec<(String, Value)>,
}

/// Takes a step; `steps_max` bounds the transitions that follow.
pub fn step(
    definition: &Value,
    state: &str,
    ctx: &Value,
    event: &str,
    payload: &Value,
    steps_max: usize,
) -> Outcome {
    let mut hand = Hand {
        definition,
        state: state.to_owned(),
        ctx: ctx.clone(),
        emitted: Vec::new(),
        raised: Vec::new(),
    };
    if hand.is_final() {
        return Err("instance_completed");
    }
    let candidates = hand.candidates(Some(event));
    if candidates.is_empty() {
        return Err("INVALID_TRANSITION");
    }
    let chosen = hand.choose(candidates, event, payload).ok_or("GUARD_FAILED")?;
    hand.take(chosen, event, payload)?;
    hand.rest(event, payload, steps_max)?;
    Ok((hand.state, hand.ctx, hand.emitted))
}

/// What the first state of an instance does.
pub fn begin(definition: &Value, state: &str, ctx: &Value, steps_max: usize) -> Outcome {
    let mut hand = Hand {
        definition,
        state: state.to_owned(),
        ctx: ctx.clone(),
        emitted: Vec::new(),
        raised: Vec::new(),
    };
    hand.acts(state, "entry", "", &Value::Null)?;
    hand.rest("", &Value::Null, steps_max)?;
    Ok((hand.state, hand.ctx, hand.emitted))
}

impl<'a> Hand<'a> {
    fn is_final(&self) -> bool {
        let listed = self.definition["final"].as_array();
        let own = self.body(&self.state).is_some_and(|body| body["final"] == true);
        own || listed.is_some_and(|states| states.iter().any(|state| *state == self.state))
    }

    fn body(&self, state: &str) -> Option<&'a Value> {
        let states = self.definition["states"].as_array().unwrap();
        states.iter().find(|one| one["name"] == state)
    }

    /// The transitions of the state for an event, or for none.
    fn candidates(&self, event: Option<&str>) -> Vec<&'a Value> {
        let all = self.definition["transitions"].as_array().unwrap();
        let fits = |row: &&Value| match event {
            Some(event) => row["event"] == event,
            None => row["always"] == true,
        };
        let names = |row: &Value, name: &str| match &row["from"] {
            Value::Array(from) => from.iter().any(|one| one == name),
            from => from == name,
        };
        let own: Vec<&Value> =
            all.iter().filter(fits).filter(|row| names(row, &self.state)).collect();
        if !own.is_empty() || self.is_final() {
            return own;
        }
        all.iter().filter(fits).filter(|row| names(row, "*")).collect()
    }

    fn scope<T>(&self, event: &str, payload: &Value, use_it: impl FnOnce(&Scope<'_>) -> T) -> T {
        use_it(&Scope {
            ctx: &self.ctx,
            payload: (!payload.is_null()).then_some(payload),
            state: &self.state,
            now_ms: 1_700_000_000_000,
            event,
            instance: ("o-1", "order", 2, 1_600_000_000_000),
        })
    }

    fn choose(&self, rows: Vec<&'a Value>, event: &str, payload: &Value) -> Option<&'a Value> {
        rows.into_iter().find(|row| match row["guard"].as_str() {
            Some(guard) => self.scope(event, payload, |scope| evaluate(guard, scope).unwrap()),
            None => true,
        })
    }

    fn take(&mut self, row: &Value, event: &str, payload: &Value) -> Result<(), &'static str> {
        if row["always"] != true {
            self.merge(row, payload);
        }
        let from = self.state.clone();
        let to = row["to"].as_str();
        if to.is_some() {
            self.acts(&from, "exit", event, payload)?;
        }
        self.run(&row["actions"], event, payload)?;
        let Some(to) = to else { return Ok(()) };
        self.state = to.to_owned();
        self.acts(to, "entry", event, payload)
    }

    fn merge(&mut self, row: &Value, payload: &Value) {
        let how = [&row["merge"], &self.definition["merge"]].into_iter().find(|one| !one.is_null());
        let (Some(ctx), Some(payload)) = (self.ctx.as_object_mut(), payload.as_object()) else {
            return;
        };
        for (name, value) in payload {
            let is_merged = match how {
                None | Some(Value::Bool(true)) => true,
                Some(Value::Array(names)) => names.iter().any(|one| one == name),
                _ => false,
            };
            if is_merged {
                ctx.insert(name.clone(), value.clone());
            }
        }
    }

    fn rest(&mut self, event: &str, payload: &Value, most: usize) -> Result<(), &'static str> {
        let (mut event, mut payload) = (event.to_owned(), payload.clone());
        let mut count = 0;
        loop {
            let mut next = self.choose(self.candidates(None), &event, &payload);
            while next.is_none() {
                if self.raised.is_empty() {
                    return Ok(());
                }
                let (name, with) = self.raised.remove(0);
                next = self.choose(self.candidates(Some(&name)), &name, &with);
                if next.is_some() {
                    (event, payload) = (name, with);
                }
            }
            count += 1;
            if count > most {
                return Err("never_rests");
            }
            self.take(next.unwrap(), &event.clone(), &payload.clone())?;
        }
    }

    fn acts(
        &mut self,
        state: &str,
        when: &str,
        event: &str,
        payload: &Value,
    ) -> Result<(), &'static str> {
        match self.body(state) {
            Some(body) => self.run(&body[when], event, payload),
            None => Ok(()),
        }
    }

    fn run(&mut self, actions: &Value, event: &str, payload: &Value) -> Result<(), &'static str> {
        for action in actions.as_array().into_iter().flatten() {
            let made = |hand: &Self, template: &Value| {
                hand.scope(event, payload, |scope| make(template, scope))
            };
            if let Some(places) = action["assign"].as_object() {
                let mut places: Vec<(&String, Value)> =
                    places.iter().map(|(place, value)| (place, made(self, value))).collect();
                places.sort_by_key(|(place, _)| place.as_bytes());
                for (place, value) in places {
                    set(&mut self.ctx, &place.split('.').collect::<Vec<_>>(), value)?;
                }
            } else if let Some(places) = action["unset"].as_array() {
                for place in places {
                    remove(&mut self.ctx, &place.as_str().unwrap().split('.').collect::<Vec<_>>());
                }
            } else if let Some(event_name) = action["raise"].as_str() {
                let with = made(self, &action["payload"]);
                self.raised.push((event_name.to_owned(), with));
            } else if let Some(kind) = action["emit"].as_str() {
                let data = made(self, &action["data"]);
                self.emitted.push(json!({"type": kind, "data": data}));
            } else {
                let text = action["if"].as_str().unwrap();
                let holds = self.scope(event, payload, |scope| evaluate(text, scope).unwrap());
                self.run(&action[if holds { "then" } else { "else" }], event, payload)?;
            }
        }
        Ok(())
    }
}

/// A value of an action.
fn make(template: &Value, scope: &Scope<'_>) -> Value {
    match template {
        Value::Object(members) if members.contains_key("$") => {
            value(members["$"].as_str().unwrap(), scope).unwrap()
        }
        Value::Object(members) if members.contains_key("$$") => members["$$"].clone(),
        Value::Object(members) => {
            let made = members.iter().map(|(name, inner)| (name.clone(), make(inner, scope)));
            Value::Object(made.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(|item| make(item, scope)).collect(),
        other => other.clone(),
    }
}

fn set(value: &mut Value, names: &[&str], new: Value) -> Result<(), &'static str> {
    let Some((name, rest)) = names.split_first() else {
        *value = new;
        return Ok(());
    };
    let members = value.as_object_mut().ok_or("action_failed")?;
    let inner = members.entry(*name).or_insert(Value::Null);
    if !rest.is_empty() && inner.is_null() {
        *inner = json!({});
    }
    set(inner, rest, new)
}

fn remove(value: &mut Value, names: &[&str]) {
    let Some(members) = value.as_object_mut() else { return };
    match names {
        [name] => {
            members.remove(*name);
        }
        [name, rest @ ..] => {
            if let Some(inner) = members.get_mut(*name) {
                remove(inner, rest);
            }
        }
        [] => {}
    }
}
