// The names of @rstmdb/client as its documentation has them, and Database, on a server.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ClosedError, Database } from 'rstmdb';
import {
  AuthenticationError,
  Client,
  ClientOptions,
  ConflictError,
  ConnectionError,
  InvalidTransitionError,
  NotFoundError,
} from 'rstmdb/client';
import { TlsFiles } from '../dist/tls_files.js';
import { lamp, order } from './support/sample.mjs';
import { startServer } from './support/server.mjs';

let server;
before(async () => {
  server = await startServer();
});
after(() => server.stop());

async function connected(t) {
  const client = await Client.connect('127.0.0.1', server.port, { clientName: 'test' });
  t.after(() => client.close());
  await client.putMachine('order', 1, order.definition);
  await client.putMachine('lamp', 1, lamp.definition);
  return client;
}

test('machines are put, got and listed', async (t) => {
  const client = await connected(t);
  const { definition } = await client.getMachine('order', 1);
  assert.equal(definition.initial, 'created');
  const machines = await client.listMachines();
  assert.deepEqual(
    machines.find(({ name }) => name === 'order'),
    { name: 'order', versions: [1] },
  );
});

test('an instance has id, state and context', async (t) => {
  const client = await connected(t);
  const context = { total: 40 };
  const made = await client.createInstance({ machine: 'order', version: 1, id: 'c-1', context });
  assert.deepEqual(made, { id: 'c-1', machine: 'order', version: 1, state: 'created', context });
  assert.notEqual(made.context, context, 'not the object of the caller');
  const odd = { at: new Date(0), big: 2n ** 60n, large: 2 ** 60, huge: 1e20, left: undefined };
  const stored = await client.createInstance({ machine: 'order', version: 1, context: odd });
  assert.deepEqual(stored.context, (await client.getInstance(stored.id)).context);
  const applied = await client.applyEvent({
    instanceId: 'c-1',
    event: 'PAY',
    payload: { method: 'card' },
    expectedState: 'created',
  });
  assert.equal(applied.previousState, 'created');
  assert.equal(applied.currentState, 'paid');
  const { id, state, context: after } = await client.getInstance('c-1');
  assert.deepEqual([id, state, after], ['c-1', 'paid', { method: 'card', total: 40 }]);
  const deleted = await client.deleteInstance('c-1');
  assert.equal(deleted.deleted, true);
});

test('a batch takes operations and gives a list', async (t) => {
  const client = await connected(t);
  const results = await client.batch({
    mode: 'atomic',
    operations: [
      {
        op: 'createInstance',
        params: { machine: 'lamp', version: 1, id: 'b-1', context: { a: 1 } },
      },
      { op: 'applyEvent', params: { instanceId: 'b-1', event: 'PRESS' } },
      { op: 'getInstance', params: { id: 'b-1' } },
    ],
  });
  assert.deepEqual(
    results.map(({ status }) => status),
    ['ok', 'ok', 'ok'],
  );
  assert.equal(results[2].result.state, 'on');
});

test('errors have the documented classes', async (t) => {
  const client = await connected(t);
  await assert.rejects(client.getInstance('nope'), NotFoundError);
  await client.createInstance({ machine: 'lamp', version: 1, id: 'e-1' });
  const press = { instanceId: 'e-1', event: 'PRESS', expectedState: 'on' };
  const conflict = await client.applyEvent(press).catch((error) => error);
  assert.ok(conflict instanceof ConflictError);
  assert.equal(conflict.retryable, false);
  await assert.rejects(
    client.applyEvent({ instanceId: 'e-1', event: 'X' }),
    InvalidTransitionError,
  );
  const options = { connectionTimeout: 500, reconnect: { enabled: false } };
  await assert.rejects(Client.connect('127.0.0.1', 1, options), ConnectionError);
});

