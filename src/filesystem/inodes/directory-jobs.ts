import { Refusal, type Reply } from '../contract.js';
import type { Executor } from '../disk/backing.js';
import type { Directories, Directory } from './directories.js';
import type { Scope } from './scope.js';

/**
 * Jobs on directories that requests wait for: the descriptor stays open until the job is done, and a scope that is
 * wiped meanwhile answers its requests at once.
 */
export class DirectoryJobs {
  readonly #executor: Executor;
  readonly #directories: Directories;
  readonly #waiting = new Map<Reply, Scope>();

  constructor(executor: Executor, directories: Directories) {
    this.#executor = executor;
    this.#directories = directories;
  }

  /** `then` is called unless the scope was wiped; `reply` has its error where the directory can't be opened. */
  run(
    directory: Directory,
    job: 'fsync' | 'warm',
    names: readonly string[],
    reply: Reply,
    then: (result: number) => void,
  ): void {
    const descriptor = this.#directories.pin(directory);
    if (descriptor < 0) {
      reply.refuse(Refusal.failed(descriptor));
      return;
    }
    this.#waiting.set(reply, directory.scope);
    this.#executor.run(
      job === 'warm' ? { op: 'warm', descriptor, names } : { op: job, descriptor },
      (result) => {
        this.#directories.unpin(directory, descriptor);
        // Else the scope was wiped, and the reply given.
        if (this.#waiting.delete(reply)) then(result);
      },
    );
  }

  wipe(scope: Scope): void {
    for (const [reply, of] of this.#waiting) {
      if (of !== scope) continue;
      this.#waiting.delete(reply);
      reply.refuse(Refusal.for('locked'));
    }
  }
}
