import { readdirSync, readlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Failure } from '../../base/failure.js';
import { duplicate } from '../../libc/files.js';

/**
 * The npm package fuse-native: libfuse 2 behind a prebuilt addon. Typed by what we use of it (its README, index.js).
 * A callback takes 0 or -errno, and read and write their count, as libfuse does.
 */
export interface Binding {
  new (
    mountPoint: string,
    operations: NativeOperationTable,
    options: BindingOptions,
  ): {
    mount(done: (error: Error | null) => void): void;
  };
}

type Done<Rest extends readonly unknown[] = []> = (result: number, ...rest: Partial<Rest>) => void;

/** Numbers of 32 bits, but for size, blocks and times (ms since 1970; unsigned). */
export interface NativeStat {
  mode: number;
  uid: number;
  gid: number;
  size: number;
  nlink: number;
  rdev: number;
  blksize: number;
  blocks: number;
  atime: number;
  mtime: number;
  ctime: number;
}
/** Numbers of 32 bits. */
export interface NativeUsage {
  bsize: number;
  frsize: number;
  blocks: number;
  bfree: number;
  bavail: number;
  files: number;
  ffree: number;
  favail: number;
  namemax: number;
}

/**
 * The operations that this transport has: with {@link Binding} the whole of the named subset of the core's contract.
 * Not there: extended attributes and ACLs, rename flags, fallocate, lseek, O_TMPFILE, setting times (README.md).
 */
export interface NativeOperationTable {
  getattr(path: string, done: Done<[NativeStat]>): void;
  statfs(path: string, done: Done<[NativeUsage]>): void;
  readlink(path: string, done: Done<[string]>): void;
  readdir(path: string, done: Done<[string[]]>): void;
  mknod(path: string, mode: number, device: number, done: Done): void;
  mkdir(path: string, mode: number, done: Done): void;
  symlink(target: string, path: string, done: Done): void;
  link(path: string, to: string, done: Done): void;
  unlink(path: string, done: Done): void;
  rmdir(path: string, done: Done): void;
  rename(path: string, to: string, done: Done): void;
  chmod(path: string, mode: number, done: Done): void;
  chown(path: string, uid: number, gid: number, done: Done): void;
  utimens(path: string, atime: number, mtime: number, done: Done): void;
  truncate(path: string, size: number, done: Done): void;
  ftruncate(path: string, fd: number, size: number, done: Done): void;
  create(path: string, mode: number, done: Done<[number]>): void;
  open(path: string, flags: number, done: Done<[number]>): void;
  read(path: string, fd: number, to: Buffer, length: number, offset: number, done: Done): void;
  write(path: string, fd: number, from: Buffer, length: number, offset: number, done: Done): void;
  fsync(path: string, dataOnly: number, fd: number, done: Done): void;
  fsyncdir(path: string, dataOnly: number, fd: number, done: Done): void;
  release(path: string, fd: number, done: Done): void;
}

interface BindingOptions {
  subtype: string;
  fsname: string;
  defaultPermissions: boolean;
  entryTimeout: string;
  attrTimeout: string;
  acAttrTimeout: string;
  timeout: false;
}

const require = createRequire(import.meta.url);
/** Its C code keeps a path in 1,024 bytes. */
const LONGEST_MOUNT_POINT = 1000;

/** Loads the addon: only where this transport is asked for. */
export function loadBinding(load: () => unknown = () => require('fuse-native')): Binding {
  try {
    return load() as Binding;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const first = message.split('\n')[0];
    if (/libfuse\.so/.test(message)) {
      throw new Failure('unsupported_system', `the transport fuse-native needs libfuse 2: ${first}`, {
        reason: 'libfuse_missing',
      });
    }
    if (code === 'MODULE_NOT_FOUND') {
      const what = 'the optional package fuse-native is not installed';
      throw new Failure('unsupported_system', what, { reason: 'binding_missing' });
    }
    throw new Failure('unsupported_system', `fuse-native cannot be loaded: ${first}`, {
      reason: 'binding_unloadable',
    });
  }
}

function devices(): Set<number> {
  const open = new Set<number>();
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${name}`) === '/dev/fuse') open.add(Number(name));
    } catch {
      // The directory's own descriptor, closed by now.
    }
  }
  return open;
}

/** Mounts for the mounting user alone; `source` is shown in /proc/mounts. Resolves with the descriptor of the device, by which caches can be told. */
export function mountNative(
  Fuse: Binding,
  source: string,
  mountPoint: string,
  operations: NativeOperationTable,
): Promise<number> {
  if (Buffer.byteLength(mountPoint) > LONGEST_MOUNT_POINT) {
    throw new Failure('bad_mount_point', `fuse-native takes mount points of ${LONGEST_MOUNT_POINT} bytes`);
  }
  const before = devices();
  const fuse = new Fuse(mountPoint, operations, {
    // Options that the binding has no names for follow the first comma. direct_io: no page is cached but those of
    // private mappings, and nothing is dirty in the kernel. big_writes: 128 KiB instead of 4.
    subtype: 'scopefs,direct_io,big_writes,nonempty',
    // A comma or a backslash would begin another option; then `unmount` must be told the socket.
    fsname: /^[^,\\]{1,800}$/.test(source) ? source : 'scopefs',
    defaultPermissions: true,
    // Strings: it drops a number 0, and then the kernel would keep names and attributes for a second.
    entryTimeout: '0',
    attrTimeout: '0',
    acAttrTimeout: '0',
    // libfuse's timeout would answer for us after 15 s, while we still use its buffers.
    timeout: false,
  });
  return new Promise((resolve, reject) => {
    fuse.mount((error) => {
      const theirs = [...devices()].find((fd) => !before.has(fd));
      // libfuse closes its own when the mount goes, and the number may soon be another file's.
      const device = theirs === undefined ? -1 : duplicate(theirs);
      if (error === null && device >= 0) resolve(device);
      else
        reject(
          new Failure(
            'bad_mount_point',
            `fuse-native could not mount on ${mountPoint}: ${error?.message ?? 'no device'}`,
          ),
        );
    });
  });
}
