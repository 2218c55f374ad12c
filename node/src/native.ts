/**
 * Finds the native addon for this platform.
 *
 * @module
 */

import type * as Native from './addon.js';

/** The version of the package, and of the addon. */
export const version: string = require('../package.json').version;

/** The platforms an addon may be for, the likelier one first. */
function triples(): string[] {
  const { platform, arch } = process;
  switch (platform) {
    case 'linux':
      return [`linux-${arch}-gnu`, `linux-${arch}-musl`];
    case 'win32':
      return [`win32-${arch}-msvc`];
    default:
      return [`${platform}-${arch}`];
  }
}

function load(): typeof Native {
  const problems: string[] = [];
  for (const triple of triples()) {
    // In the folder of this package when it was built there, else a package of its own.
    for (const place of [`../rstmdb.${triple}.node`, `rstmdb-${triple}`]) {
      try {
        return require(place);
      } catch (error) {
        const missing = (error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND';
        if (!missing) problems.push(`${place}: ${(error as Error).message}`);
      }
    }
  }
  const wanted = triples().map((triple) => `rstmdb-${triple}`);
  const found = problems.length > 0 ? `; ${problems.join('; ')}` : '';
  throw new Error(
    `rstmdb has no native addon for ${process.platform} ${process.arch}: install ${wanted.join(' or ')} ` +
      `in version ${version}, and see that npm does not leave out optional dependencies${found}`,
  );
}

/** The addon. */
export const native: typeof Native = load();

if (native.version() !== version) {
  throw new Error(
    `rstmdb ${version} found the native addon of version ${native.version()}; install them anew together`,
  );
}
