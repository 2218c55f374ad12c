// Arguments with saved values in their places, and expectations against what came.

import { canonical } from './wire.mjs';

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isInteger = (value) => typeof value === 'bigint' || Number.isInteger(value);
const equal = (left, right) => canonical(left) === canonical(right);

function saved(values, name) {
  if (!values.has(name)) throw new Error(`nothing was saved as ${name}`);
  return values.get(name);
}

/** Arguments with saved and repeated values in their places. */
export function make(args, values) {
  if (Array.isArray(args)) return args.map((item) => make(item, values));
  if (!isObject(args)) return args;
  if ('$ref' in args) return saved(values, args.$ref);
  if ('$repeat' in args) return args.$repeat[0].repeat(Number(args.$repeat[1]));
  return Object.fromEntries(Object.entries(args).map(([k, v]) => [k, make(v, values)]));
}

/** Throws unless `got` matches; `path` says where in the message. */
export function match(expected, got, values, path) {
  const wrong = (wanted) => {
    throw new Error(`${path} is ${show(got)}, expected ${wanted ?? show(expected)}`);
  };
  if (isObject(expected)) {
    const [word] = Object.keys(expected);
    if (word?.startsWith('$')) {
      if (!holds(word, expected[word], got, values, path)) wrong();
      return;
    }
    if (!isObject(got)) wrong();
    for (const [name, member] of Object.entries(expected)) {
      const there = Object.hasOwn(got, name) ? got[name] : undefined;
      match(member, there, values, `${path}.${name}`);
    }
  } else if (Array.isArray(expected)) {
    if (!Array.isArray(got) || got.length !== expected.length) wrong();
    expected.forEach((item, index) => {
      match(item, got[index], values, `${path}.${index}`);
    });
  } else if (got === undefined || !equal(expected, got)) {
    wrong();
  }
}

function holds(word, wanted, got, values, path) {
  if (word === '$absent') return got === undefined;
  if (got === undefined) return false;
  switch (word) {
    case '$any':
      return true;
    case '$int':
      return isInteger(got);
    case '$string':
      return typeof got === 'string';
    case '$ref':
      return equal(saved(values, wanted), got);
    case '$exact':
      return equal(wanted, got);
    case '$len':
      return length(got) === wanted;
    case '$gt':
      return isInteger(got) && got > (isObject(wanted) ? saved(values, wanted.$ref) : wanted);
    case '$contains':
      return Array.isArray(got) && wanted.every((item) => got.some((g) => fits(item, g)));
    default:
      throw new Error(`unknown matcher ${word}`);
  }
  function fits(item, candidate) {
    try {
      match(item, candidate, values, path);
      return true;
    } catch {
      return false;
    }
  }
}

function length(value) {
  if (typeof value === 'string') return [...value].length;
  return Array.isArray(value) ? value.length : isObject(value) && Object.keys(value).length;
}

export function show(value) {
  return value === undefined ? 'absent' : canonical(value);
}
