// The load of the language benchmarks: 1,000 instances that turn from A to B and back.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Database, defineMachine } from 'rstmdb';

export const SECONDS = Number(process.env.RSTMDB_BENCH_SECONDS ?? 1);
export const INSTANCES = 1_000;
const transitions = [
  { from: 'A', event: 'FLIP', to: 'B' },
  { from: 'B', event: 'FLOP', to: 'A' },
];
const machine = defineMachine('pingpong', 1, { states: ['A', 'B'], initial: 'A', transitions });
/** The same with a guard: what SQLite is compared with. */
export const guarded = defineMachine('pingpong', 1, {
  states: ['A', 'B'],
  initial: 'A',
  transitions: transitions.map((transition) => ({ ...transition, guard: 'ctx.total >= 0' })),
});

/** A context of 100 bytes of JSON, with the `n` that events replace. */
export const CONTEXT = { customer: 'c-0000001', n: 0, note: '-'.repeat(48), total: 100 };
export const ids = Array.from({ length: INSTANCES }, (_, n) => `instance-${n}`);

export function folder() {
  return mkdtempSync(join(process.env.RSTMDB_BENCH_DIR ?? tmpdir(), 'rstmdb-bench-'));
}

/** Runs `body` with an open database that has all instances. */
export async function withDatabase(url, body, definition = machine, options = {}) {
  const path = url ?? folder();
  const db = await Database.open(path === 'mem:' ? path : join(path, 'data'), options);
  try {
    await db.machine(definition).putMachine();
    const ops = ids.map((instanceId) => ({
      op: 'createInstance',
      params: { machine: 'pingpong', version: 1, instanceId, initialCtx: CONTEXT },
    }));
    await db.batch(ops, { mode: 'atomic' });
    return await body(db);
  } finally {
    await db.close();
    if (url === undefined) rmSync(path, { recursive: true, force: true });
  }
}

/** Calls `step` in so many loops at once, for the time of a row; gives calls by second. */
export async function rate(loops, step) {
  await measured(loops, step, SECONDS / 4);
  return measured(loops, step, SECONDS);
}

async function measured(loops, step, seconds) {
  const begin = performance.now();
  const end = begin + seconds * 1_000;
  let done = 0;
  const run = async () => {
    while (performance.now() < end) {
      await step();
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: loops }, run));
  return (done * 1_000) / (performance.now() - begin);
}

/** One line of the result. */
export function print(name, value, unit) {
  console.log(JSON.stringify({ name, value: Math.round(value * 100) / 100, unit }));
}
