// What goes in comes out, to the last digit; what JSON can't say is an error with its place.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LosslessNumber } from 'lossless-json';
import { Database, InvalidError, parse, stringify } from 'rstmdb';
import { lamp } from './support/sample.mjs';

async function keeper(t) {
  const db = await Database.open('mem:');
  t.after(() => db.close());
  await db.machine(lamp).putMachine();
  let number = 0;
  return async (value) => {
    number += 1;
    const instanceId = `i-${number}`;
    await db.createInstance('lamp', 1, { instanceId, initialCtx: { value } });
    return (await db.getInstance(instanceId)).ctx.value;
  };
}

test('values come back as they were', async (t) => {
  const keep = await keeper(t);
  for (const value of [
    null,
    true,
    '',
    'ä € 𝄞 \u0000 \u2028 "\\',
    0,
    -1,
    0.1,
    1e21,
    1e-7,
    2 ** 53,
    -(2 ** 53),
    [],
    {},
    [1, [2, { a: null }]],
    { 'a.b': 1, '': 2, __proto: 3 },
    'x'.repeat(100_000),
  ]) {
    assert.deepEqual(await keep(value), value);
  }
});

test('plain values and others beside them are written alike', async (t) => {
  const keep = await keeper(t);
  const plain = {
    t: 'a"b\\c\n',
    '"k\u0001': 'é😀'.repeat(40),
    l: [1, [], {}, null, [true]],
    n: -0,
  };
  const deep = (depth) => (depth === 0 ? 1 : { d: [deep(depth - 1)] });
  for (const [given, kept] of [
    [plain, { ...plain, n: 0 }],
    [
      { e: 1e21, s: 1e-7, m: 2 ** 53 - 1, u: undefined },
      { e: 1e21, s: 1e-7, m: 2 ** 53 - 1 },
    ],
    [
      { l: [1n], plain },
      { l: [1], plain: { ...plain, n: 0 } },
    ],
    [
      { plain, d: new Date(0) },
      { plain: { ...plain, n: 0 }, d: '1970-01-01T00:00:00.000Z' },
    ],
    [
      Object.assign(Object.create(null), {
        a: new (class Point {
          x = 1;
        })(),
      }),
      { a: { x: 1 } },
    ],
    [deep(20), deep(20)],
    [deep(50), deep(50)],
    [[Object.assign([1], { toJSON: () => 2 })], [2]],
  ]) {
    assert.deepEqual(await keep(given), kept);
  }
});

test('a getter may begin another request, and one that is refused', async (t) => {
  const keep = await keeper(t);
  const begun = [];
  const value = {
    d: new Date(0),
    get g() {
      begun.push(keep({ plain: 1 }));
      return 1;
    },
    get h() {
      begun.push(assert.rejects(keep(Number.NaN), InvalidError));
      return 2;
    },
  };
  assert.deepEqual(await keep(value), { d: '1970-01-01T00:00:00.000Z', g: 1, h: 2 });
  assert.deepEqual((await Promise.all(begun))[0], { plain: 1 });
});

test('a member may be called __proto__ and stays a member', async (t) => {
  const keep = await keeper(t);
  for (const text of [
    '{"__proto__":{"a":1}}',
    '{"__proto__":{"a":1},"big":18446744073709551615}',
  ]) {
    const value = JSON.parse(text, (_, v) => (v > 2 ** 63 ? 2n ** 64n - 1n : v));
    const kept = await keep(value);
    assert.deepEqual(Object.keys(kept), Object.keys(value));
    assert.equal(kept.a, undefined);
  }
});

test('integers beyond 2^53 are bigints and exact', async (t) => {
  const keep = await keeper(t);
  for (const value of [
    2n ** 53n + 1n,
    2n ** 63n,
    2n ** 64n - 1n,
    -(2n ** 63n),
    -(2n ** 53n) - 1n,
  ]) {
    assert.equal(await keep(value), value);
    assert.deepEqual(await keep([value, 1, '9007199254740993', 0.25]), [
      value,
      1,
      '9007199254740993',
      0.25,
    ]);
  }
  assert.equal(await keep(7n), 7, 'a small one is a number when it is read');
  assert.equal(await keep(2 ** 60), 2n ** 60n, 'a large number keeps the digits it stands for');
  assert.equal(
    await keep('9007199254740993'),
    '9007199254740993',
    'digits in a string are a string',
  );
  assert.equal(await keep(0.12345678901234568), 0.12345678901234568);
});

