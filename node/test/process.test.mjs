// What keeps a process alive and what does not; threads that end; exits in the middle.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { Database } from 'rstmdb';
import { folder } from './support/sample.mjs';

const run = promisify(execFile);
const here = fileURLToPath(new URL('.', import.meta.url));
const HEAD = `
  const { Database, defineMachine } = require('rstmdb');
  const lamp = defineMachine('lamp', 1, { states: ['off', 'on'], initial: 'off', transitions: [
    { from: 'off', event: 'PRESS', to: 'on' }, { from: 'on', event: 'PRESS', to: 'off' }] });
  async function start(url) {
    const db = await Database.open(url);
    await db.machine(lamp).putMachine();
    await db.createInstance('lamp', 1, { instanceId: 'a' }).catch(() => {});
    return db;
  }
`;

/** Runs code in a process of its own; it has to end by itself. */
async function program(code, ...args) {
  const script = `${HEAD}(async () => {${code}})();`;
  const { stdout } = await run(process.execPath, ['-e', script, ...args], { cwd: here });
  return stdout.trim();
}

test('an open database and a watch that nobody awaits let the process end', async () => {
  const code = `
    const db = await start(process.argv[1]);
    const watch = await db.watchAll();
    await db.applyEvent('a', 'PRESS');
    console.log('end');`;
  assert.equal(await program(code, 'mem:'), 'end');
  assert.equal(await program(code, folder()), 'end');
});

test('a request under way keeps the process alive until its answer', async () => {
  const code = `
    const db = await start(process.argv[1]);
    db.applyEvent('a', 'PRESS').then(({ toState }) => console.log(toState));`;
  assert.equal(await program(code, folder()), 'on');
});

test('an awaited watch keeps the process alive until it ends', async () => {
  const code = `
    const db = await start('mem:');
    const watch = await db.watchAll();
    setTimeout(() => db.applyEvent('a', 'PRESS'), 50).unref();
    for await (const event of watch) { console.log(event.toState); break; }`;
  assert.equal(await program(code), 'on');
});

test('process.exit in the middle of everything is an exit', async () => {
  const code = `
    const db = await start(process.argv[1]);
    const watch = await db.watchAll();
    watch.next();
    for (let n = 0; n < 100; n += 1) db.applyEvent('a', 'PRESS');
    console.log('exit');
    process.exit(0);`;
  const path = folder();
  assert.equal(await program(code, path), 'exit');
  // The directory is whole, and free.
  const db = await Database.open(path);
  assert.ok((await db.getInstance('a')).lastWalOffset >= 2);
  await db.close();
});

test('an error that nobody catches ends the process as usual', async () => {
  const code = `
    const db = await start(process.argv[1]);
    db.applyEvent('nope', 'PRESS');`;
  const error = await program(code, folder()).catch((error) => error);
  assert.equal(error.code, 1);
  assert.match(error.stderr, /NotFoundError/);
});

/** Evaluated code has no folder of its own to find the package from. */
function worker(code, url) {
  const index = JSON.stringify(fileURLToPath(new URL('../dist/index.js', import.meta.url)));
  const head = HEAD.replace("require('rstmdb')", `require(${index})`);
  const script = `const { parentPort, workerData: url } = require('node:worker_threads');
    ${head}(async () => {${code}})();`;
  return new Worker(script, { eval: true, workerData: url });
}

const message = (worker) =>
  new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });

test('threads have databases of their own, all at once', async () => {
  const threads = Array.from({ length: 4 }, () =>
    worker(
      `const db = await start(url);
       await Promise.all(Array.from({ length: 200 }, () => db.applyEvent('a', 'PRESS')));
       const { lastWalOffset } = await db.getInstance('a');
       await db.close();
       parentPort.postMessage(lastWalOffset);`,
      folder(),
    ),
  );
  assert.deepEqual(await Promise.all(threads.map(message)), [202, 202, 202, 202]);
});

test('a thread that is terminated in the middle leaves its directory whole and free', async () => {
  const path = folder();
  for (let round = 0; round < 5; round += 1) {
    const thread = worker(
      `const db = await start(url);
       const watch = await db.watchAll();
       watch.next();
       const press = () => db.applyEvent('a', 'PRESS').then(press);
       for (let n = 0; n < 64; n += 1) press();
       parentPort.postMessage('busy');`,
      path,
    );
    await message(thread);
    await thread.terminate();
    const db = await Database.open(path);
    assert.ok((await db.getInstance('a')).lastWalOffset >= 2);
    await db.close();
  }
});

test('a thread that ends by itself unloads while another one works', async () => {
  const db = await Database.open('mem:');
  for (let round = 0; round < 20; round += 1) {
    const thread = worker(`const db = await start(url); parentPort.postMessage('done');`, 'mem:');
    // Both may come in one go.
    const ended = new Promise((resolve) => thread.once('exit', resolve));
    await message(thread);
    await ended;
    assert.equal((await db.ping()).pong, true);
  }
  await db.close();
});
