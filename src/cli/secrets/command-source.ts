import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { errno } from '../../base/errno.js';
import { Failure } from '../../base/failure.js';
import { close, read } from '../../libc/files.js';
import { SecretInput } from '../../libc/memory.js';
import { Poll, pipe } from '../../libc/system.js';

const LIMIT_MS = 30_000;
/** Nothing of ours: a helper of a KMS, Vault or Clevis has its own configuration. */
const ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };

/**
 * What a program writes on its standard output, which is a pipe that is read into secret memory. It has no input, a clean
 * environment and 30 seconds; what it says on standard error is shown.
 */
export function fromCommand(program: string): SecretInput {
  try {
    accessSync(program, constants.X_OK);
  } catch {
    throw new Failure('input_required', `${program} is not a program that can be run`, {
      reason: 'command_form',
    });
  }
  const [readEnd, writeEnd] = pipe();
  const secret = new SecretInput();
  const fail = (why: string): never => {
    secret.wipe();
    throw new Failure('input_required', `${program} ${why}`, { reason: 'command_failed' });
  };
  try {
    const { status, signal, error } = spawnSync(program, [], {
      cwd: '/',
      env: ENVIRONMENT,
      stdio: ['ignore', writeEnd, 'inherit'],
      timeout: LIMIT_MS,
      killSignal: 'SIGKILL',
    });
    close(writeEnd);
    if ((error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT')
      fail(`took more than ${LIMIT_MS / 1000} s`);
    if (status !== 0) fail(`ended with ${signal ?? `status ${status}`}`);
    // What it left behind may hold the pipe open: what is there now is all.
    const poll = new Poll([readEnd]);
    while (poll.wait(0) > 0) {
      if (secret.length === SecretInput.capacity) fail(`gave more than ${SecretInput.capacity} bytes`);
      const got = secret.fill((address, room) => read(readEnd, address, room));
      if (got === -errno.EINTR) continue;
      if (got <= 0) break;
    }
  } finally {
    close(readEnd);
  }
  if (secret.length === 0) fail('gave nothing');
  return secret;
}
