// A token is in no text that people, logs or tools get to see.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { format, inspect } from 'node:util';
import { Database } from 'rstmdb';
import { Client, ClientOptions } from 'rstmdb/client';
import { folder } from './support/sample.mjs';
import { startServer } from './support/server.mjs';

const SECRET = 's3cret-t0ken';

/** What there is to print of a value. */
function shown(value) {
  const all = { depth: null, showHidden: true, getters: true };
  return [inspect(value, all), format('%o %O %s %j', value, value, value, value)].join('\n');
}

function expectHidden(value) {
  const text = shown(value);
  assert.ok(!text.includes(SECRET), text);
}

test('databases, clients and their options do not show the token', async (t) => {
  const hash = createHash('sha256').update(SECRET).digest('hex');
  const file = join(folder(), 'rstmdb.yaml');
  writeFileSync(file, `auth:\n  required: true\n  token_hashes: ['${hash}']\n`);
  const server = await startServer('--config', file);
  t.after(() => server.stop());
  const url = `rstmdb://${SECRET}@127.0.0.1:${server.port}`;
  const config = ClientOptions.create('127.0.0.1').port(server.port).auth(SECRET).build();
  expectHidden(config);
  expectHidden(ClientOptions.create('h').auth(SECRET));
  expectHidden({ config });
  const key = `-----BEGIN PRIVATE KEY-----\n${SECRET}`;
  expectHidden(ClientOptions.create('h').tls({ key, cert: 'c.pem' }).build());
  assert.ok(shown(config).includes('…'));
  assert.equal(config.auth, SECRET);
  assert.deepEqual({ ...config }, { host: '127.0.0.1', port: server.port, auth: SECRET });
  const client = new Client({ ...config, clientName: 'test' });
  await client.connect();
  const db = await Database.open(url);
  const watch = await db.watchAll();
  for (const value of [client, db, watch, db.machine('m', 1), client.watchAll()]) {
    expectHidden(value);
  }
  await client.close();
  await db.close();
});

test('errors do not show the token', async () => {
  for (const [url, options] of [
    [`rstmdb://${SECRET}@127.0.0.1:1`, {}],
    [`rstmdb://${SECRET}@127.0.0.1:1`, { token: SECRET }],
    [`rstmdb://${SECRET}%zz@127.0.0.1:1`, {}],
    ['rstmdb://127.0.0.1:1', { token: SECRET, retry: { attempts: 0 } }],
    ['rstmdb://127.0.0.1:1', { token: [SECRET] }],
    ['rstmdb://127.0.0.1:1', { token: SECRET, poolSize: 'many' }],
    ['rstmdb://127.0.0.1:1', { token: SECRET, poolSize: Symbol('x') }],
    ['mem:', { token: SECRET }],
    [`${SECRET}@127.0.0.1:1`, {}],
    [`redis://:${SECRET}@h`, {}],
  ]) {
    await assert.rejects(Database.open(url, options), (error) => {
      expectHidden(error);
      return true;
    });
  }
  const refused = Client.connect('127.0.0.1', 1, { auth: SECRET, reconnect: { enabled: false } });
  await assert.rejects(refused, (error) => {
    expectHidden(error);
    return true;
  });
});
