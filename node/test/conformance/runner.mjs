// The conformance runner of TypeScript, as tests/conformance/SPEC.md has it.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parse } from 'lossless-json';
import { Database, RstmdbError } from 'rstmdb';
import { make, match, show } from './match.mjs';
import { runTable } from './table.mjs';
import { target } from './target.mjs';
import { canonical, method, reduced, reducedError, request, wire } from './wire.mjs';

const EVENT_TIMEOUT_MS = 10_000;
const counts = { passed: 0, failed: 0, skipped: 0 };

/** Integers of 64 bits keep their digits. */
function exact(text) {
  return parse(text, null, (digits) => {
    const value = Number(digits);
    return /^-?\d+$/.test(digits) && !Number.isSafeInteger(value) ? BigInt(digits) : value;
  });
}

function report(scenario, outcome, message = '') {
  counts[outcome] += 1;
  console.log(JSON.stringify({ scenario, outcome, message }));
}

async function nextEvent(watch, path) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${path} did not come`)), EVENT_TIMEOUT_MS);
  });
  try {
    const { value, done } = await Promise.race([watch.next(), late]);
    if (done) throw new Error(`${path} did not come: the watch ended`);
    return wire(value);
  } finally {
    clearTimeout(timer);
  }
}

/** What an operation answers: `{ result }` in wire form, or `{ error }`; and the watch. */
async function call(db, op, args) {
  try {
    const answer = await db[method(op)](request(args));
    const isWatch = op.startsWith('WATCH_');
    return { result: wire(isWatch ? answer.started : answer), watch: isWatch ? answer : undefined };
  } catch (error) {
    if (!(error instanceof RstmdbError)) throw error;
    return { error: error.toJSON() };
  }
}

class Scenario {
  watches = new Map();

  constructor(on, values) {
    this.on = on;
    this.values = new Map(Object.entries(values));
  }

  async step(step) {
    if (step.op === 'REOPEN') {
      this.watches.clear();
      return this.on.reopen();
    }
    if (step.op === 'ADVANCE_CLOCK') return this.on.advance(step.ms);
    if (step.op === 'EXPECT_EVENTS') return this.expectEvents(step);
    const args = make(step.args ?? {}, this.values);
    const { result, error, watch } = await call(this.on.db, step.op, args);
    if (step.error !== undefined) {
      if (error === undefined) throw new Error(`${step.op} succeeded: ${show(result)}`);
      return match(step.error, error, this.values, 'error');
    }
    if (error !== undefined) throw new Error(`${step.op} failed: ${show(error)}`);
    if (step.expect !== undefined) match(step.expect, result, this.values, 'result');
    if (step.watch !== undefined) this.watches.set(step.watch, watch);
    for (const [name, path] of Object.entries(step.save ?? {})) {
      const parts = path === '' ? [] : path.split('.');
      const value = parts.reduce((value, part) => value?.[part], result);
      if (value === undefined) throw new Error(`nothing at ${path} to save in ${show(result)}`);
      this.values.set(name, value);
    }
  }

  async expectEvents(step) {
    const watch = this.watches.get(step.watch);
    for (const [index, expected] of step.events.entries()) {
      const path = `event ${index} of ${step.watch}`;
      match(expected, await nextEvent(watch, path), this.values, path);
    }
  }
}

async function runScenario(name, scenario, values) {
  const on = target(scenario.options ?? {}, true);
  const lacking = (scenario.requires ?? []).find((feature) => !on.features.has(feature));
  if (lacking !== undefined) {
    await on.end();
    report(name, 'skipped', `the target lacks the feature ${lacking}`);
    return;
  }
  let index = 0;
  try {
    await on.open();
    const run = new Scenario(on, values);
    for (; index < scenario.steps.length; index += 1) await run.step(scenario.steps[index]);
    report(name, 'passed');
  } catch (error) {
    report(name, 'failed', `step ${index}: ${error.message}`);
  } finally {
    await on.end();
  }
}

async function scenarios(folder) {
  const wanted = process.env.RSTMDB_SCENARIO ?? '';
  for (const file of readdirSync(folder).sort()) {
    if (!file.endsWith('.json')) continue;
    const { values = {}, scenarios } = exact(readFileSync(join(folder, file), 'utf8'));
    for (const scenario of scenarios) {
      const name = `${file.slice(0, -5)}/${scenario.name}`;
      if (name.includes(wanted)) await runScenario(name, scenario, values);
    }
  }
}

async function table(path) {
  const name = 'values/table';
  if (!name.includes(process.env.RSTMDB_SCENARIO ?? '')) return;
  try {
    await runTable(path);
    report(name, 'passed');
  } catch (error) {
    report(name, 'failed', error.message);
  }
}

/** The answer of a step of a program, as it is compared. */
async function answer(on, watches, step) {
  switch (step.op) {
    case 'REOPEN':
      if (on.features.has('reopen')) await on.reopen();
      return null;
    case 'ADVANCE_CLOCK':
      await on.advance(step.ms);
      return null;
    case 'EVENTS': {
      const events = [];
      for (let index = 0; index < step.count; index += 1) {
        events.push(reduced(await nextEvent(watches.get(step.watch), `event ${index}`)));
      }
      return events;
    }
    default:
      return step.pages ? pages(on.db, step) : one(on.db, watches, step);
  }
}

function written(step, { result, error }) {
  if (error !== undefined) {
    const { index } = error.context;
    return { error: { ...reducedError(error), ...(index !== undefined && { index }) } };
  }
  if (!step.keep) return reduced(result);
  return reduced(Object.fromEntries(Object.entries(result).filter(([k]) => step.keep.includes(k))));
}

async function one(db, watches, step) {
  const outcome = await call(db, step.op, step.args ?? {});
  if (outcome.watch) watches.set(step.watch, outcome.watch);
  return written(step, outcome);
}

async function pages(db, step) {
  const all = [];
  let args = step.args ?? {};
  for (;;) {
    const outcome = await call(db, step.op, args);
    all.push(written(step, outcome));
    const cursor = outcome.result?.next_cursor;
    if (cursor === undefined) return all;
    args = { ...args, cursor };
  }
}

async function programs(folder, out) {
  for (const file of readdirSync(folder).sort()) {
    if (!/^seed-\d+\.json$/.test(file)) continue;
    const program = exact(readFileSync(join(folder, file), 'utf8'));
    const on = target(program.options, false);
    const watches = new Map();
    const lines = [];
    try {
      await on.open();
      for (const step of program.steps)
        lines.push(`${canonical(await answer(on, watches, step))}\n`);
      writeFileSync(join(out, file.replace(/json$/, 'jsonl')), lines.join(''));
      report(`programs/${file.slice(0, -5)}`, 'passed');
    } catch (error) {
      report(`programs/${file.slice(0, -5)}`, 'failed', `step ${lines.length}: ${error.stack}`);
    } finally {
      await on.end();
    }
  }
}

/** Answers steps as they come, until there are no more. */
async function calls(url) {
  const on = { db: await Database.open(url), features: new Set() };
  const watches = new Map();
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(canonical(await answer(on, watches, exact(line))));
  }
  await on.db.close();
}

const { RSTMDB_PROGRAMS, RSTMDB_OUT, RSTMDB_SCENARIOS, RSTMDB_URL } = process.env;
if (RSTMDB_URL) await calls(RSTMDB_URL);
else {
  if (RSTMDB_PROGRAMS) await programs(RSTMDB_PROGRAMS, RSTMDB_OUT);
  else {
    const folder = RSTMDB_SCENARIOS ?? '../tests/conformance/scenarios';
    await scenarios(folder);
    await table(join(folder, '../values.json'));
  }
  console.log(JSON.stringify(counts));
  process.exitCode = counts.failed === 0 && counts.passed > 0 ? 0 : 1;
}
