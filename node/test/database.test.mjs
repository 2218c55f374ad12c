// Opening, calling, giving up, closing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import * as rstmdb from 'rstmdb';
import { Database, open } from 'rstmdb';
import { folder, lamp, order, sample } from './support/sample.mjs';

test('an order goes its way', async (t) => {
  const db = await sample(t);
  const orders = db.machine(order);
  const created = await orders.createInstance({ instanceId: 'o-1', initialCtx: { total: 40 } });
  assert.deepEqual(created, { instanceId: 'o-1', state: 'created', walOffset: 3 });
  const paid = await orders.applyEvent('o-1', 'PAY', { payload: { method: 'card' } });
  assert.deepEqual(paid, {
    fromState: 'created',
    toState: 'paid',
    ctx: { method: 'card', total: 40 },
    walOffset: 4,
    applied: true,
  });
  const found = await orders.getInstance('o-1');
  assert.equal(found.state, 'paid');
  assert.ok(found.createdAt instanceof Date && Math.abs(Date.now() - found.createdAt) < 60_000);
  assert.deepEqual(await orders.countInstances(), {
    counts: [{ machine: 'order', version: 1, state: 'paid', count: 1 }],
  });
});

test('what a turn of the event loop begins is synced together', async (t) => {
  const path = folder();
  const prepared = await sample(t, path);
  await prepared.createInstance('lamp', 1, { instanceId: 'one' });
  await prepared.close();
  const syncs = [];
  // A machine that pauses within the turn ends it early, so one of several is enough.
  while (syncs.length < 20 && !syncs.includes(1)) {
    const db = await Database.open(path);
    const before = (await db.walStats()).ioStats.fsyncs;
    const press = async (n) => {
      // Promises have their turn first.
      await null;
      return db.applyEvent('one', 'PRESS', { payload: { n } });
    };
    await Promise.all(Array.from({ length: 32 }, (_, n) => press(n)));
    syncs.push((await db.walStats()).ioStats.fsyncs - before);
    await db.close();
  }
  assert.ok(syncs.includes(1), `${syncs}`);
});

test('members by position and by name are the same request', async (t) => {
  const db = await sample(t);
  await db.createInstance('lamp', 1, { instanceId: 'a' });
  await db.createInstance({ machine: 'lamp', version: 1, instanceId: 'b' });
  const one = await db.applyEvent('a', 'PRESS', { payload: { n: 1 }, idempotencyKey: 'k1' });
  const other = await db.applyEvent({
    instanceId: 'b',
    event: 'PRESS',
    payload: { n: 1 },
    idempotencyKey: 'k2',
  });
  assert.deepEqual({ ...one, walOffset: 0 }, { ...other, walOffset: 0 });
  const again = await db.applyEvent('a', 'PRESS', { payload: { n: 1 }, idempotencyKey: 'k1' });
  assert.deepEqual(again, { ...one, applied: false });
});

test('the result of a batch, which is parsed when it is read, is an object like any other', async (t) => {
  const db = await sample(t);
  const create = { op: 'createInstance', params: { machine: 'lamp', version: 1, instanceId: 'a' } };
  const read = { op: 'getInstance', params: { instanceId: 'a' } };
  const get = () => db.batch([read, read]);
  await db.batch([create]);
  const { results } = await get();
  assert.equal(results[1].result.instanceId, 'a');
  const unread = [await get(), await get(), await get(), await get(), await get(), await get()];
  assert.deepEqual(unread[0], { results });
  assert.deepEqual(Object.keys(unread[1]), ['results']);
  assert.deepEqual(structuredClone(unread[2]), { results });
  assert.deepEqual({ ...unread[3] }, { results });
  assert.equal(JSON.stringify(unread[4]), JSON.stringify({ results }));
  assert.equal(inspect(unread[5], { depth: 9 }), inspect({ results }, { depth: 9 }));
  const again = await get();
  assert.equal(again.results, again.results);
  // What is refused is refused at once.
  await assert.rejects(db.batch([create], { mode: 'atomic' }), rstmdb.AlreadyExistsError);
});