test('a watch is an iterator, and has listeners', async (t) => {
  const client = await connected(t);
  await client.createInstance({ machine: 'lamp', version: 1, id: 'w-1' });
  const press = () => client.applyEvent({ instanceId: 'w-1', event: 'PRESS' });
  await press();
  const stream = client.watchInstance('w-1', { fromOffset: 1 });
  const heard = [];
  const enough = new Promise((resolve, reject) => {
    stream.on('error', reject);
    stream.on('event', ({ event, toState }) => {
      heard.push([event, toState]);
      if (heard.length === 2) resolve();
    });
  });
  const ended = new Promise((resolve) => stream.on('end', resolve));
  await press();
  await enough;
  assert.deepEqual(heard, [
    ['PRESS', 'on'],
    ['PRESS', 'off'],
  ]);
  await stream.close();
  await ended;
  const all = await client.watchAll({ machines: ['lamp'], toStates: ['off'], fromOffset: 1 });
  for await (const event of all) {
    assert.deepEqual([event.event, event.toState], ['PRESS', 'off']);
    break;
  }
  const failing = client.watchInstance('not-there');
  const error = await new Promise((resolve) => {
    failing.on('error', resolve);
    failing.on('event', () => undefined);
  });
  assert.ok(error instanceof NotFoundError);
});

test('a listener for errors alone hears of them, and takes no event away', async (t) => {
  const client = await connected(t);
  const failing = client.watchInstance('not-there');
  const error = await new Promise((resolve) => failing.on('error', resolve));
  assert.ok(error instanceof NotFoundError);
  await client.createInstance({ machine: 'lamp', version: 1, id: 'w-2' });
  const press = () => client.applyEvent({ instanceId: 'w-2', event: 'PRESS' });
  await press();
  await press();
  const from = { fromOffset: 1 };
  // Who listens or iterates later gets all of them.
  const later = client.watchInstance('w-2', from);
  later.on('error', () => assert.fail('no error is expected'));
  await new Promise(setImmediate);
  const heard = [];
  for await (const { toState } of later) {
    heard.push(toState);
    if (heard.length === 2) break;
  }
  const other = client.watchInstance('w-2', from);
  other.on('error', () => assert.fail('no error is expected'));
  await new Promise((resolve) => {
    other.on('event', ({ toState }) => {
      heard.push(toState);
      if (heard.length === 4) resolve();
    });
  });
  assert.deepEqual(heard, ['on', 'off', 'on', 'off']);
  const over = new Promise((resolve) => other.on('end', resolve));
  await other.close();
  await over;
  // An end is heard of without a listener for events, too.
  const quiet = client.watchInstance('w-2');
  const quietly = new Promise((resolve) => quiet.on('end', resolve));
  await quiet.close();
  await quietly;
});

test('closing while connecting ends that, and is no error itself', async (t) => {
  const sockets = new Set();
  // It takes the connection and never says a word.
  const silent = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
  const { port } = silent.address();
  const accepted = once(silent, 'connection');
  // Longer than the test may take: only closing ends it.
  const client = new Client({ host: '127.0.0.1', port, connectionTimeout: 600_000 });
  const connecting = client.connect().catch((error) => error);
  await accepted;
  await client.close();
  const error = await connecting;
  assert.ok(error instanceof ClosedError, String(error));
  await assert.rejects(client.ping(), /connect\(\) first/);
  // Opening itself is given up as well, at once.
  const control = new AbortController();
  const again = once(silent, 'connection');
  const opening = Database.open(`rstmdb://127.0.0.1:${port}`, {
    signal: control.signal,
    connectTimeoutMs: 600_000,
  });
  await again;
  control.abort(new Error('enough'));
  await assert.rejects(opening, /enough/);
});

test('a listener that throws is an uncaught exception, and the watch goes on', async () => {
  const code = `
    const { Client } = require('rstmdb/client');
    let uncaught = 0;
    process.on('uncaughtException', () => { uncaught += 1; });
    process.on('exit', () => console.log(uncaught));
    (async () => {
      const client = await Client.connect('127.0.0.1', Number(process.argv[1]));
      await client.putMachine('lamp', 1, ${JSON.stringify(lamp.definition)});
      await client.createInstance({ machine: 'lamp', version: 1, id: 'l-1' });
      for (let n = 0; n < 3; n += 1) await client.applyEvent({ instanceId: 'l-1', event: 'PRESS' });
      const stream = client.watchInstance('l-1', { fromOffset: 1 });
      let heard = 0;
      stream.on('event', () => {
        heard += 1;
        if (heard === 3) client.close();
        throw new Error('mine');
      });
    })();`;
  const cwd = fileURLToPath(new URL('.', import.meta.url));
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, ['-e', code, String(server.port)], { cwd });
  assert.equal(stdout, '3\n');
});

