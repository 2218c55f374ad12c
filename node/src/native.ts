/**
 * Finds the native addon for this platform: a package of its own, which npm installs with this one.
 *
 * @module
 */

import { createRequire } from 'node:module';
import type * as Native from './addon.js';
import { glibc, triple } from './platform.js';

/** The version of the package, and of the addon. */
export const version: string = require('../package.json').version;

/** The `require` of Node.js in what webpack made. */
declare const __non_webpack_require__: typeof require | undefined;

/**
 * Loads the addon. The names stand where they are loaded and within `try`, so that bundlers follow the one that
 * is installed and pass over the others. The bundlers of Next.js take no addons unless they are told how: for
 * Turbopack, and for webpack under Next.js, it stays where npm installed it.
 */
function load(): typeof Native {
  const { platform, arch } = process;
  const problems: unknown[] = [];
  try {
    // Known when Next.js bundles, so that webpack leaves the other branch alone.
    if (process.env.NEXT_RUNTIME === 'nodejs' && !process.env.TURBOPACK) {
      return besideTheBundle(`rstmdb-${triple()}`);
    } else {
      switch (`${platform}-${arch}`) {
        case 'darwin-arm64':
          return require(/* turbopackIgnore: true */ 'rstmdb-darwin-arm64');
        case 'darwin-x64':
          return require(/* turbopackIgnore: true */ 'rstmdb-darwin-x64');
        case 'linux-arm64':
          try {
            return require(/* turbopackIgnore: true */ 'rstmdb-linux-arm64-gnu');
          } catch (error) {
            problems.push(error);
            return require(/* turbopackIgnore: true */ 'rstmdb-linux-arm64-musl');
          }
        case 'linux-x64':
          try {
            return require(/* turbopackIgnore: true */ 'rstmdb-linux-x64-gnu');
          } catch (error) {
            problems.push(error);
            return require(/* turbopackIgnore: true */ 'rstmdb-linux-x64-musl');
          }
        case 'win32-x64':
          return require(/* turbopackIgnore: true */ 'rstmdb-win32-x64-msvc');
      }
    }
  } catch (error) {
    problems.push(error);
  }
  throw new Error(reason(problems), { cause: problems.at(-1) });
}

/** What Node.js itself finds, whoever bundled this. */
function besideTheBundle(name: string): typeof Native {
  const find =
    typeof __non_webpack_require__ === 'function'
      ? __non_webpack_require__
      : createRequire(__filename);
  return find(name);
}

/** Why there is no addon, and what helps. */
function reason(problems: unknown[]): string {
  const here = `${process.platform} ${process.arch}${libc()}`;
  if (problems.length === 0) {
    return (
      `rstmdb ${version} has no native addon for ${here}; there is one for macOS (arm64, x64), ` +
      'Linux (arm64, x64) and Windows (x64). Is this a Node.js for another processor than the machine has?'
    );
  }
  const name = `rstmdb-${triple()}`;
  const broken = problems.filter(
    (problem) => (problem as NodeJS.ErrnoException).code === 'ERR_DLOPEN_FAILED',
  );
  if (broken.length > 0) {
    const said = broken.map((problem) => (problem as Error).message).join('; ');
    const needs = process.platform === 'linux' ? ' It needs glibc 2.28 or musl 1.2, or newer.' : '';
    return (
      `rstmdb ${version} could not load its native addon for ${here}: ${said}.${needs} ` +
      `If node_modules came from another machine, install anew on this one: npm ci`
    );
  }
  return (
    `rstmdb ${version} did not find its native addon for ${here}, the package ${name}. ` +
    'npm leaves it out with --omit=optional, and where node_modules or package-lock.json came from ' +
    `another platform; then: npm install --include=optional ${name}@${version}. ` +
    'In a bundle, keep rstmdb out of it: serverExternalPackages in next.config, external of esbuild, ' +
    'externals of webpack'
  );
}

/** The C library, in words. */
function libc(): string {
  if (process.platform !== 'linux') return '';
  const version = glibc();
  return version ? ` (glibc ${version})` : ' (musl)';
}

/** The addon. */
export const native: typeof Native = load();

if (native.version() !== version) {
  throw new Error(
    `rstmdb ${version} found the native addon of version ${native.version()}; install them anew together: ` +
      `npm install rstmdb@${version}`,
  );
}
