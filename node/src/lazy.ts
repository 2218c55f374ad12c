/**
 * Results that are parsed when somebody looks at them.
 *
 * @module
 */

import { inspect } from 'node:util';

/**
 * An object with the one member `name`, which `make` gives when it is read first. In all else it is a
 * plain object: it is copied, compared, written and printed as one.
 */
export function lazily<T extends object>(name: keyof T & string, make: () => T): T {
  const result = {} as T;
  const own = (value: unknown): PropertyDescriptor => ({ value, configurable: true });
  Object.defineProperty(result, name, {
    get() {
      const value = make()[name];
      Object.defineProperty(result, name, { ...own(value), enumerable: true, writable: true });
      return value;
    },
    enumerable: true,
    configurable: true,
  });
  return Object.defineProperty(
    result,
    inspect.custom,
    own(() => ({ ...result })),
  );
}
