// Watches: iteration, back-pressure, signals, ends.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Database, NotFoundError } from 'rstmdb';
import { folder, lamp, sample } from './support/sample.mjs';

async function watched(t) {
  const db = await sample(t);
  const lamps = db.machine(lamp);
  await lamps.createInstance({ instanceId: 'a' });
  return { db, lamps, press: () => lamps.applyEvent('a', 'PRESS') };
}

test('a watch says where it began and what happens from there', async (t) => {
  const { lamps, press } = await watched(t);
  const watch = await lamps.watchInstance('a');
  assert.equal(watch.started.currentState, 'off');
  await press();
  await press();
  const seen = [];
  for await (const event of watch) {
    seen.push(event.toState);
    if (seen.length === 2) break;
  }
  assert.deepEqual(seen, ['on', 'off']);
  assert.deepEqual(
    await watch.next(),
    { value: undefined, done: true },
    'leaving the loop ended it',
  );
});

test('a watch goes on where another one stopped', async (t) => {
  const { db, press } = await watched(t);
  const first = await db.watchAll({ includeLifecycle: true, fromOffset: 1 });
  for (let count = 0; count < 9; count += 1) await press();
  for (let count = 0; count < 4; count += 1) await first.next();
  const resume = first.resumeOffset;
  await first.close();
  assert.equal(first.resumeOffset >= resume, true);
  const second = await db.watchAll({ fromOffset: resume });
  const next = await second.next();
  assert.equal(next.value.walOffset, resume);
  await second.close();
});

test('those who ask at once are answered in their order', async (t) => {
  const { db, press } = await watched(t);
  const watch = await db.watchAll();
  const asked = Array.from({ length: 5 }, () => watch.next());
  for (let count = 0; count < 5; count += 1) await press();
  const offsets = (await Promise.all(asked)).map(({ value }) => value.walOffset);
  assert.deepEqual(
    offsets,
    [...offsets].sort((a, b) => a - b),
  );
  assert.equal(new Set(offsets).size, 5);
  await watch.close();
});

test('a slow reader misses nothing', async (t) => {
  const db = await Database.open(folder(), { fsync: 'never' });
  t.after(() => db.close());
  await db.machine(lamp).putMachine();
  await db.createInstance('lamp', 1, { instanceId: 'a' });
  const watch = await db.watchAll({ includeCtx: false });
  const total = 20_000;
  const ops = Array.from({ length: 1_000 }, () => ({
    op: 'applyEvent',
    params: { instanceId: 'a', event: 'PRESS' },
  }));
  for (let count = 0; count < total; count += ops.length) await db.batch(ops);
  let last = watch.started.walOffset - 1;
  for (let count = 0; count < total; count += 1) {
    const { value } = await watch.next();
    assert.equal(value.walOffset, last + 1);
    last = value.walOffset;
  }
  await watch.close();
});

test('closing the watch or the database ends the waiting', async (t) => {
  const { db } = await watched(t);
  const one = await db.watchAll();
  const waiting = one.next();
  await one.close();
  assert.deepEqual(await waiting, { value: undefined, done: true });
  const other = await db.watchAll();
  const also = other.next();
  await db.close();
  assert.deepEqual(await also, { value: undefined, done: true });
});

test('a signal ends the watch with its reason', async (t) => {
  const { db, press } = await watched(t);
  const control = new AbortController();
  const watch = await db.watchAll({}, { signal: control.signal });
  await press();
  const seen = [];
  await assert.rejects(
    (async () => {
      for await (const event of watch) {
        seen.push(event.event);
        control.abort(new Error('enough'));
      }
    })(),
    /enough/,
  );
  assert.deepEqual(seen, ['PRESS']);
  assert.equal((await watch.next()).done, true);
  const later = new AbortController();
  const silent = await db.watchAll({}, { signal: later.signal });
  const waiting = silent.next();
  later.abort();
  await assert.rejects(waiting, { name: 'AbortError' });
});

test('a watch of what is not there is refused', async (t) => {
  const { db } = await watched(t);
  await assert.rejects(db.watchInstance('nope'), NotFoundError);
  await assert.rejects(db.watchInstance({ instanceID: 'a' }), /no member/);
});

