import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { errno, errnoName } from '../../base/errno.js';
import { Failure } from '../../base/failure.js';
import { close, read, write } from '../../libc/files.js';
import type { Secret, SecretMemory } from '../../libc/memory.js';
import { pipe } from '../../libc/system.js';
import type { ChildAnswer, ChildRequest } from './child-protocol.js';

const LIMIT_MS = 20_000;
/**
 * What the server inherited (launch.ts) is not for the child: it takes the device's place by its own descriptors, and
 * with the vault's lock in it a killed server would leave the vault busy.
 */
const CLOSED = ['ignore', 'ignore'] as const;

/** As {@link childWith}. `lengths`: of the secrets that it gives, which the caller wipes. */
export async function inChild(
  memory: SecretMemory,
  request: ChildRequest,
  lengths: readonly number[],
  given: readonly Secret[] = [],
): Promise<{ answer: ChildAnswer; secrets: Secret[] }> {
  const { answer, taken } = await childWith(request, given, (fd) => {
    const secrets: Secret[] = [];
    try {
      for (const length of lengths) secrets.push(take(memory, fd, length));
      return secrets;
    } catch (error) {
      for (const one of secrets) one.wipe();
      throw error;
    }
  });
  return { answer, secrets: taken };
}

/**
 * One operation of JavaScript with secrets, in a process of its own that ends with its copies of them. `take`: takes what
 * it gives from a pipe, once it has ended.
 */
export async function childWith<T>(
  request: ChildRequest,
  given: readonly Pick<Secret, 'address' | 'length'>[],
  take: (fd: number) => T,
): Promise<{ answer: ChildAnswer; taken: T }> {
  const open = new Set<number>();
  const shut = (...fds: number[]): void => {
    for (const fd of fds) if (open.delete(fd)) close(fd);
  };
  try {
    const opened = (): [number, number] => {
      const ends = pipe();
      for (const fd of ends) open.add(fd);
      return ends;
    };
    const [outRead, outWrite] = opened();
    const [inRead, inWrite] = opened();
    const child = spawn(
      process.execPath,
      [
        '--disallow-code-generation-from-strings',
        '--disable-proto=delete',
        fileURLToPath(new URL('./secret-child-main.js', import.meta.url)),
      ],
      {
        env: {},
        cwd: '/',
        stdio: ['pipe', 'pipe', 'pipe', outWrite, inRead, ...CLOSED],
        timeout: LIMIT_MS,
      },
    );
    shut(outWrite, inRead);
    for (const secret of given) write(inWrite, secret.address, secret.length);
    shut(inWrite);
    const [output, complaint] = [child.stdout, child.stderr].map((stream) => {
      const parts: Buffer[] = [];
      stream?.on('data', (part: Buffer) => parts.push(part));
      return parts;
    }) as [Buffer[], Buffer[]];
    child.stdin?.on('error', () => {});
    child.stdin?.end(JSON.stringify(request));
    const status = await new Promise<number | string>((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('close', (code, signal) => resolve(code ?? signal ?? 1));
    });
    if (status !== 0) {
      const why = Buffer.concat(complaint).toString('utf8').trim().split('\n')[0] ?? '';
      throw new Failure('internal', `the process for secrets failed (${status}) ${why}`.trim());
    }
    const taken = take(outRead);
    return { answer: JSON.parse(Buffer.concat(output).toString('utf8')) as ChildAnswer, taken };
  } finally {
    shut(...open);
  }
}

/** The next secret of a pipe whose writer has ended. */
function take(memory: SecretMemory, fd: number, length: number): Secret {
  const secret = memory.allocate(length);
  for (let done = 0; done < length; ) {
    const got = read(fd, secret.address + done, length - done);
    if (got === -errno.EINTR) continue;
    if (got <= 0) {
      secret.wipe();
      throw new Failure('internal', `a secret did not arrive (${errnoName(-got)})`);
    }
    done += got;
  }
  return secret;
}