test('a number beyond 2^53 is a bigint when it is an integer of 64 bits, and a number else', async (t) => {
  const keep = await keeper(t);
  for (const [value, kept] of [
    [1e16, 10n ** 16n],
    [2 ** 63, 2n ** 63n],
    [-(2 ** 63), -(2n ** 63n)],
    [-1e19, -1e19],
    [2 ** 64, 2 ** 64],
    [1e20, 1e20],
    [-0, 0],
  ]) {
    assert.equal(await keep(value), kept);
    // Beside a bigint another parser reads it.
    assert.deepEqual(await keep([value, 2n ** 60n]), [kept, 2n ** 60n]);
  }
});

test('JSON text of values with bigints is written and read exactly', async (t) => {
  const keep = await keeper(t);
  const kept = await keep([1e16, 2n ** 64n - 1n, 1e20, -1e19, 0.5, 'x', { big: -(2n ** 63n) }]);
  assert.throws(() => JSON.stringify(kept), TypeError);
  const text = stringify(kept);
  assert.equal(
    text,
    '[10000000000000000,18446744073709551615,1e+20,-1e+19,0.5,"x",{"big":-9223372036854775808}]',
  );
  assert.deepEqual(parse(text), kept);
  assert.deepEqual(await keep(parse(text)), kept);
  assert.deepEqual(parse(stringify(kept, 2)), kept);
  assert.equal(stringify({ a: [1n] }, 1), '{\n "a": [\n  1\n ]\n}');
  assert.equal(
    stringify({ at: new Date(0), left: undefined }),
    '{"at":"1970-01-01T00:00:00.000Z"}',
  );
  assert.deepEqual(Object.keys(parse('{"b":1,"a":9007199254740993}')), ['b', 'a']);
  for (const [text, path, problem] of [
    ['{"a":[18446744073709551616]}', 'a[0]', /does not fit 64 bits/],
    ['{"a":1e400}', 'a', /too large/],
    ['["\\ud800"]', '[0]', /surrogate/],
    ['{"a":}', 'a', /expected value at line 1 column 6/],
    ['"\ud800"', undefined, /surrogate/],
    [5, undefined, /expected a string/],
  ]) {
    assert.throws(
      () => parse(text),
      (error) => {
        assert.ok(error instanceof InvalidError);
        assert.match(error.message, problem);
        assert.equal(error.context.path, path);
        return true;
      },
    );
  }
  assert.throws(() => stringify({ a: [2n ** 64n] }), /a\[0\].*64 bits/);
  // Halves of surrogate pairs do not become text with a backslash or an escape beside them.
  for (const half of ['\ud83d', '\udc00']) {
    for (const before of ['', '\\', '\\\\', '\\\\\\', '\\ud83d', '\\n', 'x']) {
      for (const behind of ['', '\\udc00', '\\"', 'x', ' ']) {
        for (const text of [`"${before}${half}${behind}"`, `${before}${half}${behind}`]) {
          assert.throws(() => parse(text), InvalidError, JSON.stringify(text));
        }
      }
    }
  }
  assert.equal(parse('"\ud83d\udc00\\\\\\ud83d\\udc00"'), '\ud83d\udc00\\\ud83d\udc00');
  // A whole result goes too.
  const db = await Database.open('mem:');
  t.after(() => db.close());
  assert.equal(typeof stringify(await db.walStats()), 'string');
});

test('an error is sent to others as what toJSON gives', async (t) => {
  const db = await Database.open('mem:');
  t.after(() => db.close());
  const error = await db.getInstance('nope').catch((error) => error);
  const sent = structuredClone(error.toJSON());
  assert.deepEqual(sent, {
    code: 'INSTANCE_NOT_FOUND',
    kind: 'not_found',
    message: error.message,
    retryable: false,
    operation: 'GET_INSTANCE',
    context: { instance_id: 'nope' },
  });
  // In requests and logs it is the same.
  assert.deepEqual(JSON.parse(JSON.stringify(error)), sent);
});

