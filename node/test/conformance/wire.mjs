// Requests and results between the names of TypeScript and those of the wire, and canonical JSON.

import { RstmdbError } from 'rstmdb';

/** Members whose values are the user's. */
const OPAQUE = new Set(['ctx', 'payload', 'initial_ctx', 'definition']);

export const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The method of an operation: `APPLY_EVENT` is `applyEvent`. */
export const method = (wireName) => camel(wireName.toLowerCase());

/** A request of the wire as a method takes it. */
export function request(args) {
  const named = Object.entries(args).map(([name, value]) => {
    if (name !== 'ops' || !Array.isArray(value)) return [camel(name), value];
    return ['ops', value.map(batchOperation)];
  });
  return Object.fromEntries(named);
}

function batchOperation(item) {
  if (!isObject(item) || typeof item.op !== 'string' || !isObject(item.params)) return item;
  return { op: method(item.op), params: request(item.params) };
}

/** Lists that are left out on the wire when there is nothing in them. */
const LEFT_OUT = new Set(['replicas', 'warnings']);

/** A result as it was on the wire. */
export function wire(value) {
  if (value instanceof Date) return value.getTime();
  if (value instanceof RstmdbError) return value.toJSON();
  if (Array.isArray(value)) return value.map(wire);
  if (!isObject(value)) return value;
  const members = {};
  for (const [name, member] of Object.entries(value)) {
    const key = snake(name);
    if (LEFT_OUT.has(key) && member.length === 0) continue;
    members[key] = OPAQUE.has(key) ? member : wire(member);
  }
  if ('status' in members && ('result' in members || 'error' in members)) {
    return { result: null, error: null, ...members };
  }
  return members;
}

/** JSON without blanks, members sorted, integers exact. */
export function canonical(value) {
  if (typeof value === 'bigint') return value.toString();
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const names = Object.keys(value).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const members = names.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`);
  return `{${members.join(',')}}`;
}

/** What a program writes of a result: what differs from run to run is left out. */
export function reduced(value) {
  if (Array.isArray(value)) return value.map(reduced);
  if (!isObject(value)) return value;
  if ('code' in value && 'kind' in value) return reducedError(value);
  const members = {};
  for (const [name, member] of Object.entries(value)) {
    if (name === 'message') continue;
    if (name === 'next_cursor' || name === 'history_id') members[name] = true;
    else members[name] = OPAQUE.has(name) ? member : reduced(member);
  }
  return members;
}

export function reducedError({ code, kind, reason = null, retryable }) {
  return { code, kind, reason, retryable };
}
