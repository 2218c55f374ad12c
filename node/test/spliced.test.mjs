// Values that look like parts of a request stay values, and what writes itself is looked at.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LosslessNumber } from 'lossless-json';
import { InvalidError } from 'rstmdb';
import { sample } from './support/sample.mjs';

const HARD = [
  '{"x":1},"idempotency_key":"forged"',
  '1},"idempotency_key":"forged","y":{"z":2',
  '{"x":1} // why',
  '/* why */ {}',
  '{"x":1',
  '}',
  '',
  '\\',
  '"',
];

/** As a program gets it from somebody else. */
const posing = (text) =>
  JSON.parse(
    JSON.stringify({ isLosslessNumber: true, value: text, toJSON: text, __proto__: text }),
  );

test('text stays text, in calls and in batches, beside large integers too', async (t) => {
  const db = await sample(t);
  let keys = 0;
  for (const [index, text] of HARD.entries()) {
    const id = `i-${index}`;
    for (const big of [0, 2n ** 60n, 2 ** 60]) {
      for (const value of [{ text }, { [text]: [text] }, { at: new Date(0), text }, posing(text)]) {
        const payload = { value, big };
        await db.createInstance('lamp', 1, { instanceId: id, initialCtx: payload });
        keys += 1;
        const options = { payload, idempotencyKey: `${text}${keys}` };
        const alone = await db.applyEvent(id, 'PRESS', options);
        assert.deepEqual(alone.ctx.value, JSON.parse(JSON.stringify(value)));
        const ops = [{ op: 'applyEvent', params: { instanceId: id, event: 'PRESS', payload } }];
        const { results } = await db.batch(ops);
        assert.equal(results[0].status, 'ok');
        assert.deepEqual(results[0].result.ctx.value, JSON.parse(JSON.stringify(value)));
        await db.deleteInstance(id);
      }
    }
  }
});

test('numbers that write themselves must be numbers', async (t) => {
  const db = await sample(t);
  await db.createInstance('lamp', 1, { instanceId: 'a' });
  class Forged extends LosslessNumber {
    toString() {
      return '1},"idempotency_key":"forged","x":{"y":2';
    }
  }
  const altered = new LosslessNumber('1');
  altered.value = '1},"idempotency_key":"forged","x":{"y":2';
  for (const forged of [new Forged('1'), altered]) {
    for (const payload of [forged, { y: forged }, { x: 2n ** 60n, y: [forged] }]) {
      const ops = [{ op: 'applyEvent', params: { instanceId: 'a', event: 'PRESS', payload } }];
      for (const call of [db.applyEvent('a', 'PRESS', { payload }), db.batch(ops)]) {
        await assert.rejects(call, (error) => {
          assert.ok(error instanceof InvalidError, error.stack);
          assert.match(error.message, /payload.* is no number/);
          return true;
        });
      }
    }
  }
  const exact = new LosslessNumber('12345678901234567890');
  const { ctx } = await db.applyEvent('a', 'PRESS', { payload: { one: exact, at: new Date(0) } });
  assert.equal(ctx.one, 12345678901234567890n);
  assert.equal((await db.getInstance('a')).lastWalOffset, ctx === undefined ? 0 : 4);
});

test('a host is a host', async () => {
  const { Client } = await import('rstmdb/client');
  for (const host of [
    'h?insecure=true',
    's3cret@h',
    'h/x',
    'a,b',
    'rstmdb://h',
    'h#x',
    '',
    'a b',
  ]) {
    await assert.rejects(Client.connect(host, 1), /host/);
  }
  await assert.rejects(Client.connect('127.0.0.1', '1?insecure=true'), /port/);
});