test('a batch answers each operation in its place', async (t) => {
  const db = await sample(t);
  const { results } = await db.batch([
    { op: 'createInstance', params: { machine: 'lamp', version: 1, instanceId: 'a' } },
    { op: 'applyEvent', params: { instanceId: 'a', event: 'PRESS' } },
    { op: 'applyEvent', params: { instanceId: 'a', event: 'BREAK' } },
    { op: 'getInstance', params: { instanceId: 'a' } },
  ]);
  const [created, pressed, broken, read] = results;
  assert.equal(created.result.instanceId, 'a');
  assert.equal(pressed.result.toState, 'on');
  assert.equal(broken.status, 'error');
  assert.ok(broken.error instanceof rstmdb.InvalidTransitionError);
  assert.equal(read.result.state, 'on');
  assert.ok(read.result.updatedAt instanceof Date);
});

test('a member of a batch that nobody knows is refused by name', async (t) => {
  const db = await sample(t);
  const params = { machine: 'lamp', version: 1, instanceId: 'a' };
  for (const [operation, name] of [
    // In the form of the wire names are those of the wire.
    [{ op: 'CREATE_INSTANCE', params }, 'instanceId'],
    [{ op: 'createInstance', params: { ...params, idempotancyKey: 'k' } }, 'idempotancyKey'],
    [{ op: 'createInstance', params, idempotencyKey: 'k' }, 'idempotencyKey'],
  ]) {
    const error = await db.batch([operation]).catch((error) => error);
    assert.ok(error instanceof rstmdb.InvalidError, `${error}`);
    assert.ok(error.message.includes(name), error.message);
  }
  assert.equal((await db.listInstances()).total, 0, 'nothing happened');
});

test('a refusal is an instance of its class, with what there is to know', async (t) => {
  const db = await sample(t);
  await db.createInstance('order', 1, { instanceId: 'o', initialCtx: { total: 0 } });
  const error = await db.applyEvent('o', 'PAY').catch((error) => error);
  assert.ok(error instanceof rstmdb.RejectedError && error instanceof rstmdb.RstmdbError);
  assert.equal(error.name, 'RejectedError');
  assert.equal(error.code, 'GUARD_FAILED');
  assert.equal(error.kind, 'rejected');
  assert.equal(error.retryable, false);
  assert.equal(error.operation, 'APPLY_EVENT');
  assert.equal(error.context.guard, 'ctx.total > 0');
  assert.match(error.stack, /database\.test\.mjs/, 'the stack says who called');
  const missing = await db.getInstance('nope').catch((error) => error);
  assert.ok(missing instanceof rstmdb.NotFoundError);
  const conflict = await db.applyEvent('o', 'PAY', { expectedState: 'paid' }).catch((e) => e);
  assert.ok(conflict instanceof rstmdb.ConflictError);
  assert.equal(conflict.reason, 'expected_state');
  assert.deepEqual(JSON.parse(JSON.stringify(conflict)).code, 'CONFLICT');
});

test('a misspelled member is an error that lists the right ones', async (t) => {
  const db = await sample(t);
  await assert.rejects(db.applyEvent({ instanceid: 'a', event: 'X' }), {
    name: 'InvalidError',
    reason: 'invalid_request',
    message: /no member "instanceid".*instanceId/,
  });
  await assert.rejects(db.applyEvent('a', 'X', { event: 'Y' }), /event is given twice/);
  await assert.rejects(db.applyEvent('a', 'X', 'Y'), /expected an object of options/);
  await assert.rejects(Database.open('mem:', { fsink: 'never' }), {
    name: 'InvalidError',
    reason: 'invalid_option',
  });
  await assert.rejects(Database.open('gopher://x'), { reason: 'invalid_option' });
});

test('a directory keeps what was written, and is one process’s at a time', async () => {
  const path = folder();
  const db = await open(path, { fsync: 'every_write' });
  await db.machine(lamp).putMachine();
  await db.machine(lamp).createInstance({ instanceId: 'a' });
  await Promise.all(Array.from({ length: 100 }, () => db.applyEvent('a', 'PRESS')));
  const locked = await Database.open(path).catch((error) => error);
  assert.equal(locked.reason, 'locked');
  assert.equal(locked.retryable, true);
  await db.close();
  const again = await Database.open(path, { create: false });
  assert.equal((await again.getInstance('a')).lastWalOffset, 102);
  assert.equal((await again.history('a', { order: 'oldest', limit: 2 })).events[0].kind, 'created');
  await again.close();
});