test('whoever has a toJSON says how it is written', async (t) => {
  const keep = await keeper(t);
  const when = new Date(1_700_000_000_000);
  assert.equal(await keep(when), when.toISOString());
  assert.deepEqual(await keep({ at: when, n: 2n ** 60n }), {
    at: when.toISOString(),
    n: 2n ** 60n,
  });
  assert.deepEqual(await keep({ toJSON: () => ({ toJSON: () => 5 }) }), 5);
  class Point {
    x = 1;
    #hidden = 2;
    sum() {
      return this.x + this.#hidden;
    }
  }
  assert.deepEqual(await keep(new Point()), { x: 1 });
  assert.deepEqual(await keep(Object.create(null, { a: { value: 1, enumerable: true } })), {
    a: 1,
  });
  assert.deepEqual(await keep({ a: 1, b: undefined }), { a: 1 }, 'undefined members are left out');
});

test('what JSON can’t say is an error that names the place', async (t) => {
  const keep = await keeper(t);
  const cycle = { a: [] };
  cycle.a.push(cycle);
  let deep = [];
  for (let depth = 0; depth < 5_000; depth += 1) deep = [deep];
  for (const [value, place, problem] of [
    [{ a: [1, { b: Number.NaN }] }, 'initialCtx.value.a[1].b', /NaN/],
    [Number.POSITIVE_INFINITY, 'initialCtx.value', /Infinity/],
    [[() => 1], 'initialCtx.value[0]', /function/],
    [{ 'a b': Symbol('s') }, 'initialCtx.value["a b"]', /symbol/],
    [[undefined], 'initialCtx.value[0]', /undefined/],
    [new Array(1), 'initialCtx.value[0]', /undefined/],
    [2n ** 64n, 'initialCtx.value', /64 bits/],
    [-(2n ** 63n) - 1n, 'initialCtx.value', /64 bits/],
    [{ big: new LosslessNumber('18446744073709551616') }, 'initialCtx.value.big', /64 bits/],
    [new LosslessNumber('1e400'), 'initialCtx.value', /too large/],
    [{ a: 'x\ud800y' }, 'initialCtx.value.a', /surrogate/],
    [{ '\udc00': 1 }, 'initialCtx.value', /surrogate/],
    [new Map([[1, 2]]), 'initialCtx.value', /Map/],
    [new Uint8Array(2), 'initialCtx.value', /Uint8Array/],
    [/x/, 'initialCtx.value', /RegExp/],
    [new Date(Number.NaN), 'initialCtx.value', /invalid date/],
    [{ toJSON: () => Number.NaN }, 'initialCtx.value', /NaN/],
    [cycle, 'initialCtx.value.a[0]', /contains itself/],
    [deep, null, /deep/],
  ]) {
    const error = await keep(value).catch((error) => error);
    assert.ok(error instanceof InvalidError, String(problem));
    assert.match(error.message, problem);
    assert.equal(error.reason, 'invalid_request');
    if (place !== null) assert.equal(error.context.path, place);
  }
});

test('a getter or toJSON that throws is the caller’s own error', async (t) => {
  const keep = await keeper(t);
  const broken = {
    get a() {
      throw new RangeError('mine');
    },
  };
  await assert.rejects(keep(broken), RangeError);
  await assert.rejects(
    keep({
      toJSON() {
        throw new RangeError('mine');
      },
    }),
    RangeError,
  );
});

test('text that looks like an escaped surrogate is text', async (t) => {
  const keep = await keeper(t);
  assert.equal(await keep('\\ud800'), '\\ud800');
});

test('offsets beyond 2^53 are taken as bigints', async (t) => {
  const db = await Database.open('mem:');
  t.after(() => db.close());
  await assert.rejects(db.walRead(2n ** 60n), /offset 1152921504606846976 is beyond/);
  await assert.rejects(db.walRead(2n ** 64n), /64 bits/);
});
