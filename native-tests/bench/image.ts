import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../support/mounted.js';
import { mounted, must, waitFor } from './processes.js';

/** 2 GiB and as many inodes as mkfs.ext4 gives that, unless told. */
export interface ImageSize {
  readonly bytes?: number;
  readonly inodes?: number;
}

/** An ext4 filesystem of its own in a sparse file (2 GiB unless told) on a loop device with direct I/O: no second page cache. */
export class Image {
  readonly mountPoint: string;
  readonly #file: string;
  #device = '';

  readonly #bytes: number;
  readonly #inodes: number | undefined;

  constructor(directory: string, name: string, size: ImageSize = {}) {
    this.#bytes = size.bytes ?? 2 * 2 ** 30;
    this.#inodes = size.inodes;
    this.#file = join(directory, `${name}.ext4`);
    this.mountPoint = join(directory, name);
  }

  /** Makes the filesystem anew and mounts it. */
  create(): void {
    this.destroy();
    const file = openSync(this.#file, 'w', 0o600);
    ftruncateSync(file, this.#bytes);
    closeSync(file);
    // Everything is written now: lazy initialisation would go on in the kernel while a workload is timed.
    const now = 'lazy_itable_init=0,lazy_journal_init=0,nodiscard';
    const inodes = this.#inodes === undefined ? [] : ['-N', String(this.#inodes)];
    must('mkfs.ext4', ['-q', '-F', '-E', now, ...inodes, this.#file]);
    this.#device = must('losetup', ['--find', '--show', '--direct-io=on', this.#file]).trim();
    mkdirSync(this.mountPoint, { recursive: true });
    this.mount();
  }

  mount(): void {
    must('mount', ['-t', 'ext4', this.#device, this.mountPoint]);
  }

  /** Unmounts; a daemon that has just ended may still hold it for a moment. */
  unmount(): void {
    let last = '';
    const done = waitFor(() => {
      const result = run('umount', [this.mountPoint]);
      last = result.stderr;
      return result.status === 0;
    }, 5_000);
    if (!done) throw new Error(last.trim());
  }

  /** Unmounts, detaches and deletes, whatever state it is in. */
  destroy(): void {
    while (mounted(this.mountPoint)) {
      if (run('umount', [this.mountPoint]).status !== 0) run('umount', ['-l', this.mountPoint]);
    }
    if (this.#device !== '') run('losetup', ['-d', this.#device]);
    this.#device = '';
    rmSync(this.#file, { force: true });
  }
}
