// A server of its own for a test: the binary that cargo built.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const TARGET =
  process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../../target', import.meta.url));
const BINARY = process.env.RSTMDB_SERVER ?? join(TARGET, 'debug', 'rstmdb');

const NEWER = process.env.RSTMDB_NEWER_SERVER ?? join(TARGET, 'debug', 'newer_server');

/** Starts a server of the future: tests/newer/answers.json is what it says. */
export function startNewerServer() {
  return startScripted();
}

/** Starts a server of the past: tests/older/answers.json is what it says. */
export function startOlderServer() {
  return startScripted('older');
}

async function startScripted(...flags) {
  const child = spawn(NEWER, flags, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  return {
    url: `rstmdb://${JSON.parse(line).listening}`,
    async stop() {
      child.stdin.end();
      await ended;
    },
  };
}

/** Starts a server on a port that is free. */
export async function startServer(...flags) {
  const folder = mkdtempSync(join(tmpdir(), 'rstmdb-server-'));
  const arguments_ = ['--data', join(folder, 'data'), '--bind', '127.0.0.1:0'];
  arguments_.push('--metrics-bind', 'off', '--log-format', 'json', ...flags);
  const child = spawn(BINARY, arguments_, { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(child, 'exit');
  const lines = createInterface({ input: child.stderr });
  const port = await new Promise((resolve, reject) => {
    const said = [];
    lines.on('line', (line) => {
      said.push(line);
      const found = /127\.0\.0\.1:(\d+)/.exec(line);
      if (found && found[1] !== '0') resolve(Number(found[1]));
    });
    lines.on('close', () => reject(new Error(`${BINARY} did not start: ${said.join('\n')}`)));
    child.on('error', reject);
  });
  return {
    port,
    url: `rstmdb://127.0.0.1:${port}`,
    async stop() {
      child.kill();
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
