// The examples run, on a directory too; the service serves its page and its events.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Database } from 'rstmdb';
import { folder } from './support/sample.mjs';

const run = promisify(execFile);
const built = (name) => fileURLToPath(new URL(`../build/examples/${name}.mjs`, import.meta.url));

for (const name of ['quickstart', 'watch', 'retry', 'transfer']) {
  test(`${name} runs in memory and keeps its data in a directory`, async () => {
    const path = join(folder(), 'data');
    await run(process.execPath, [built(name)]);
    const { stdout } = await run(process.execPath, [built(name), path]);
    assert.ok(stdout.length > 0);
    const db = await Database.open(path, { create: false });
    assert.ok((await db.info()).instances > 0);
    await db.close();
  });
}

/** Starts a program that goes on until it is told to stop. */
function start(t, name, ...args) {
  const child = spawn(process.execPath, [built(name), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const exit = once(child, 'exit');
  return {
    line: async () => (await lines.next()).value,
    stop: async () => {
      child.kill('SIGTERM');
      const [code] = await exit;
      return code;
    },
  };
}

/** The events of a stream of server-sent events. */
async function* sent(response) {
  let text = '';
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    text += part;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const [id, data] = text.slice(0, end).split('\n');
      text = text.slice(end + 2);
      yield { id: id.slice(4), ...JSON.parse(data.slice(6)) };
    }
  }
}

test('the service takes orders and shows each change on its page', async (t) => {
  const service = start(t, 'service', join(folder(), 'data'), '0');
  const base = await service.line();
  const post = async (path, value) => {
    const response = await fetch(base + path, { method: 'POST', body: JSON.stringify(value) });
    return { status: response.status, ...(await response.json()) };
  };
  assert.match(await (await fetch(base)).text(), /EventSource/);
  const made = await post('orders', { item: 'tea', total: 40 });
  assert.equal(made.status, 201);
  const live = sent(await fetch(`${base}live`));
  assert.equal((await live.next()).value.toState, 'created');
  const paid = await post(`orders/${made.instanceId}/PAY`, { method: 'card' });
  assert.deepEqual([paid.status, paid.toState], [200, 'paid']);
  const { value } = await live.next();
  assert.deepEqual(
    [value.instanceId, value.event, value.toState],
    [made.instanceId, 'PAY', 'paid'],
  );
  // A browser that comes back misses nothing and sees nothing twice.
  const headers = { 'last-event-id': value.id };
  const again = sent(await fetch(`${base}live`, { headers }));
  assert.equal((await post(`orders/${made.instanceId}/SHIP`, {})).status, 200);
  assert.equal((await again.next()).value.event, 'SHIP');
  assert.equal((await post(`orders/${made.instanceId}/PAY`, {})).status, 422);
  assert.equal((await post('orders/nope/PAY', {})).status, 404);
  assert.equal((await fetch(`${base}orders`, { method: 'POST', body: '[' })).status, 400);
  assert.equal(await service.stop(), 0, 'it stops cleanly, with pages open');
});

test('the worker goes on where it stopped', async (t) => {
  const path = folder();
  const [data, place] = [join(path, 'data'), join(path, 'place.txt')];
  for (const expected of ['watching from 1', /^watching from \d+$/]) {
    const worker = start(t, 'worker', data, place);
    const begun = await worker.line();
    if (typeof expected === 'string') assert.equal(begun, expected);
    else assert.match(begun, expected);
    assert.match(await worker.line(), / shipped$/, 'each order once');
    assert.equal(await worker.stop(), 0);
  }
  assert.match(readFileSync(place, 'utf8'), /^[1-9][0-9]* [0-9a-f]{16}\n$/, 'offset and history');
  const db = await Database.open(data);
  assert.deepEqual(await db.countInstances(), {
    counts: [{ machine: 'order', version: 1, state: 'shipped', count: 2 }],
  });
  await db.close();
});
