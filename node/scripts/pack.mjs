// Packs what is published: the package, and the addon of a platform as a package of its own.
// Usage: node scripts/pack.mjs FOLDER LIBRARY [PLATFORM]      the library as cargo built it; for this platform

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { triple } from '../dist/platform.js';

const [, , folder, library, platform = triple()] = process.argv;
const out = resolve(folder);
const json = (path) => JSON.parse(readFileSync(path, 'utf8'));
const write = (path, value) => writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
const manifest = json('package.json');
const platforms = readdirSync('npm').map((name) => json(join('npm', name, 'package.json')));

for (const { name, version } of platforms) {
  if (version !== manifest.version) {
    throw new Error(`node/npm: ${name} has version ${version}, the package ${manifest.version}`);
  }
}

mkdirSync(out, { recursive: true });

/** A folder with what goes into one package, and the package of it. */
function pack(name, files, edit) {
  const stage = join(out, 'stage', name);
  mkdirSync(stage, { recursive: true });
  for (const [from, to] of files) cpSync(from, join(stage, to), { recursive: true });
  const path = join(stage, 'package.json');
  write(path, edit(json(path)));
  const windows = process.platform === 'win32';
  execFileSync('npm', ['pack', '--silent', '--pack-destination', out], {
    cwd: stage,
    stdio: ['ignore', 'ignore', 'inherit'],
    shell: windows,
  });
  return stage;
}

pack(
  manifest.name,
  [
    ['dist', 'dist'],
    ['README.md', 'README.md'],
    ['package.json', 'package.json'],
    ['../LICENSE', 'LICENSE'],
  ],
  ({ devDependencies: _, scripts: __, ...published }) => ({
    ...published,
    // As napi has it: a package for each platform, of which npm installs the one that fits.
    optionalDependencies: Object.fromEntries(platforms.map(({ name, version }) => [name, version])),
  }),
);

const there = platforms.find(({ name }) => name === `rstmdb-${platform}`);
if (there === undefined) {
  throw new Error(`node/npm has no folder ${platform}; add one for it`);
}
pack(
  there.name,
  [
    [library, `rstmdb.${platform}.node`],
    [join('npm', platform, 'package.json'), 'package.json'],
    [join('npm', platform, 'README.md'), 'README.md'],
    ['../LICENSE', 'LICENSE'],
  ],
  (published) => published,
);
rmSync(join(out, 'stage'), { recursive: true });
for (const name of readdirSync(out)) console.log(join(folder, name));
