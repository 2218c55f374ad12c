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
const REFUSED = 4;

/** Up to here every integer has a number of its own. */
const SAFE = 2 ** 53;
const BIGINT_MIN = -(2n ** 63n);
const BIGINT_MAX = 2n ** 64n - 1n;
/** So deep the native side reads a request; a cycle ends here too. */
const DEPTH_MAX = 127;

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
  const text =
    (flags & OWN) === 0
      ? write(shape(value), flags, indent)
      : writeSettled(value, what, shape, indent);
  // Half a surrogate pair is written as an escape, and nothing else that begins so.
  if (text.includes('\\ud')) explain(value, what);
  return text;
}

function write(value: unknown, flags: number, indent?: number | string): string {
  if (flags === FINE) return JSON.stringify(value, null, indent);
  return stringifyLossless(value, null, indent, EXACTLY) as string;
}

function writeSettled(
  value: unknown,
  what: string,
  shape: (value: unknown) => unknown,
  indent?: number | string,
): string {
  const plain = settled(value, 0);
  const flags = inspect(plain, 0);
  if ((flags & REFUSED) !== 0) explain(value, what);
  return write(shape(plain), flags, indent);
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
  const exact = BigInt(digits);
  const large = exact > SAFE || exact < -SAFE;
  return large && exact >= BIGINT_MIN && exact <= BIGINT_MAX ? exact : Number(digits);
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
      return value >= BIGINT_MIN && value <= BIGINT_MAX ? EXACT : REFUSED;
    case 'object':
      return value === null ? FINE : inspectObject(value, depth);
    default:
      return REFUSED;
  }
}

function inspectObject(value: object, depth: number): number {
  if (depth >= DEPTH_MAX) return REFUSED;
  let flags = FINE;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) flags |= inspect(value[index], depth + 1);
    return flags;
  }
  if (isLosslessNumber(value)) return isNumber(value.toString()) ? EXACT : REFUSED;
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
    if (typeof value === 'string' && /\p{Surrogate}/u.test(value)) {
      wrong("has a lone surrogate, which UTF-8 can't hold");
    } else if (typeof value === 'number' && !Number.isFinite(value)) {
      wrong(`is ${value}, and JSON has no such number`);
    } else if (typeof value === 'bigint' && (value < BIGINT_MIN || value > BIGINT_MAX)) {
      wrong(
        'does not fit 64 bits; write it as a string, which is exact, or as a float such as 1e20',
      );
    } else if (typeof value === 'function' || typeof value === 'symbol') {
      wrong(`is a ${typeof value}, which can't be stored`);
    } else if (value === undefined) {
      wrong('is undefined; use null');
    } else if (isLosslessNumber(value)) {
      if (!isNumber(value.toString())) wrong('is a LosslessNumber of something that is no number');
    } else if (isPromise(value)) {
      wrong('is a promise; await it first');
    } else if (typeof value === 'object' && value !== null) {
      if (above.has(value)) wrong('contains itself');
      if (above.size >= DEPTH_MAX) {
        wrong(`is nested too deep: a request may have ${DEPTH_MAX} levels at most`);
      }
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
      if (/\p{Surrogate}/u.test(key)) wrong('has a member whose name has a lone surrogate');
      if (member !== undefined) visit(member, place);
    }
  } else {
    const name = Object.prototype.toString.call(value).slice(8, -1);
    wrong(`is a ${name}, which JSON has no form for; convert it first`);
  }
}
