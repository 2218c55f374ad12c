// What most tests need: an order, a database with it, a folder that goes away.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { Database, defineMachine } from 'rstmdb';

export const order = defineMachine('order', 1, {
  states: ['created', 'paid', 'shipped'],
  initial: 'created',
  transitions: [
    { from: 'created', event: 'PAY', to: 'paid', guard: 'ctx.total > 0' },
    { from: 'paid', event: 'SHIP', to: 'shipped' },
  ],
});

/** Turns for ever. */
export const lamp = defineMachine('lamp', 1, {
  states: ['off', 'on'],
  initial: 'off',
  transitions: [
    { from: 'off', event: 'PRESS', to: 'on' },
    { from: 'on', event: 'PRESS', to: 'off' },
  ],
});

/** A database in memory with both machines, closed when the test ends. */
export async function sample(t, url = 'mem:', options = {}) {
  const db = await Database.open(url, options);
  t.after(() => db.close());
  await db.machine(order).putMachine();
  await db.machine(lamp).putMachine();
  return db;
}

const folders = [];
// Behind all tests: databases are closed when theirs end.
after(() => {
  for (const path of folders) rmSync(path, { recursive: true, force: true });
});

/** A folder that is removed in the end. */
export function folder() {
  const path = mkdtempSync(join(tmpdir(), 'rstmdb-node-'));
  folders.push(path);
  return path;
}