test('ping and info answer', async (t) => {
  const client = await connected(t);
  assert.equal((await client.ping()).pong, true);
  const info = await client.info();
  assert.equal(info.version, info.serverVersion);
  assert.equal(typeof info.stats.instances, 'number');
});

test('options are built step by step', async () => {
  const config = ClientOptions.create('127.0.0.1')
    .port(server.port)
    .connectionTimeout(5_000)
    .requestTimeout(5_000)
    .build();
  assert.deepEqual(config, {
    host: '127.0.0.1',
    port: server.port,
    connectionTimeout: 5_000,
    requestTimeout: 5_000,
  });
  const client = new Client(config);
  await assert.rejects(client.ping(), /connect\(\) first/);
  await client.connect();
  await client.connect();
  assert.equal((await client.ping()).pong, true);
  await client.close();
  await assert.rejects(client.ping(), /connect\(\) first/);
});

test('a wrong token is an AuthenticationError', async (t) => {
  const hash = createHash('sha256').update('right').digest('hex');
  const guarded = await startServer(
    '--set',
    'auth.required=true',
    '--set',
    `auth.token_hashes=${hash}`,
  );
  t.after(() => guarded.stop());
  await assert.rejects(
    Client.connect('127.0.0.1', guarded.port, { auth: 'wrong' }),
    AuthenticationError,
  );
  const client = await Client.connect('127.0.0.1', guarded.port, { auth: 'right' });
  assert.equal((await client.ping()).pong, true);
  await client.close();
  const db = await Database.open(`rstmdb://127.0.0.1:${guarded.port}`, { token: 'right' });
  await db.close();
});

test('certificates may be given by content', async () => {
  const files = new TlsFiles();
  const pem = '-----BEGIN CERTIFICATE-----\n';
  const { ca, clientCert, clientKey, insecure } = await files.options({
    ca: '/etc/ca.pem',
    cert: pem,
    key: Buffer.from(pem),
    rejectUnauthorized: false,
  });
  assert.equal(ca, '/etc/ca.pem');
  assert.equal(readFileSync(clientCert, 'utf8'), pem);
  assert.equal(readFileSync(clientKey, 'utf8'), pem);
  assert.equal(insecure, true);
  await files.remove();
  assert.throws(() => readFileSync(clientKey), { code: 'ENOENT' });
});

test('a database on a server takes the same calls as one in this process', async (t) => {
  const db = await Database.open(server.url);
  t.after(() => db.close());
  const lamps = db.machine(lamp);
  await lamps.putMachine();
  await lamps.createInstance({ instanceId: 'r-1', initialCtx: { big: 2n ** 63n } });
  const watch = await lamps.watchInstance('r-1');
  await Promise.all(Array.from({ length: 64 }, () => lamps.applyEvent('r-1', 'PRESS')));
  const { ctx, state } = await lamps.getInstance('r-1');
  assert.deepEqual([ctx.big, state], [2n ** 63n, 'off']);
  let seen = 0;
  for await (const event of watch) {
    seen += 1;
    if (seen === 64) assert.equal(event.toState, 'off');
    if (seen === 64) break;
  }
  const control = new AbortController();
  const call = db.ping({ signal: control.signal });
  control.abort();
  await assert.rejects(call, { name: 'AbortError' });
});

test('one of several hosts is enough', async () => {
  // Nobody listens at the first.
  const hosts = `rstmdb://127.0.0.1:1,127.0.0.1:${server.port}`;
  for (const reads of ['linearizable', 'session&zone=here', 'bounded&max_lag=1s']) {
    const db = await Database.open(`${hosts}?read=${reads}`);
    await db.ping();
    await db.listMachines();
    await db.close();
  }
  await assert.rejects(Database.open(`${hosts}?read=newest`), /linearizable/);
  await assert.rejects(Database.open(`${hosts}?max_lag=1s`), /read=bounded/);
});
