// Databases to run on: in memory, in a directory of its own, or on a server of its own.

import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Database } from 'rstmdb';
import { camel } from './wire.mjs';

const START_MS = 1767225600000;
const EMBEDDED = { retention: 'forever', free_bytes_min: 0, manual_clock_ms: START_MS };

/** Options of the wire as `open` takes them. */
function options(given) {
  if (typeof given !== 'object' || given === null) return given;
  return Object.fromEntries(Object.entries(given).map(([k, v]) => [camel(k), options(v)]));
}

/** In this process. */
class Here {
  features = new Set(['options', 'clock']);
  #place;
  #options;

  constructor(place, given) {
    this.#place = place;
    this.#options = given;
    if (place !== 'mem:') this.features.add('reopen');
  }

  async open() {
    this.db = await Database.open(this.#place, options(this.#options));
  }

  async advance(ms) {
    await this.db.advanceClock(ms);
    this.#options = {
      ...this.#options,
      manual_clock_ms: Number(this.#options.manual_clock_ms) + ms,
    };
  }

  async reopen() {
    await this.db.close();
    await this.open();
  }

  async end() {
    await this.db?.close();
    if (this.#place !== 'mem:') rmSync(this.#place, { recursive: true, force: true });
  }
}

/** On a server that the host makes. */
class There {
  features = new Set(['options', 'clock', 'reopen']);
  #socket;
  #lines;
  #options;

  constructor(host, given) {
    const at = host.lastIndexOf(':');
    this.#socket = createConnection(Number(host.slice(at + 1)), host.slice(0, at));
    this.#lines = createInterface({ input: this.#socket })[Symbol.asyncIterator]();
    this.#options = given;
  }

  async #ask(line) {
    this.#socket.write(`${JSON.stringify(line)}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('the host closed the connection');
    const answer = JSON.parse(value);
    if (answer.error) throw new Error(`the host: ${answer.error}`);
    return answer;
  }

  async open() {
    const { url } = await this.#ask({ start: this.#options });
    this.db = await Database.open(url);
  }

  async advance(ms) {
    await this.#ask({ advance_ms: ms });
  }

  async reopen() {
    await this.db.close();
    const { url } = await this.#ask({ reopen: true });
    this.db = await Database.open(url);
  }

  async end() {
    await this.db?.close();
    this.#socket.end();
  }
}

/** The target that the environment names, with these options and, for a scenario, those of all. */
export function target(given, forScenario) {
  const kind = process.env.RSTMDB_TARGET ?? 'mem:';
  const all = forScenario ? { ...EMBEDDED, ...given } : given;
  if (kind === 'mem:') return new Here('mem:', all);
  if (kind === 'file:') return new Here(mkdtempSync(join(tmpdir(), 'rstmdb-conformance-')), all);
  if (kind === 'rstmdb://') return new There(process.env.RSTMDB_HOST, given);
  throw new Error(`RSTMDB_TARGET is ${kind}, expected mem:, file: or rstmdb://`);
}
