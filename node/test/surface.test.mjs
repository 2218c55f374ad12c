// Everything that tests/conformance/surface.json lists is there, under its name here.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { camel } from './conformance/wire.mjs';

const require = createRequire(import.meta.url);
const rstmdb = require('rstmdb');

import ts from 'typescript-5';

const root = new URL('../..', import.meta.url);
const surface = JSON.parse(readFileSync(new URL('tests/conformance/surface.json', root), 'utf8'));

/** The interfaces and type aliases of the declarations that users get. */
function declarations(file = 'types.d.ts') {
  const path = new URL(`node/dist/${file}`, root);
  const source = ts.createSourceFile(file, readFileSync(path, 'utf8'), ts.ScriptTarget.ES2022);
  return new Map(source.statements.filter((s) => s.name).map((s) => [s.name.text, s]));
}

test('every operation is a method of Database, and nothing else is', () => {
  const expected = surface.operations.map(({ name }) => camel(name)).sort();
  const { Operations } = { Operations: Object.getPrototypeOf(rstmdb.Database.prototype) };
  const found = Object.getOwnPropertyNames(Operations).filter((name) => name !== 'constructor');
  assert.deepEqual(found.sort(), expected);
});

test('requests and results have the members of the surface', () => {
  const types = declarations();
  for (const operation of surface.operations) {
    const title = operation.name.replace(/(?:^|_)([a-z])/g, (_, letter) => letter.toUpperCase());
    for (const side of ['request', 'result']) {
      const name = `${title}${side === 'request' ? 'Request' : 'Result'}`;
      const declared = types.get(name);
      assert.ok(declared, `${name} is declared`);
      // A result that is a list on the wire is one here.
      if (!ts.isInterfaceDeclaration(declared)) {
        assert.equal(operation[side].length, 1, name);
        continue;
      }
      const members = declared.members.map((member) => member.name.text).sort();
      assert.deepEqual(members, operation[side].map((member) => camel(member.name)).sort(), name);
      if (side === 'request') {
        const required = declared.members.filter((m) => !m.questionToken).map((m) => m.name.text);
        const wanted = operation.request.filter((m) => m.required).map((m) => camel(m.name));
        assert.deepEqual(required.sort(), wanted.sort(), `required members of ${name}`);
      }
    }
  }
});

test('the types that requests and results hold have the members of the surface', () => {
  const types = declarations();
  let compared = 0;
  for (const { name: written, kind, members } of surface.types) {
    // An entry of the log is of its type.
    const [whole, tag] = written.split(':');
    const name = tag ? `${whole}${camel(`_${tag}`)}` : whole;
    const declared = types.get(name);
    assert.ok(declared, `${name} is declared`);
    if (kind !== 'struct' || !ts.isInterfaceDeclaration(declared)) continue;
    const found = declared.members.map((member) => member.name.text).sort();
    const wanted = members.map((member) => camel(member.name));
    assert.deepEqual(found, (tag ? [...wanted, 'type'] : wanted).sort(), name);
    compared += 1;
  }
  assert.ok(compared > 5);
});

test('options are those of the surface, and reach their kind of database', async () => {
  const types = declarations('option_types.d.ts');
  const compare = (name, rows) => {
    const found = types.get(name).members.map((member) => member.name.text);
    assert.deepEqual(
      found,
      rows.map((row) => camel(row.name)),
      name,
    );
  };
  const of = (kind) => surface.options.filter((row) => row.for === kind);
  compare('LocalOptions', of('embedded'));
  compare('ServerOptions', of('server'));
  for (const row of of('server')) {
    if (row.members) compare(`${camel(`_${row.name}`)}Options`, row.members);
  }
  const defaults = of('embedded').map((row) => [camel(row.name), row.default ?? undefined]);
  const db = await rstmdb.Database.open('mem:', Object.fromEntries(defaults));
  await db.close();
  for (const { name } of of('server')) {
    const opening = rstmdb.Database.open('mem:', { [camel(name)]: 1 });
    await assert.rejects(opening, (error) => error.message.includes(`"${name}"`), name);
  }
});

test('codes, kinds and reasons of errors are those of the surface', () => {
  const names = (rows, key) => rows.map((row) => row[key]).sort();
  assert.deepEqual([...rstmdb.ERROR_CODES].sort(), names(surface.error_codes, 'code'));
  assert.deepEqual([...rstmdb.ERROR_KINDS].sort(), names(surface.error_kinds, 'kind'));
  assert.deepEqual([...rstmdb.ERROR_REASONS].sort(), names(surface.error_reasons, 'reason'));
});

test('every kind of error has a class of its own', () => {
  for (const { kind } of surface.error_kinds) {
    const name = kind.replace(/(?:^|_)([a-z])/g, (_, letter) => letter.toUpperCase());
    const made = rstmdb[`${name}Error`];
    assert.ok(made.prototype instanceof rstmdb.RstmdbError, kind);
    assert.equal(made.prototype.name, `${name}Error`);
  }
});

test('import and require see the same', async () => {
  for (const path of ['rstmdb', 'rstmdb/client']) {
    const required = require(path);
    const imported = await import(path);
    for (const name of Object.keys(required)) assert.equal(imported[name], required[name], name);
    assert.ok(Object.keys(required).length > 5);
  }
});

test('the package, its addon and the workspace have one version', () => {
  const cargo = readFileSync(new URL('Cargo.toml', root), 'utf8');
  const { version } = JSON.parse(readFileSync(new URL('node/package.json', root), 'utf8'));
  assert.equal(rstmdb.version, version);
  assert.equal(/\[workspace\.package\]\nversion = "(.*)"/.exec(cargo)[1], version);
});
