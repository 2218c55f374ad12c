//! The table of values, `tests/conformance/values.json`, run through the Rust facade: what is stored and what is
//! refused; `tests/conformance/SPEC.md` says how it is read.

use rstmdb::blocking::Database;
use rstmdb_types::error::reason;
use rstmdb_types::{ApplyEventRequest, CreateInstanceRequest, Error, ErrorCode, Json, JsonError};
use rstmdb_types::{Operation, PutMachineRequest};
use serde_json::{Value, json};

/// Runs the whole table on a database without instances; gives how many values there were.
pub fn run(table: &str, database: &Database) -> Result<usize, String> {
    let table: Value = serde_json::from_str(table).map_err(|error| error.to_string())?;
    let rows = table["values"].as_array().ok_or("there are no values")?;
    let definition = json!({"states": ["kept"], "initial": "kept",
        "transitions": [{"from": "kept", "event": "SET", "to": "kept"}]});
    let said = |error: Error| error.to_string();
    database.put_machine(PutMachineRequest::new("values", 1, &definition)).map_err(said)?;
    let instance = CreateInstanceRequest::new("value", "values", 1);
    database.create_instance(instance).map_err(said)?;
    let mut faults = Vec::new();
    for row in rows {
        let name = row["name"].as_str().ok_or("a value has no name")?;
        let text = row["text"].as_str().ok_or_else(|| format!("{name} has no text"))?;
        let payload = format!("{{\"v\":{text}}}");
        let request =
            format!("{{\"instance_id\":\"value\",\"event\":\"SET\",\"payload\":{payload}}}");
        let outcome = database.call_text(Operation::ApplyEvent, request.as_bytes());
        let mut faulty = |how: &str, fault: String| faults.push(format!("{name}, {how}: {fault}"));
        if let Err(fault) = check(row, "payload.v", outcome) {
            faulty("as text", fault);
        }
        let applied = Json::parse(&payload).map_err(refused).and_then(|it| apply(database, it));
        if let Err(fault) = check(row, "v", applied) {
            faulty("parsed", fault);
        }
        if let Some(native) = row.get("native") {
            let made = native_value(native).map(|made| made.map_err(refused));
            let applied = made.map(|made| made.and_then(|payload| apply(database, payload)));
            if let Some(Err(fault)) = applied.map(|applied| check(row, "v", applied)) {
                faulty("as a value of Rust", fault);
            }
        }
    }
    if faults.is_empty() { Ok(rows.len()) } else { Err(faults.join("\n")) }
}

fn refused(error: JsonError) -> Error {
    error.into_error("payload")
}

fn apply(database: &Database, payload: Json) -> Result<String, Error> {
    let mut request = ApplyEventRequest::new("value", "SET");
    request.payload = Some(payload);
    let result = database.apply_event(request)?;
    Ok(serde_json::to_string(&result).unwrap())
}

/// Compares what became of a value, `place` of the request, with its row.
fn check(row: &Value, place: &str, outcome: Result<String, Error>) -> Result<(), String> {
    match (outcome, row["stored"].as_str()) {
        (Ok(result), Some(stored)) => {
            let kept = format!("\"ctx\":{{\"v\":{stored}}}");
            if result.contains(&kept) { Ok(()) } else { Err(format!("{kept} is not in {result}")) }
        }
        (Err(error), None) => check_refusal(&row["refused"], place, &error),
        (Ok(result), None) => Err(format!("was taken: {result}")),
        (Err(error), Some(_)) => Err(format!("was refused: {error:?}")),
    }
}

fn check_refusal(refused: &Value, place: &str, error: &Error) -> Result<(), String> {
    let wanted = refused["reason"].as_str().unwrap_or(reason::INVALID_REQUEST);
    let path = refused["path"].as_str().map(|path| format!("{place}{path}"));
    let told = error.context().get("path").and_then(Value::as_str);
    let fits = error.code() == ErrorCode::BadRequest
        && error.reason() == Some(wanted)
        && path.as_deref().is_none_or(|path| told == Some(path))
        && refused["said"].as_str().is_none_or(|said| error.message().contains(said));
    if fits { Ok(()) } else { Err(format!("{error:?} at {told:?} is not {refused} at {path:?}")) }
}

/// `{"v": …}` made of a value of Rust; none where Rust has no such value.
fn native_value(native: &Value) -> Option<Result<Json, JsonError>> {
    #[derive(serde::Serialize)]
    struct Payload<T> {
        v: T,
    }
    let (kind, value) = native.as_object()?.iter().next()?;
    let text = value.as_str().unwrap_or_default();
    Some(match kind.as_str() {
        "integer" => Json::from_serialize(&Payload { v: text.parse::<i128>().ok()? }),
        "float" => Json::from_serialize(&Payload { v: text.parse::<f64>().unwrap() }),
        "utf16" => {
            let units = value.as_array().unwrap().iter();
            let units = units.map(|unit| u16::from_str_radix(unit.as_str().unwrap(), 16).unwrap());
            let text = String::from_utf16(&units.collect::<Vec<u16>>()).ok()?;
            Json::from_serialize(&Payload { v: text })
        }
        "nested" => {
            let depth = value.as_u64().unwrap();
            let v = (1..depth).fold(json!([]), |inner, _| json!([inner]));
            Json::from_serialize(&Payload { v })
        }
        _ => Json::from_serialize(&Payload { v: value }),
    })
}