test('the echo never ends and never runs ahead', async (t) => {
  const db = await Database.open('echo:');
  t.after(() => db.close());
  const watch = await db.watchAll();
  let last = 0;
  for await (const event of watch) {
    assert.equal(event.walOffset, last + 1);
    last = event.walOffset;
    if (last === 10_000) break;
  }
  assert.equal(watch.resumeOffset, last + 1);
});

test('a watch resumes behind the last event that was handed out, and where it began before that', async (t) => {
  const { db, press } = await watched(t);
  for (const end of ['close', 'abort', 'database']) {
    const control = new AbortController();
    const own = end === 'database' ? await watched(t) : { db, press };
    const watch = await own.db.watchAll({}, { signal: control.signal });
    const begin = watch.resumeOffset;
    // Somebody waits, and the event is on its way when the watch ends.
    const waiting = watch.next().catch((error) => error.name);
    const pressed = own.press();
    assert.equal(watch.resumeOffset, begin);
    if (end === 'abort') control.abort();
    else if (end === 'close') await watch.close();
    else await own.db.close();
    const got = await waiting;
    await pressed.catch(() => undefined);
    // On a database, closing may come behind the event; then it was handed out.
    const expected = got.value === undefined ? begin : got.value.walOffset + 1;
    assert.equal(watch.resumeOffset, expected, end);
  }
  // Several are fetched at once, and one is handed out.
  const watch = await db.watchAll();
  for (let count = 0; count < 20; count += 1) await press();
  const { value } = await watch.next();
  assert.equal(watch.resumeOffset, value.walOffset + 1);
  await watch.next();
  await watch.close();
  assert.equal(watch.resumeOffset, value.walOffset + 2);
  const later = await db.watchAll({ fromOffset: watch.resumeOffset });
  assert.equal((await later.next()).value.walOffset, value.walOffset + 2);
  await later.close();
});

test('abort and resume, again and again, loses and repeats nothing', async (t) => {
  const db = await Database.open(folder(), { fsync: 'never' });
  t.after(() => db.close());
  await db.machine(lamp).putMachine();
  await db.createInstance('lamp', 1, { instanceId: 'a' });
  const total = 300;
  let from = (await db.getInstance('a')).lastWalOffset + 1;
  const writing = (async () => {
    for (let n = 0; n < total; n += 1) await db.applyEvent('a', 'PRESS', { payload: { n } });
  })();
  const seen = [];
  while (seen.length < total) {
    const control = new AbortController();
    const watch = await db.watchAll({ fromOffset: from }, { signal: control.signal });
    // In the middle of whatever is under way then, but behind one event at least.
    const handed = seen.length;
    const abort = () => (seen.length > handed ? control.abort() : setImmediate(abort));
    setImmediate(abort);
    try {
      for await (const event of watch) seen.push(event.payload.n);
    } catch (error) {
      assert.equal(error.name, 'AbortError');
    }
    from = watch.resumeOffset;
  }
  await writing;
  assert.deepEqual(
    seen,
    Array.from({ length: total }, (_, n) => n),
  );
});

test('behind its end a watch gives nothing, though events were fetched', async (t) => {
  const { db, press } = await watched(t);
  const ends = {
    close: (watch) => watch.close(),
    return: (watch) => watch.return(),
    throw: (watch) => watch.throw(new Error('mine')).catch(({ message }) => message),
    leave: async (watch) => {
      for await (const _ of watch) break;
    },
    fail: async (watch) => {
      const loop = async () => {
        for await (const _ of watch) throw new Error('mine');
      };
      await assert.rejects(loop(), /mine/);
    },
    abort: async (watch, control) => {
      control.abort(new Error('enough'));
      await assert.rejects(watch.next(), /enough/);
    },
    database: async () => db.close(),
  };
  for (const [name, end] of Object.entries(ends)) {
    const control = new AbortController();
    const watch = await db.watchAll({}, { signal: control.signal });
    for (let count = 0; count < 20; count += 1) await press();
    assert.equal((await watch.next()).done, false);
    await end(watch, control);
    assert.deepEqual(await watch.next(), { value: undefined, done: true }, name);
  }
});
