/**
 * JSON without silent changes: integers keep every digit, and what JSON can't say is an error.
 *
 * @module
 */

import {
  isLosslessNumber,
  isNumber,
  parse as parseLossless,
  stringify as stringifyLossless,
} from 'lossless-json';
import { isPromise, refuse } from './errors.js';
import { native } from './native.js';

/**
 * A JSON value as it is read. Integers up to 2^53 are numbers; larger ones, which a number would
 * round, are bigints.
 */
export type Json = null | boolean | number | bigint | string | readonly Json[] | JsonObject;

/** A JSON object as it is read. */
export interface JsonObject {
  readonly [name: string]: Json;
}

/**
 * What can be written as JSON: plain values, arrays and objects, and whatever has a `toJSON`, such
 * as a `Date`. A bigint is written with all its digits. A member that is `undefined` is left out.
 *
 * Refused with an error that names the place: `NaN` and infinities, functions, symbols, `undefined`
 * in a list, maps and sets, cycles, and strings with half a surrogate pair.
 */
export type JsonInput = null | boolean | number | bigint | string | object;

const FINE = 0;
/** `JSON.stringify` would round it, or does not know it. */
const EXACT = 1;
/** It decides itself how it is written. */
const OWN = 2;
/** JSON can't say it, or it never ends. */
const REFUSED = 4;
/** The database may refuse it: it is asked, and what it says is said of the place here. */
const DOUBTFUL = 8;

/** Up to here every integer has a number of its own. */
const SAFE = 2 ** 53;
/** Nothing less deep is too deep. */
const DEPTH_DOUBTFUL = 100;
/** Deeper values are looked at for cycles, which never end. */
const DEPTH_MAX = 1000;

/**
 * Writes `value` in the form that `shape` gives it. `what` names it in errors, and places in them are
 * those of `value`.
 */
export function stringify(
  value: unknown,
  what: string,
  shape: (value: unknown) => unknown,
  indent?: number | string,
): string {
  const flags = inspect(value, 0);
  if ((flags & REFUSED) !== 0) explain(value, what);
  const [text, all] =
    (flags & OWN) === 0
      ? [write(shape(value), flags, indent), flags]
      : writeSettled(value, what, shape, indent);
  // Half a surrogate pair is written as an escape, and nothing else that begins so.
  const isDoubtful = (all & DOUBTFUL) !== 0 || text.includes('\\ud');
  if (isDoubtful && problemOf(text) !== undefined) explain(value, what);
  return text;
}

/** What the database says is wrong with a text, without the place. */
function problemOf(text: string): string | undefined {
  const answer = native.readJson(text);
  if (!answer.startsWith('!')) return undefined;
  const { message, context } = JSON.parse(answer.slice(1));
  const begin = `parse: ${context?.path ? `${context.path}: ` : ''}`;
  return message.slice(begin.length).replace(/ at line \d+ column \d+$/, '');
}

function write(value: unknown, flags: number, indent?: number | string): string {
  if ((flags & EXACT) === 0) return JSON.stringify(value, null, indent);
  return stringifyLossless(value, null, indent, EXACTLY) as string;
}

function writeSettled(
  value: unknown,
  what: string,
  shape: (value: unknown) => unknown,
  indent?: number | string,
): [text: string, flags: number] {
  const plain = settled(value, 0);
  const flags = inspect(plain, 0);
  if ((flags & REFUSED) !== 0) explain(value, what);
  return [write(shape(plain), flags, indent), flags];
}

/**
 * Numbers that JavaScript writes as rounded digits: an integer with all of them, or else a float. What is written here is looked at
 * again there.
 */
const EXACTLY = [
  {
    test: (value: unknown): boolean => isLosslessNumber(value),
    stringify: (value: unknown): string => String(value),
  },
  {
    test: (value: unknown): boolean => typeof value === 'number' && isLarge(value),
    stringify: (value: unknown): string => {
      const isInteger = (value as number) >= -(2 ** 63) && (value as number) < 2 ** 64;
      return isInteger ? BigInt(value as number).toString() : (value as number).toExponential();
    },
  },
];

function isLarge(value: number): boolean {
  return Math.abs(value) > SAFE && Math.abs(value) < 1e21;
}

/** Reads a text that the addon marked with `#` when a number in it would be rounded. */
export function parse(text: string): unknown {
  if (text.charCodeAt(0) !== 35) return JSON.parse(text);
  return parseLossless(text.slice(1), null, parseNumber);
}

/** A number as the database has it: an integer of 64 bits, or a float. */
function parseNumber(digits: string): number | bigint {
  if (!/^-?\d{16,}$/.test(digits)) return Number(digits);
  // The database writes only integers of 64 bits so.
  const exact = BigInt(digits);
  return exact > SAFE || exact < -SAFE ? exact : Number(digits);
}

/** The value that is read back when `value` was stored. */
export function stored(value: unknown, what: string): unknown {
  return parseLossless(
    stringify(value, what, (value) => value),
    null,
    parseNumber,
  );
}

