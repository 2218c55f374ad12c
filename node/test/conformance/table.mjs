// The table of values, as tests/conformance/SPEC.md has it.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { parse, RstmdbError } from 'rstmdb';
import { target } from './target.mjs';

const KEPT = {
  states: ['kept'],
  initial: 'kept',
  transitions: [{ from: 'kept', event: 'SET', to: 'kept' }],
};

/** The value of JavaScript that a row stands for. */
function nativeValue(native) {
  const [[kind, value]] = Object.entries(native);
  switch (kind) {
    case 'integer':
      return BigInt(value);
    case 'float':
      return { inf: Infinity, '-inf': -Infinity, nan: Number.NaN }[value] ?? Number(value);
    case 'utf16':
      return String.fromCharCode(...value.map((unit) => Number.parseInt(unit, 16)));
    case 'nested': {
      let nested = [];
      for (let depth = 1; depth < value; depth += 1) nested = [nested];
      return nested;
    }
    default:
      return value;
  }
}

async function check(db, row, place, make) {
  let result;
  try {
    result = await db.applyEvent('value', 'SET', { payload: make() });
  } catch (error) {
    if (!(error instanceof RstmdbError) || row.refused === undefined) throw error;
    const { path, reason = 'invalid_request', said = '' } = row.refused;
    assert.deepEqual([error.code, error.reason], ['BAD_REQUEST', reason]);
    assert.ok(error.message.includes(said), error.message);
    if (path !== undefined) assert.equal(error.context.path, `${place}v${path}`);
    return;
  }
  assert.ok(row.stored !== undefined, 'was taken');
  // JavaScript has one kind of number: a whole one is an integer, and a large one a bigint when it is read.
  assert.deepEqual(result.ctx, parse(`{"v":${row.one_kind_of_number ?? row.stored}}`));
}

export async function runTable(path) {
  const on = target({}, true);
  try {
    await on.open();
    await on.db.putMachine('values', 1, KEPT);
    await on.db.createInstance('values', 1, { instanceId: 'value' });
    for (const row of JSON.parse(readFileSync(path, 'utf8')).values) {
      const ways = { '': () => parse(`{"v":${row.text}}`) };
      if (row.native) ways['payload.'] = () => ({ v: nativeValue(row.native) });
      for (const [place, make] of Object.entries(ways)) {
        await check(on.db, row, place, make).catch((error) => {
          throw new Error(`${row.name}, ${place || 'text'}: ${error.message}`);
        });
      }
    }
  } finally {
    await on.end();
  }
}
