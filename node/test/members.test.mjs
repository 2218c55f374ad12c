// Arguments that do not fit are refused by the name that they have here.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Database, InvalidError } from 'rstmdb';
import { sample } from './support/sample.mjs';

const { operations } = JSON.parse(
  readFileSync(new URL('../../tests/conformance/surface.json', import.meta.url), 'utf8'),
);
const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());

/** A value that fits, and those that do not, by the type in the table. */
const FORMS = {
  Text: ['x', [1, true, {}, [], 1.5]],
  u32: [1, ['1', -1, 1.5, true, {}, [1], 2 ** 40]],
  u64: [1, ['1', -1, 1.5, true, {}, [1]]],
  usize: [1, ['1', -1, 1.5, true, {}, [1]]],
  Offset: [1, ['1', -1, 1.5, true, {}, [1]]],
  bool: [true, ['yes', 1, {}, []]],
  Json: [{}, []],
  'Vec<Text>': [[], ['x', 1, {}, [1], ['x', {}]]],
  'Vec<BatchOperation>': [[], ['x', 1, {}, [1], [{ op: 'nope' }]]],
  BatchMode: ['atomic', ['all', 1, {}]],
  HistoryOrder: ['newest', ['last', 1, {}]],
};

test('every member of every operation is named when it does not fit', async (t) => {
  const db = await sample(t);
  let refusals = 0;
  for (const operation of operations) {
    const fitting = operation.request.map(({ name, type }) => [camel(name), FORMS[type][0]]);
    for (const { name, type } of operation.request) {
      for (const value of FORMS[type][1]) {
        const request = { ...Object.fromEntries(fitting), [camel(name)]: value };
        const what = `${operation.name} ${name} ${JSON.stringify(value)}`;
        await assert.rejects(db[camel(operation.name)](request), (error) => {
          assert.ok(error instanceof InvalidError, `${what}: ${error.stack}`);
          assert.ok(error.message.includes(camel(name)), `${what}: ${error.message}`);
          assert.ok(!error.message.includes('column'), `${what}: ${error.message}`);
          assert.ok(error.context.field.startsWith(name), what);
          return true;
        });
        refusals += 1;
      }
    }
  }
  assert.ok(refusals > 200, `${refusals}`);
  await assert.rejects(db.createInstance('m', '1'), {
    message:
      'create_instance request: version must be a whole number from 0 to 4294967295, not the string "1"',
  });
  await assert.rejects(db.getInstance(), /instanceId is missing/);
  const ops = [{ op: 'applyEvent', params: { instanceId: 7, event: 'E' } }];
  await assert.rejects(db.batch(ops), /ops\[0\]\.params\.instanceId must be a string, not 7/);
});

test('a promise that was not awaited is called one, wherever it is given', async (t) => {
  const db = await sample(t);
  const late = Promise.resolve('m');
  // Of another make.
  const thenable = Object.fromEntries([['then', () => undefined]]);
  for (const promise of [late, thenable]) {
    for (const call of [
      () => db.getInstance(promise),
      () => db.createInstance('m', promise),
      () => db.createInstance('m', 1, promise),
      () => db.createInstance('m', 1, { initialCtx: { deep: [promise] } }),
      () => db.createInstance({ machine: 'm', version: promise }),
      () => db.applyEvent('a', 'E', { payload: promise }),
      () => db.batch([promise]),
      () => db.batch([{ op: 'getInstance', params: { instanceId: promise } }]),
      () => db.listInstances(promise),
      () => db.ping(promise),
      () => db.watchAll({ machines: promise }),
      () => Database.open(promise),
      () => Database.open('mem:', promise),
      () => Database.open('mem:', { token: promise }),
      async () => db.machine(promise, 1),
      async () => db.machine('m', promise),
    ]) {
      await assert.rejects(call(), (error) => {
        assert.ok(error instanceof InvalidError, error.stack);
        assert.match(error.message, /a promise; await it first/, `${call}: ${error.message}`);
        return true;
      });
    }
  }
});
