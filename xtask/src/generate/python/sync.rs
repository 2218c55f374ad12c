//! `rstmdb.sync`: the async code without the waiting.

use crate::generate::region;
use crate::tidy::GENERATED_MARK;
use crate::tree;

/// `python/rstmdb/sync.py`, from `_database.py`.
pub fn sync() -> Result<String, String> {
    without_waiting("python/rstmdb/_database.py")
}

/// `python/rstmdb/_sync_watch.py`, from `_watch.py`.
pub fn sync_watch() -> Result<String, String> {
    without_waiting("python/rstmdb/_watch.py")
}

/// What differs between the two; the longer ones first.
const REPLACEMENTS: &[(&str, &str)] = &[
    ("async def ", "def "),
    ("async with ", "with "),
    ("async for ", "for "),
    ("await ", ""),
    ("__aenter__", "__enter__"),
    ("__aexit__", "__exit__"),
    ("__aiter__", "__iter__"),
    ("__anext__", "__next__"),
    ("StopAsyncIteration", "StopIteration"),
    ("AsyncIterator", "Iterator"),
    ("AsyncHandle", "BlockingHandle"),
    ("AsyncWatch", "BlockingWatch"),
    ("from ._operations", "from ._sync_operations"),
    ("from ._watch", "from ._sync_watch"),
];

/// The text of an async file without the waiting. Lines between `# [async` and `# ]` are left out;
/// lines between `# [sync` and `# ]` are there as comments and become code.
fn without_waiting(path: &str) -> Result<String, String> {
    let source = std::fs::read_to_string(tree::root().join(path))
        .map_err(|error| format!("{path}: {error}"))?;
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut text = format!("# {GENERATED_MARK} from {name}\n");
    let (mut is_left_out, mut is_comment) = (false, false);
    for line in source.lines() {
        match line.trim() {
            "# [async" => is_left_out = true,
            "# [sync" => is_comment = true,
            "# ]" => (is_left_out, is_comment) = (false, false),
            _ if is_left_out || line.contains(region::BEGIN) || line.contains(region::END) => {}
            _ => {
                let mut line = line.to_owned();
                if is_comment {
                    line = line.replacen("# ", "", 1);
                    if line.trim() == "#" {
                        line.clear();
                    }
                }
                for (from, to) in REPLACEMENTS {
                    line = line.replace(from, to);
                }
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
    }
    Ok(text)
}
