// Installs the packed packages into an empty folder outside of the repository, and runs the blocks of the
// README there: in a directory, in memory and on a server.
// Usage: node scripts/try-package.mjs FOLDER SERVER

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const packages = resolve(process.argv[2]);
process.env.RSTMDB_SERVER = resolve(process.argv[3]);
const { triple } = await import('../dist/platform.js');
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const { startServer } = await import('../test/support/server.mjs');

const folder = mkdtempSync(join(tmpdir(), 'rstmdb-package-'));
const shell = process.platform === 'win32';
const run = (program, ...args) =>
  execFileSync(program, args, {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
const npm = (...args) =>
  execFileSync('npm', [...args, '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
    shell,
  });

function expect(text, found) {
  if (!found.includes(text)) throw new Error(`expected ${JSON.stringify(text)} in:\n${found}`);
}

try {
  writeFileSync(join(folder, 'package.json'), '{ "name": "empty", "private": true }\n');
  // The addons of other platforms may be there, or not: their packages are optional.
  const wanted = [`rstmdb-${version}.tgz`, `rstmdb-${triple()}-${version}.tgz`];
  const files = readdirSync(packages).filter((name) => wanted.includes(name));
  npm('install', ...files.map((name) => join(packages, name)));
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const [quick] = /(?<=```ts\n)[\s\S]*?(?=```)/.exec(readme);
  const [required] = /(?<=```js\n)[\s\S]*?(?=```)/.exec(readme);
  writeFileSync(join(folder, 'quick.mjs'), quick);
  writeFileSync(join(folder, 'quick.mts'), quick);
  writeFileSync(join(folder, 'required.cjs'), required);
  const server = await startServer();
  try {
    for (const url of ['mem:', './data', server.url]) {
      const printed = run(process.execPath, 'quick.mjs', url);
      expect("paid { method: 'card', total: 40 }", printed);
      expect('state "paid" does not accept event "CANCEL"', printed);
      if (url !== 'mem:') expect('1 instances', run(process.execPath, 'required.cjs', url));
    }
  } finally {
    await server.stop();
  }
  // As a user's compiler sees it, with every check.
  const { devDependencies } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url)));
  npm(
    'install',
    `typescript@${devDependencies.typescript}`,
    `@types/node@${devDependencies['@types/node']}`,
  );
  const options = {
    strict: true,
    noEmit: true,
    module: 'node16',
    target: 'es2022',
    types: ['node'],
  };
  const config = { compilerOptions: { ...options, skipLibCheck: false }, include: ['quick.mts'] };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
  run(process.execPath, join('node_modules', 'typescript', 'bin', 'tsc'), '-p', '.');
  console.log(
    'the quick start runs from the packed packages: in memory, in a directory, on a server',
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
