/**
 * Certificates that are given by content, as files.
 *
 * @module
 */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TlsOptions } from './options.js';

/** Certificates and key of a client: the paths of files, or what is in them. */
export interface ClientTls {
  readonly ca?: string | Uint8Array | undefined;
  readonly cert?: string | Uint8Array | undefined;
  readonly key?: string | Uint8Array | undefined;
  /** The name that the server's certificate must have. */
  readonly serverName?: string | undefined;
  /** Whether the server's certificate must be one to trust. For tests only. */
  readonly rejectUnauthorized?: boolean | undefined;
}

/** A folder of its own, which only this user can read. */
export class TlsFiles {
  #folder: Promise<string> | undefined;

  /** The options, with a file for all that was given by content. */
  async options(tls: ClientTls): Promise<TlsOptions> {
    return {
      ca: await this.#file('ca.pem', tls.ca),
      clientCert: await this.#file('cert.pem', tls.cert),
      clientKey: await this.#file('key.pem', tls.key),
      serverName: tls.serverName,
      insecure: tls.rejectUnauthorized === false,
    };
  }

  async #file(name: string, given: string | Uint8Array | undefined): Promise<string | undefined> {
    if (given === undefined) return undefined;
    if (typeof given === 'string' && !given.includes('-----BEGIN')) return given;
    this.#folder ??= mkdtemp(join(tmpdir(), 'rstmdb-'));
    const path = join(await this.#folder, name);
    await writeFile(path, given, { mode: 0o600 });
    return path;
  }

  /** Removes the files. */
  async remove(): Promise<void> {
    const folder = await this.#folder;
    this.#folder = undefined;
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  }
}
