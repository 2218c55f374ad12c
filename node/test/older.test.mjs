// A server of 0.3.0: what it tells is there, and nothing is made up for what it does not.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Database } from 'rstmdb';
import { startOlderServer } from './support/server.mjs';

let server;
let db;
before(async () => {
  server = await startOlderServer();
  db = await Database.open(server.url);
});
after(async () => {
  await db.close();
  await server.stop();
});

test('what an older server tells is there, and the rest is absent', async () => {
  const info = await db.info();
  assert.equal(info.serverVersion, '0.3.0');
  assert.deepEqual({ ...info.limits }, { batchOperationsMax: 100 });
  for (const name of [
    'databaseId',
    'writable',
    'health',
    'instances',
    'machines',
    'latestOffset',
  ]) {
    assert.ok(!(name in info), name);
  }
  const instance = await db.getInstance('a');
  assert.equal(instance.state, 's');
  assert.ok(!('createdAt' in instance) && !('updatedAt' in instance));
  const stats = await db.walStats();
  assert.equal(stats.latestOffset, 2 ** 40 + 100);
  assert.ok(!('firstOffset' in stats));
  assert.ok(!('timestamp' in (await db.walRead(1)).records[0]));
  const { instances, total } = await db.listInstances();
  assert.equal(total, 3);
  assert.equal(instances[0].createdAt.getTime(), 1_700_000_000_000);
});

test('events of an older server have no time', async () => {
  const watch = await db.watchAll();
  for await (const event of watch) {
    assert.equal(event.toState, 't');
    assert.ok(!('timestamp' in event));
    break;
  }
});
