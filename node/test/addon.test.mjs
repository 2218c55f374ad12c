// Where the native addon is missing or broken the error says so and what helps; bundlers take it along.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { folder } from './support/sample.mjs';

const run = promisify(execFile);
const here = fileURLToPath(new URL('..', import.meta.url));
const { triple } = createRequire(import.meta.url)('../dist/platform.js');
const { version } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'));

/** A folder in which the package is installed, without an addon. */
function installed() {
  const modules = join(folder(), 'node_modules');
  for (const [from, to] of [
    ['dist', 'rstmdb/dist'],
    ['package.json', 'rstmdb/package.json'],
    ['node_modules/lossless-json', 'lossless-json'],
  ]) {
    cpSync(join(here, from), join(modules, to), { recursive: true });
  }
  return modules;
}

/** The addon as npm installs it. */
function addon(modules, bytes) {
  const name = `rstmdb-${triple()}`;
  cpSync(join(here, 'node_modules', name), join(modules, name), { recursive: true });
  if (bytes) writeFileSync(join(modules, name, `rstmdb.${triple()}.node`), bytes);
}

/** What the package says when it is loaded, after some code. */
async function said(modules, before = '') {
  const code = `${before}; try { require('rstmdb') } catch (error) { console.log(error.message) }`;
  return (await run(process.execPath, ['-e', code], { cwd: join(modules, '..') })).stdout.trim();
}

const as = (platform, arch) =>
  `for (const [name, value] of [['platform', '${platform}'], ['arch', '${arch}']])
     Object.defineProperty(process, name, { value })`;

test('a missing addon is named with platform, cause and remedy', async () => {
  const modules = installed();
  const text = await said(modules);
  for (const part of [
    `rstmdb ${version} did not find its native addon for ${process.platform} ${process.arch}`,
    `npm install --include=optional rstmdb-${triple()}@${version}`,
    '--omit=optional',
    'another platform',
    'serverExternalPackages',
  ]) {
    assert.ok(text.includes(part), `${part} in: ${text}`);
  }
  addon(modules);
  assert.equal(await said(modules), '', 'what it names is what helps');
});

test('only addons that exist are named', async () => {
  const exist = readdirSync(join(here, 'npm')).map((name) => `rstmdb-${name}`);
  const modules = installed();
  for (const platform of ['linux', 'darwin', 'win32', 'freebsd']) {
    for (const arch of ['x64', 'arm64', 'ia32', 'riscv64']) {
      const text = await said(modules, as(platform, arch));
      assert.ok(text.includes(`${platform} ${arch}`), text);
      for (const [name] of text.matchAll(/rstmdb-[a-z0-9-]+/g))
        assert.ok(exist.includes(name), text);
    }
  }
  const source = readFileSync(join(here, 'src/native.ts'), 'utf8');
  const loaded = [...source.matchAll(/require\([^)']*'(rstmdb-[^']+)'\)/g)].map(([, name]) => name);
  assert.deepEqual(loaded.sort(), exist.sort(), 'every addon is loaded by its name');
});

test('an addon that the system refuses says why, and what it needs', async () => {
  const modules = installed();
  addon(modules, 'this is no library');
  const text = await said(modules);
  assert.match(text, /could not load its native addon for \w+ \w+/);
  assert.match(text, /npm ci/);
  if (process.platform === 'linux') assert.match(text, /glibc 2\.28/);
});

test('esbuild follows the addon', async () => {
  const outdir = join(folder(), 'out');
  mkdirSync(outdir);
  const code = `
    const { Database } = require('rstmdb');
    Database.open('mem:').then(async (db) => {
      console.log((await db.info()).instances);
      await db.close();
    });`;
  await build({
    stdin: { contents: code, resolveDir: here },
    outfile: join(outdir, 'program.cjs'),
    bundle: true,
    platform: 'node',
    loader: { '.node': 'copy' },
    logLevel: 'silent',
  });
  const { stdout } = await run(process.execPath, ['program.cjs'], { cwd: outdir });
  assert.equal(stdout.trim(), '0');
});
