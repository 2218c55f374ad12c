// What keeps a database open: whatever still needs it. Nothing here keeps a reference by chance.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Database, UnavailableError } from 'rstmdb';
import { Client } from 'rstmdb/client';
import { folder, lamp } from './support/sample.mjs';
import { startServer } from './support/server.mjs';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc');

/** What nobody refers to is finalized in turns of the event loop. */
async function collect() {
  for (let turn = 0; turn < 5; turn += 1) {
    gc();
    await setImmediate();
  }
}

async function prepared(url) {
  const db = await Database.open(url);
  await db.machine(lamp).putMachine();
  await db.createInstance('lamp', 1, { instanceId: 'a' });
  await db.close();
}

const past = { fromOffset: 1, includeLifecycle: true };
const begin = {
  watchAll: async (url) => (await Database.open(url)).watchAll(past),
  watchInstance: async (url) => (await Database.open(url)).watchInstance('a', past),
  'a handle': async (url) => (await Database.open(url)).machine(lamp).watchAll(past),
};

for (const [name, watching] of Object.entries(begin)) {
  test(`a watch keeps its database open: ${name}`, async () => {
    const url = folder();
    await prepared(url);
    const watch = await watching(url);
    await collect();
    assert.equal((await watch.next()).value.instanceId, 'a');
    const waiting = watch.next();
    await collect();
    await assert.rejects(Database.open(url), UnavailableError);
    await watch.close();
    assert.equal((await waiting).done, true);
  });
}

test('a loop over the events of a database that nobody refers to goes on', async () => {
  const url = folder();
  await prepared(url);
  const seen = [];
  for await (const { kind } of await begin.watchAll(url)) {
    seen.push(kind);
    await collect();
    break;
  }
  assert.deepEqual(seen, ['created']);
});

test('what is under way is answered', async () => {
  const url = folder();
  await prepared(url);
  const started = async () => [(await Database.open(url)).applyEvent('a', 'PRESS')];
  const [under] = await started();
  await collect();
  assert.equal((await under).toState, 'on');
});

test('a database that nobody needs gives its directory back', async () => {
  const url = folder();
  await prepared(url);
  await (await begin.watchAll(url)).close();
  for (let left = 100; ; left -= 1) {
    await collect();
    try {
      await (await Database.open(url)).close();
      return;
    } catch (error) {
      assert.ok(error instanceof UnavailableError && left > 0, error.message);
    }
  }
});

test('watches of a client that nobody refers to go on', async (t) => {
  const server = await startServer();
  t.after(() => server.stop());
  await prepared(server.url);
  const follow = async () => (await Client.connect('127.0.0.1', server.port)).watchAll();
  // One that is begun, as a promise on its way can be told from nothing.
  const stream = await follow();
  const iterator = stream[Symbol.asyncIterator]();
  const first = iterator.next();
  const listened = await follow();
  const heard = new Promise((resolve) => listened.on('event', resolve));
  await collect();
  const db = await Database.open(server.url);
  t.after(() => db.close());
  // The watches began at some time; each sees one of these.
  let over = false;
  const both = Promise.all([first, heard]).then((found) => {
    over = true;
    return found;
  });
  while (!over) {
    await db.applyEvent('a', 'PRESS');
    await collect();
  }
  const [{ value }, { instanceId }] = await both;
  assert.deepEqual([value.instanceId, instanceId], ['a', 'a']);
  await iterator.return();
  await listened.close();
});

test('results of batches that nobody looks at do not add up, and those that are kept are there', async () => {
  const db = await Database.open('mem:');
  await db.machine(lamp).putMachine();
  const initialCtx = { note: '-'.repeat(2_000) };
  await db.createInstance('lamp', 1, { instanceId: 'a', initialCtx });
  const press = (n) => ({
    op: 'applyEvent',
    params: { instanceId: 'a', event: 'PRESS', payload: { n } },
  });
  const ops = Array.from({ length: 1_000 }, (_, n) => press(n));
  const cycle = async (count) => {
    for (let n = 0; n < count; n += 1) await db.batch(ops);
    await collect();
    return process.memoryUsage().rss;
  };
  const kept = await db.batch(ops);
  const before = await cycle(20);
  const grown = (await cycle(200)) - before;
  // Two megabytes each.
  assert.ok(grown < 150_000_000, `${grown}`);
  assert.deepEqual(kept.results[999].result.ctx, { ...initialCtx, n: 999 });
  await db.close();
});
