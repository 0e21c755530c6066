import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { errno, errnoName } from '../base/errno.js';
import { Failure } from '../base/failure.js';
import type { Kem } from '../keyring/kem.js';
import { close, read, write } from '../libc/files.js';
import type { Secret, SecretMemory } from '../libc/memory.js';
import { pipe } from '../libc/system.js';

/** Descriptors of the child: secrets out, secrets in. */
export const kemFd = { out: 3, in: 4 } as const;

export type KemRequest =
  | { op: 'generate' }
  | { op: 'encapsulate'; publicKeys: string[] }
  | { op: 'decapsulate'; ciphertext: string };
/** What is public of the answer, in base64. */
export interface KemAnswer {
  publicKey?: string;
  ciphertexts: string[];
}

const LIMIT_MS = 20_000;
/**
 * What the server inherited (launch.ts) is not for the child: it takes the device's place by its own descriptors, and
 * with the vault's lock in it a killed server would leave the vault busy.
 */
const CLOSED = ['ignore', 'ignore'] as const;
const SECRET_BYTES = 32;

/** Key pairs in a process of their own for each operation: it ends with its copies of the secrets. */
export class ChildKem implements Kem {
  readonly #memory: SecretMemory;
  constructor(memory: SecretMemory) {
    this.#memory = memory;
  }

  async generate(): ReturnType<Kem['generate']> {
    const { answer, secrets } = await this.#run({ op: 'generate' }, 2);
    const [privateHalf, shared] = secrets as [Secret, Secret];
    const publicKey = Buffer.from(answer.publicKey ?? '', 'base64');
    const ciphertext = Buffer.from(answer.ciphertexts[0] ?? '', 'base64');
    return { privateHalf, publicKey, ciphertext, shared };
  }

  async encapsulate(publicKeys: readonly Buffer[]): ReturnType<Kem['encapsulate']> {
    const keys = publicKeys.map((key) => key.toString('base64'));
    const { answer, secrets } = await this.#run({ op: 'encapsulate', publicKeys: keys }, keys.length);
    return secrets.map((shared, i) => ({
      ciphertext: Buffer.from(answer.ciphertexts[i] ?? '', 'base64'),
      shared,
    }));
  }

  async decapsulate(privateHalf: Secret, ciphertext: Buffer): Promise<Secret> {
    const request = { op: 'decapsulate', ciphertext: ciphertext.toString('base64') } as const;
    return (await this.#run(request, 1, privateHalf)).secrets[0] as Secret;
  }

  async #run(
    request: KemRequest,
    wanted: number,
    secret?: Secret,
  ): Promise<{ answer: KemAnswer; secrets: Secret[] }> {
    const [outRead, outWrite] = pipe();
    const [inRead, inWrite] = pipe();
    const open = new Set([outRead, outWrite, inRead, inWrite]);
    const shut = (...fds: number[]): void => {
      for (const fd of fds) if (open.delete(fd)) close(fd);
    };
    try {
      const child = spawn(
        process.execPath,
        [
          '--disallow-code-generation-from-strings',
          '--disable-proto=delete',
          fileURLToPath(new URL('./kem-child.js', import.meta.url)),
        ],
        {
          env: {},
          cwd: '/',
          stdio: ['pipe', 'pipe', 'pipe', outWrite, inRead, ...CLOSED],
          timeout: LIMIT_MS,
        },
      );
      shut(outWrite, inRead);
      if (secret !== undefined) write(inWrite, secret.address, secret.length);
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
        throw new Failure('internal', `the process for key pairs failed (${status}) ${why}`.trim());
      }
      const secrets: Secret[] = [];
      try {
        while (secrets.length < wanted) secrets.push(this.#take(outRead));
      } catch (error) {
        for (const taken of secrets) taken.wipe();
        throw error;
      }
      return { answer: JSON.parse(Buffer.concat(output).toString('utf8')) as KemAnswer, secrets };
    } finally {
      shut(...open);
    }
  }

  /** The next secret of a pipe whose writer has ended. */
  #take(fd: number): Secret {
    const secret = this.#memory.allocate(SECRET_BYTES);
    for (let done = 0; done < SECRET_BYTES; ) {
      const got = read(fd, secret.address + done, SECRET_BYTES - done);
      if (got === -errno.EINTR) continue;
      if (got <= 0) {
        secret.wipe();
        throw new Failure('internal', `a secret did not arrive (${errnoName(-got)})`);
      }
      done += got;
    }
    return secret;
  }
}