/** What there is in a value, without naming places: this runs for every request. */
function inspect(value: unknown, depth: number): number {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return FINE;
    case 'number':
      if (value <= SAFE && value >= -SAFE) return FINE;
      if (!Number.isFinite(value)) return REFUSED;
      return isLarge(value) ? EXACT : FINE;
    case 'bigint':
      return value > SAFE || value < -SAFE ? EXACT | DOUBTFUL : EXACT;
    case 'object':
      return value === null ? FINE : inspectObject(value, depth);
    default:
      return REFUSED;
  }
}

function inspectObject(value: object, depth: number): number {
  if (depth >= DEPTH_MAX) return REFUSED;
  let flags = depth >= DEPTH_DOUBTFUL ? DOUBTFUL : FINE;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) flags |= inspect(value[index], depth + 1);
    return flags;
  }
  if (isLosslessNumber(value)) return isNumber(value.toString()) ? EXACT | DOUBTFUL : REFUSED;
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return OWN;
  if (!isRecord(value)) return REFUSED;
  for (const key of Object.keys(value)) {
    const member = (value as Record<string, unknown>)[key];
    if (member !== undefined) flags |= inspect(member, depth + 1);
  }
  return flags;
}

/** A plain object, or an instance of a class that is nothing else. */
function isRecord(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return true;
  return Object.prototype.toString.call(value) === '[object Object]';
}

/** The value with every `toJSON` called. */
function settled(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null || depth > DEPTH_MAX) return value;
  if (isLosslessNumber(value)) return value;
  const own = value as { toJSON?: (key: string) => unknown };
  if (typeof own.toJSON === 'function') {
    if (value instanceof Date && Number.isNaN(value.getTime())) return Number.NaN;
    return settled(own.toJSON(''), depth + 1);
  }
  if (Array.isArray(value)) return value.map((item) => settled(item, depth + 1));
  if (!isRecord(value)) return value;
  const copy: Record<string, unknown> = {};
  for (const [key, member] of Object.entries(value)) {
    if (member !== undefined) define(copy, key, settled(member, depth + 1));
  }
  return copy;
}

/** Sets a member that may be called `__proto__`. */
function define(object: object, key: string, value: unknown): void {
  Object.defineProperty(object, key, {
    value,
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

/** Finds what can't be written, and throws an error with its place. */
function explain(value: unknown, what: string): void {
  const above = new Set<object>();
  const visit = (value: unknown, path: string): void => {
    const wrong = (problem: string): never => {
      throw refuse(`${what}: ${path || 'the request'} ${problem}`, { path });
    };
    const ask = (text: string, shown = ''): void => {
      const problem = problemOf(text);
      if (problem !== undefined) wrong(`can't be stored: ${shown}${problem}`);
    };
    if (typeof value === 'string') {
      ask(JSON.stringify(value));
    } else if (typeof value === 'number' && !Number.isFinite(value)) {
      ask(String(value), `${value}: `);
    } else if (typeof value === 'bigint') {
      ask(String(value));
    } else if (typeof value === 'function' || typeof value === 'symbol') {
      wrong(`is a ${typeof value}, which can't be stored`);
    } else if (value === undefined) {
      wrong('is undefined; use null');
    } else if (isLosslessNumber(value)) {
      const digits = value.toString();
      if (!isNumber(digits)) wrong('is a LosslessNumber of something that is no number');
      ask(digits);
    } else if (isPromise(value)) {
      wrong('is a promise; await it first');
    } else if (typeof value === 'object' && value !== null) {
      if (above.has(value)) wrong('contains itself');
      const depth = above.size + 1;
      if (depth > DEPTH_DOUBTFUL) ask('['.repeat(depth) + ']'.repeat(depth));
      above.add(value);
      children(value, path, visit, wrong);
      above.delete(value);
    }
  };
  visit(value, '');
}

function children(
  value: object,
  path: string,
  visit: (value: unknown, path: string) => void,
  wrong: (problem: string) => never,
): void {
  if (Array.isArray(value)) {
    // By index, so that holes are seen.
    for (let index = 0; index < value.length; index += 1) visit(value[index], `${path}[${index}]`);
  } else if (typeof (value as { toJSON?: unknown }).toJSON === 'function') {
    if (value instanceof Date && Number.isNaN(value.getTime())) wrong('is an invalid date');
    visit((value as { toJSON(key: string): unknown }).toJSON(''), path);
  } else if (isRecord(value)) {
    for (const [key, member] of Object.entries(value)) {
      const place = /^[\w$]+$/.test(key)
        ? `${path && `${path}.`}${key}`
        : `${path}[${JSON.stringify(key)}]`;
      const problem = problemOf(JSON.stringify(key));
      if (problem !== undefined) wrong(`has a member whose name can't be stored: ${problem}`);
      if (member !== undefined) visit(member, place);
    }
  } else {
    const name = Object.prototype.toString.call(value).slice(8, -1);
    wrong(`is a ${name}, which JSON has no form for; convert it first`);
  }
}
