// Builds and serves a Next.js application of a page and a route that uses the package, as `create-next-app` lays it out.
// Without a setting the build must work, or say what to set; with the setting that the guide names it must work.
// Usage: node scripts/try-next.mjs FOLDER      with what scripts/pack.mjs left in FOLDER

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

const packages = resolve(process.argv[2]);
const NEXT = ['next@16.4.6', 'react@19.3.1', 'react-dom@19.3.1'];
const ROUTE = `import { Database } from 'rstmdb';

export const dynamic = 'force-dynamic';

export async function GET() {
  const db = await Database.open('mem:');
  const { instances } = await db.info();
  await db.close();
  return Response.json({ instances });
}
`;
const SETTING = /^export default \{ serverExternalPackages: \['rstmdb'\] \};$/m;
const guide = readFileSync(new URL('../../docs/guide/typescript.md', import.meta.url), 'utf8');
const [setting] = SETTING.exec(guide);

const folder = mkdtempSync(join(tmpdir(), 'rstmdb-next-'));
const next = join(folder, 'node_modules', 'next', 'dist', 'bin', 'next');
const env = { ...process.env, NEXT_TELEMETRY_DISABLED: '1' };

function write(path, text) {
  mkdirSync(join(folder, path, '..'), { recursive: true });
  writeFileSync(join(folder, path), text);
}

/** What a build printed, and whether it worked. */
function build(...options) {
  rmSync(join(folder, '.next'), { recursive: true, force: true });
  const { status, stdout, stderr } = spawnSync(process.execPath, [next, 'build', ...options], {
    cwd: folder,
    env,
    encoding: 'utf8',
  });
  return { works: status === 0, said: stdout + stderr };
}

/** What the route answers. */
async function answer() {
  const server = spawn(
    process.execPath,
    [next, 'start', '--port', '0', '--hostname', '127.0.0.1'],
    {
      cwd: folder,
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  try {
    for await (const line of createInterface({ input: server.stdout })) {
      const [url] = /http:\/\/127\.0\.0\.1:[1-9]\d*/.exec(line) ?? [];
      if (url) return await (await fetch(`${url}/api/orders`)).text();
    }
    throw new Error('next start ended');
  } finally {
    server.kill();
  }
}

try {
  write('package.json', '{ "name": "try", "private": true }\n');
  write(
    'app/layout.js',
    'export default ({ children }) => <html><body>{children}</body></html>;\n',
  );
  write('app/page.js', 'export default () => <p>orders</p>;\n');
  write('app/api/orders/route.js', ROUTE);
  const files = readdirSync(packages).filter((name) => name.endsWith('.tgz'));
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  execFileSync(
    'npm',
    ['install', ...NEXT, ...files.map((name) => join(packages, name)), ...quiet],
    {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'inherit'],
      shell: process.platform === 'win32',
    },
  );
  for (const bundler of ['--turbopack', '--webpack']) {
    for (const [name, config] of [
      ['by default', ''],
      ['with serverExternalPackages', setting],
    ]) {
      rmSync(join(folder, 'next.config.mjs'), { force: true });
      if (config) write('next.config.mjs', `${config}\n`);
      const { works, said } = build(bundler);
      const found = works ? await answer() : said;
      const fine = found.trim() === '{"instances":0}';
      if (!fine && (config || !/serverExternalPackages/.test(found))) {
        throw new Error(`next ${bundler}, ${name}:\n${found}`);
      }
      console.log(`next ${bundler}, ${name}: ${fine ? 'works' : 'says what to set'}`);
    }
  }
  // What is copied to run elsewhere has the addon in it.
  write('next.config.mjs', setting.replace('{ ', "{ output: 'standalone', "));
  const { works, said } = build('--turbopack');
  if (!works) throw new Error(`next, standalone:\n${said}`);
  execFileSync(process.execPath, ['-e', "require('rstmdb')"], {
    cwd: join(folder, '.next', 'standalone'),
  });
  console.log('next --turbopack, standalone with serverExternalPackages: works');
} finally {
  rmSync(folder, { recursive: true, force: true });
}
