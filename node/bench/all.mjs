// The Node rows of the language benchmarks, as JSON lines. Environment: RSTMDB_BENCH_SECONDS,
// RSTMDB_BENCH_DIR.

import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { folder, guarded, INSTANCES, ids, print, rate, withDatabase } from './load.mjs';
import { openSqlite } from './sqlite.mjs';

/** Each instance gets an event in turn; calls are begun in this order however many are under way. */
function* events() {
  for (let number = 0; ; number += 1) {
    const event = Math.floor(number / INSTANCES) % 2 === 0 ? 'FLIP' : 'FLOP';
    yield [ids[number % INSTANCES], event, { payload: { n: number } }];
  }
}

function apply(db, loops) {
  const turns = events();
  return rate(loops, () => {
    const [instanceId, event, options] = turns.next().value;
    return db.applyEvent(instanceId, event, options);
  });
}

async function batches(db) {
  const turns = events();
  const calls = await rate(1, () => {
    const ops = ids.map(() => {
      const [instanceId, event, { payload }] = turns.next().value;
      return { op: 'applyEvent', params: { instanceId, event, payload } };
    });
    return db.batch(ops, { mode: 'atomic' });
  });
  return calls * INSTANCES;
}

/** SQLite, one transition after the other, each in a transaction. */
async function sqlite(name, synchronous) {
  const path = folder();
  const db = openSqlite(path, synchronous);
  if (db !== undefined) {
    print(name, await rate(1, db.apply), 'ops/s');
    db.close();
  }
  rmSync(path, { recursive: true, force: true });
}

/** Ours on the same machine, in a directory. */
async function ours(name, loops, options) {
  const body = (db) => apply(db, loops);
  print(name, await withDatabase(undefined, body, guarded, options), 'ops/s');
}

/** From the call of open to the first answer, in a fresh process; the least of several. */
function opening() {
  const code = `
    const begin = performance.now();
    const { Database } = require('rstmdb');
    Database.open(process.argv[1]).then(async (db) => {
      await db.listMachines();
      console.log(performance.now() - begin);
      await db.close();
    });`;
  const times = Array.from({ length: 5 }, () => {
    const path = folder();
    const cwd = new URL('.', import.meta.url);
    const { stdout } = spawnSync(process.execPath, ['-e', code, path], { cwd, encoding: 'utf8' });
    rmSync(path, { recursive: true, force: true });
    return Number(stdout);
  });
  return Math.min(...times);
}

print('mem_apply', await withDatabase('mem:', (db) => apply(db, 1)), 'ops/s');
print('mem_apply_64', await withDatabase('mem:', (db) => apply(db, 64)), 'ops/s');
print('durable_apply_64', await withDatabase(undefined, (db) => apply(db, 64)), 'ops/s');
print('batch_1000', await withDatabase('mem:', batches), 'ops/s');
await ours('guarded_never', 1, { fsync: 'never' });
await sqlite('sqlite_normal', 'NORMAL');
await ours('guarded_durable', 1);
await ours('guarded_durable_64', 64);
await sqlite('sqlite_full', 'FULL');
print('open_ms', opening(), 'ms');
