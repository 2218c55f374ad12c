/**
 * What this platform is called.
 *
 * @module
 */

/** The version of glibc that runs; nothing where it is another C library. */
export function glibc(): string | undefined {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } };
  return report?.header?.glibcVersionRuntime;
}

/** As the packages of the addon have it, such as `linux-x64-gnu`. */
export function triple(): string {
  const { platform, arch } = process;
  if (platform === 'win32') return `win32-${arch}-msvc`;
  if (platform === 'linux') return `linux-${arch}-${glibc() ? 'gnu' : 'musl'}`;
  return `${platform}-${arch}`;
}
