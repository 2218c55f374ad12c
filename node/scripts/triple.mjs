// What the packages of the native addon call this platform.

/** Such as `linux-x64-gnu`. */
export function triple() {
  const { platform, arch } = process;
  if (platform === 'linux') {
    const { glibcVersionRuntime } = process.report.getReport().header;
    return `linux-${arch}-${glibcVersionRuntime ? 'gnu' : 'musl'}`;
  }
  return platform === 'win32' ? `win32-${arch}-msvc` : `${platform}-${arch}`;
}

if (process.argv[1]?.endsWith('triple.mjs')) {
  console.log(triple());
}
