/**
 * How a call becomes a request: members by their names here and on the wire.
 *
 * @module
 */

import { isPromise, refuse } from './errors.js';

/** What every method takes beside its request. */
export interface CallOptions {
  /**
   * Ends the waiting: the call rejects with the signal's reason. A write that was begun goes on; its
   * outcome can be read by repeating it with its idempotency key.
   */
  readonly signal?: AbortSignal | undefined;
}

/** What remains of a request when its first members are arguments. */
export type Rest<Request, Named extends keyof Request> = Omit<Request, Named> & CallOptions;

/** The members of a request: their wire names, and for lists of `{ op, params }` what they may hold. */
export interface Members {
  readonly [name: string]: string | readonly [name: string, table: Tagged] | null;
}

/** Operations by their names here: their wire names, and the members of their parameters. */
export interface Tagged {
  readonly [op: string]: readonly [name: string, members: Members] | null;
}

/** One operation. */
export interface Spec<Result> {
  readonly name: string;
  readonly number: number;
  readonly required: readonly string[];
  readonly members: Members;
  // biome-ignore lint/suspicious/noExplicitAny: parsed JSON of a known shape.
  readonly decode: (wire: any) => Result;
}

/** A request and what came with it. */
export interface Call {
  readonly request: object;
  readonly signal: AbortSignal | undefined;
}

/** Sorts arguments: a request and options, or the required members by position. */
export function arrange(spec: Spec<unknown>, args: readonly unknown[]): Call {
  const { required } = spec;
  const first = args[0];
  if (required.length === 0) {
    // Without members, such as `ping({ signal })`.
    const bare = Object.keys(spec.members).length === 0;
    return {
      request: bare ? {} : given(spec, first),
      signal: expectSignal(given(spec, bare ? first : args[1]), spec.name),
    };
  }
  // A promise is no request, whatever it is taken for.
  if (typeof first === 'object' && first !== null && !Array.isArray(first) && !isPromise(first)) {
    return { request: first, signal: expectSignal(given(spec, args[1]), spec.name) };
  }
  const options = given(spec, args[required.length]) as Record<string, unknown>;
  const request: Record<string, unknown> = {};
  for (let index = 0; index < required.length; index += 1) {
    request[required[index] as string] = args[index];
  }
  for (const name of Object.keys(options)) {
    if (name === 'signal') continue;
    if (name in request) throw refuse(`${spec.name}: ${name} is given twice`);
    request[name] = options[name];
  }
  return { request, signal: expectSignal(options, spec.name) };
}

function given(spec: Spec<unknown>, value: unknown): object {
  return expectOptions(value, spec.name);
}

/** The options, or none. */
export function expectOptions(value: unknown, what: string): object {
  if (value === undefined) return {};
  if (isPromise(value)) throw refuse(`${what}: the options are a promise; await it first`);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  const found = Array.isArray(value) ? 'a list' : value === null ? 'null' : `a ${typeof value}`;
  throw refuse(`${what}: expected an object of options, not ${found}`);
}

/** The signal among the options, or none. */
export function expectSignal(options: object, what: string): AbortSignal | undefined {
  const { signal } = options as CallOptions;
  if (signal === undefined || signal === null) return undefined;
  if (typeof signal.addEventListener === 'function') return signal;
  throw refuse(`${what}: signal is not an AbortSignal`);
}

/** The request with the names of the wire. */
export function rename(members: Members, request: object, what: string): object {
  const wire: Record<string, unknown> = {};
  for (const name of Object.keys(request)) {
    const member = members[name];
    const value = (request as Record<string, unknown>)[name];
    if (typeof member === 'string') {
      wire[member] = value;
    } else if (member) {
      wire[member[0]] = renameTagged(member[1], value);
    } else if (value !== undefined) {
      const known = Object.keys(members).join(', ');
      throw refuse(`${what} has no member ${JSON.stringify(name)}; there are: ${known || 'none'}`, {
        member: name,
      });
    }
  }
  return wire;
}

/** A list of `{ op, params }` with the names of the wire; what is unknown is left for the database to refuse. */
function renameTagged(table: Tagged, value: unknown): unknown {
  if (!Array.isArray(value)) return value;
  return value.map((item: { op?: unknown; params?: unknown } | null) => {
    const op = typeof item === 'object' && item !== null ? item.op : undefined;
    const known = typeof op === 'string' ? table[op] : undefined;
    const params = item?.params;
    if (!known || typeof params !== 'object' || params === null) return item;
    return { ...item, op: known[0], params: rename(known[1], params, known[0]) };
  });
}
