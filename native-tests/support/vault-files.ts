import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { XATTR, XATTR_ROOT } from '../../src/format/names/binding.js';
import { close, fgetxattr, open, openPath } from '../../src/libc/files.js';

/** Everything that a directory holds, as a thief of the disk sees it. */
export interface VaultObject {
  /** Raw bytes, as latin1, relative to the directory. */
  readonly path: string;
  readonly kind: 'file' | 'directory' | 'symlink' | 'other';
  /** Content of a file, target of a symlink. */
  readonly bytes: Buffer;
  readonly xattrs: readonly Buffer[];
}

function xattrsOf(path: string): Buffer[] {
  const fd = openPath(path, open.O_RDONLY);
  if (fd < 0) return [];
  const found: Buffer[] = [];
  for (const attribute of [XATTR, XATTR_ROOT]) {
    const value = Buffer.alloc(1024);
    const length = fgetxattr(fd, attribute, value);
    if (length >= 0) found.push(value.subarray(0, length));
  }
  close(fd);
  return found;
}

export function vaultObjects(directory: string): VaultObject[] {
  const found: VaultObject[] = [];
  const visit = (relative: string): void => {
    for (const name of readdirSync(join(directory, relative)).sort()) {
      const path = join(relative, name);
      const full = join(directory, path);
      const facts = lstatSync(full);
      if (facts.isSymbolicLink()) {
        found.push({ path, kind: 'symlink', bytes: Buffer.from(readlinkSync(full)), xattrs: [] });
      } else if (facts.isDirectory()) {
        found.push({ path, kind: 'directory', bytes: Buffer.alloc(0), xattrs: xattrsOf(full) });
        visit(path);
      } else if (facts.isFile()) {
        found.push({ path, kind: 'file', bytes: readFileSync(full), xattrs: xattrsOf(full) });
      } else {
        found.push({ path, kind: 'other', bytes: Buffer.alloc(0), xattrs: [] });
      }
    }
  };
  visit('');
  return found;
}

/** One line an object: path, and a hash of its bytes and xattrs. */
export function vaultHashes(directory: string): string[] {
  return vaultObjects(directory).map(({ path, kind, bytes, xattrs }) => {
    const hash = createHash('sha256').update(bytes);
    for (const xattr of xattrs) hash.update(xattr);
    return `${path} ${kind} ${bytes.length} ${hash.digest('hex')}`;
  });
}
