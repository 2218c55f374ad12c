// A server of the future: what is not known is passed on or skipped, what it lacks is named.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ConflictError, Database, InternalError, InvalidError } from 'rstmdb';
import { startNewerServer } from './support/server.mjs';

let server;
let db;
before(async () => {
  server = await startNewerServer();
  db = await Database.open(server.url);
});
after(async () => {
  await db.close();
  await server.stop();
});

test('members and features that are not known are skipped or passed on', async () => {
  const info = await db.info();
  assert.ok(info.features.includes('moonbeams'));
  assert.equal(info.health, 'splendid');
  assert.equal(info.limits.pageEntriesMax, 10);
  const instance = await db.getInstance('a');
  assert.equal(instance.state, 's');
  assert.equal(instance.lastWalOffset, 5);
  const applied = await db.applyEvent('a', 'GO');
  assert.equal(applied.toState, 't');
  assert.equal(applied.walOffset, 6);
  const { events } = await db.permitted('a');
  assert.deepEqual(
    events.map(({ code }) => code),
    [undefined, 'INTERNAL_ERROR'],
  );
  assert.equal(events[1].message, 'it is short and stout');
});

test('errors that are not known say what they can', async () => {
  await assert.rejects(db.applyEvent('a', 'SOON'), (error) => {
    assert.equal(error.constructor, ConflictError);
    assert.equal(error.code, 'CONFLICT');
    assert.equal(error.reason, 'too_soon');
    assert.equal(error.retryable, true);
    assert.deepEqual(error.context.due, { at: 7 });
    return true;
  });
  // Its reason is the name of something that every object has.
  await assert.rejects(db.applyEvent('a', 'BREW'), (error) => {
    assert.equal(error.constructor, InternalError);
    assert.equal(error.code, 'INTERNAL_ERROR');
    assert.equal(error.kind, 'internal');
    assert.equal(error.reason, 'constructor');
    assert.equal(error.retryable, true);
    assert.equal(error.context.code, 'TEAPOT');
    assert.equal(error.message, 'TEAPOT: it is short and stout');
    return true;
  });
});

test('events of kinds that are not known are passed on', async () => {
  const { events } = await db.history('a');
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ['rescheduled', 'applied'],
  );
  assert.equal(events[0].payload.n, 18446744073709551615n);
  const kinds = [];
  for await (const event of await db.watchAll({ includeLifecycle: true })) {
    kinds.push(event.kind);
    if (kinds.length === 3) break;
  }
  assert.deepEqual(kinds, ['applied', 'rescheduled', 'deleted']);
});

test('entries of types that are not known are passed on', async () => {
  const { records, nextOffset } = await db.walRead(5);
  assert.equal(nextOffset, 7);
  assert.equal(records[0].entry.type, 'apply_event');
  assert.equal(records[0].entry.event, 'GO');
  assert.deepEqual(records[1].entry, {
    type: 'other',
    raw: {
      version: 'two',
      type: 'set_timer',
      timer: { name: 'reminder', due: 18446744073709551615n },
    },
  });
});

test('what the server lacks is unsupported', async () => {
  const unsupported = (operation, feature) => (error) => {
    assert.equal(error.constructor, InvalidError);
    assert.equal(error.code, 'BAD_REQUEST');
    assert.equal(error.reason, 'unsupported');
    assert.equal(error.retryable, false);
    assert.equal(error.operation, operation);
    assert.equal(error.context.feature, feature);
    return true;
  };
  // Nothing is sent, or it would succeed.
  await assert.rejects(db.batch([]), unsupported('BATCH', 'batch'));
  const validation = db.validateMachine({
    definition: { states: ['a'], initial: 'a', transitions: [] },
  });
  await assert.rejects(validation, unsupported('VALIDATE_MACHINE', 'VALIDATE_MACHINE'));
  await db.ping();
});
