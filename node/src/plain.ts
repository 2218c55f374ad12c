/**
 * Requests of plain values, written in one pass: most are. What is not so plain is left to `json.ts`, which knows all
 * values and says what is wrong with one.
 *
 * @module
 */

import type { Members, Tagged } from './spec.js';

/** Whether the request that is written now was plain so far. */
let isPlain = true;

/** The JSON text of a request, members by their names on the wire; `undefined` when it is not plain. */
export function plainText(members: Members, request: object): string | undefined {
  // A getter of the request may begin another one.
  const outer = isPlain;
  try {
    isPlain = true;
    const text = requestText(members, request);
    return isPlain ? text : undefined;
  } finally {
    isPlain = outer;
  }
}

function notPlain(): string {
  isPlain = false;
  return '';
}

function requestText(members: Members, request: object): string {
  if (!isPlainObject(request)) return notPlain();
  let text = '{';
  for (const name of Object.keys(request)) {
    const value = (request as Record<string, unknown>)[name];
    if (value === undefined) continue;
    const member = members[name];
    if (text.length > 1) text += ',';
    if (typeof member === 'string') text += `"${member}":${valueText(value, 1)}`;
    else if (member) text += `"${member[0]}":${taggedText(member[1], value)}`;
    else return notPlain();
  }
  return `${text}}`;
}

/** A list of `{ op, params }`, with operations by their names on the wire. */
function taggedText(table: Tagged, value: unknown): string {
  if (!Array.isArray(value)) return notPlain();
  let text = '';
  for (const item of value) {
    if (!isPlainObject(item) || Object.keys(item).length !== 2) return notPlain();
    const { op, params } = item as { op?: unknown; params?: unknown };
    const known = typeof op === 'string' ? table[op] : undefined;
    if (!known || typeof params !== 'object' || params === null) return notPlain();
    const begin = text === '' ? '[' : ',';
    text += `${begin}{"op":"${known[0]}","params":${requestText(known[1], params)}}`;
  }
  return text === '' ? '[]' : `${text}]`;
}

/** Deeper values may be too deep, or have no end. */
const DEPTH_MAX = 64;

function valueText(value: unknown, depth: number): string {
  switch (typeof value) {
    case 'string':
      return stringText(value);
    case 'number':
      // Larger ones may be rounded, or are no numbers at all.
      return Math.abs(value) <= Number.MAX_SAFE_INTEGER ? `${value}` : notPlain();
    case 'boolean':
      return value ? 'true' : 'false';
    case 'object':
      if (value === null) return 'null';
      if (depth >= DEPTH_MAX) return notPlain();
      return Array.isArray(value) ? listText(value, depth) : objectText(value, depth);
    default:
      return notPlain();
  }
}

function objectText(value: object, depth: number): string {
  if (!isPlainObject(value)) return notPlain();
  let text = '';
  for (const name of Object.keys(value)) {
    const member = (value as Record<string, unknown>)[name];
    if (member === undefined) continue;
    text += `${text === '' ? '{' : ','}${stringText(name)}:${valueText(member, depth + 1)}`;
  }
  return text === '' ? '{}' : `${text}}`;
}

function listText(value: readonly unknown[], depth: number): string {
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return notPlain();
  let text = '';
  for (let index = 0; index < value.length; index += 1) {
    text += `${index === 0 ? '[' : ','}${valueText(value[index], depth + 1)}`;
  }
  return text === '' ? '[]' : `${text}]`;
}

/** What a string is not written with as it is. */
const SPECIAL = /["\\\p{Cc}\p{Surrogate}]/u;
/** Longer ones are looked through faster while they are written. */
const SHORT = 64;

function stringText(value: string): string {
  if (value.length <= SHORT && !SPECIAL.test(value)) return `"${value}"`;
  const text = JSON.stringify(value);
  // Half a surrogate pair is written as an escape, and nothing else that begins so.
  return text.includes('\\ud') ? notPlain() : text;
}

function isPlainObject(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  return typeof (value as { toJSON?: unknown }).toJSON !== 'function';
}
