// The same guarded transition in SQLite, by better-sqlite3: statements of its own, prepared once, in WAL mode.

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { CONTEXT, INSTANCES, ids } from './load.mjs';

/** What is installed in `peers`; nothing where it is not. */
function load() {
  try {
    return createRequire(new URL('peers/package.json', import.meta.url))('better-sqlite3');
  } catch (error) {
    console.error(`missing: better-sqlite3 (make -C node bench-build): ${error.message}`);
    return undefined;
  }
}

const SQLite = load();

/** Opens a database that has all instances; a function that applies the next event, and one that closes. */
export function openSqlite(folder, synchronous) {
  if (SQLite === undefined) return undefined;
  const db = new SQLite(join(folder, `${synchronous}.sqlite`));
  db.pragma('journal_mode = WAL');
  db.pragma(`synchronous = ${synchronous}`);
  db.pragma('cache_size = -1000000');
  db.exec(`CREATE TABLE instances (id TEXT PRIMARY KEY, state TEXT NOT NULL, ctx TEXT NOT NULL,
      updated_at INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE history (number INTEGER PRIMARY KEY, id TEXT NOT NULL, event TEXT NOT NULL,
      from_state TEXT NOT NULL, to_state TEXT NOT NULL, payload TEXT NOT NULL, at INTEGER NOT NULL)`);
  const create = db.prepare("INSERT INTO instances VALUES (?, 'A', ?, ?)");
  const context = JSON.stringify(CONTEXT);
  db.transaction(() => {
    for (const id of ids) create.run(id, context, Date.now());
  })();
  const begin = db.prepare('BEGIN IMMEDIATE');
  const update =
    db.prepare(`UPDATE instances SET state = ?, ctx = json_patch(ctx, ?), updated_at = ?
    WHERE id = ? AND state = ? AND json_extract(ctx, '$.total') >= 0`);
  const insert = db.prepare(`INSERT INTO history (id, event, from_state, to_state, payload, at)
    VALUES (?, ?, ?, ?, ?, ?)`);
  const commit = db.prepare('COMMIT');
  let number = 0;
  const apply = () => {
    const id = ids[number % INSTANCES];
    const there = Math.floor(number / INSTANCES) % 2 === 0;
    const [event, from, to] = there ? ['FLIP', 'A', 'B'] : ['FLOP', 'B', 'A'];
    const [payload, now] = [JSON.stringify({ n: number }), Date.now()];
    begin.run();
    if (update.run(to, payload, now, id, from).changes !== 1) throw new Error('not applied');
    insert.run(id, event, from, to, payload, now);
    commit.run();
    number += 1;
  };
  return { apply, close: () => db.close() };
}