test('after close every call is a ClosedError; closing again is fine', async (t) => {
  const db = await sample(t);
  assert.equal(db.closed, false);
  await db.close();
  await db.close();
  assert.equal(db.closed, true);
  await assert.rejects(db.ping(), rstmdb.ClosedError);
  await assert.rejects(db.watchAll(), rstmdb.ClosedError);
  await assert.rejects(db.replicationStatus(), rstmdb.ClosedError);
});

test('close lets requests in flight end', async () => {
  const db = await Database.open(folder());
  await db.machine(lamp).putMachine();
  await db.createInstance('lamp', 1, { instanceId: 'a' });
  const flying = Array.from({ length: 200 }, () => db.applyEvent('a', 'PRESS'));
  const settled = Promise.allSettled(flying);
  await db.close();
  for (const { status, reason } of await settled) {
    assert.ok(status === 'fulfilled' || reason instanceof rstmdb.ClosedError, reason);
  }
});

test('await using closes', async () => {
  const dispose = Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose');
  const db = await Database.open('mem:');
  await db[dispose]();
  assert.equal(db.closed, true);
});

test('a signal ends the waiting, not the write', async (t) => {
  const db = await Database.open(folder());
  t.after(() => db.close());
  await db.machine(lamp).putMachine();
  await db.createInstance('lamp', 1, { instanceId: 'a' });
  const gone = AbortSignal.abort(new Error('gone'));
  await assert.rejects(db.applyEvent('a', 'PRESS', { signal: gone }), /gone/);
  assert.equal((await db.getInstance('a')).state, 'off', 'nothing was begun');
  // One that happens to be written already when it is looked at has its answer, so one of several is enough.
  let ended;
  for (let n = 0; n < 20 && ended === undefined; n += 1) {
    const control = new AbortController();
    const options = { idempotencyKey: `k-${n}` };
    const press = db.applyEvent('a', 'PRESS', { ...options, signal: control.signal });
    control.abort();
    ended = await press.then(
      () => undefined,
      (error) => error,
    );
    const again = await db.applyEvent('a', 'PRESS', options);
    const state = n % 2 === 0 ? 'on' : 'off';
    assert.deepEqual([again.toState, again.applied], [state, false], 'the write went on');
  }
  assert.equal(ended?.name, 'AbortError');
  await assert.rejects(db.ping({ signal: gone }), /gone/);
  await assert.rejects(db.watchAll({}, { signal: gone }), /gone/);
  await assert.rejects(Database.open('mem:', { signal: gone }), /gone/);
  await assert.rejects(db.ping({ signal: 'soon' }), /not an AbortSignal/);
});

test('a long row of answers lets timers have their turn', async (t) => {
  const db = await sample(t);
  let ticked = false;
  setImmediate(() => {
    ticked = true;
  });
  let calls = 0;
  while (!ticked && calls < 10_000) {
    await db.ping();
    calls += 1;
  }
  assert.ok(ticked);
});

test('the clock of a test moves when it is told to', async () => {
  const db = await Database.open('mem:', { manualClockMs: 1_000 });
  await db.machine(lamp).putMachine();
  await db.advanceClock(500);
  await db.createInstance('lamp', 1, { instanceId: 'a' });
  assert.equal((await db.getInstance('a')).createdAt.getTime(), 1_500);
  await assert.rejects(db.advanceClock(-1), rstmdb.InvalidError);
  await db.close();
});

test('options reach the database', async () => {
  const db = await Database.open('mem:', {
    allowFlushAll: true,
    limits: { nameBytesMax: 8 },
    retention: { ageMs: 1000 },
  });
  assert.equal((await db.info()).limits.nameBytesMax, 8);
  assert.equal((await db.flushAll()).flushed, true);
  await db.close();
});

test('a handle without a definition says how to get one', async (t) => {
  const db = await sample(t);
  const handle = db.machine('order', 1);
  await assert.rejects(handle.putMachine(), /defineMachine/);
  assert.equal((await handle.getMachine()).definition.initial, 'created');
  assert.deepEqual(await db.replicationStatus(), { role: 'standalone', replicas: [] });
});
