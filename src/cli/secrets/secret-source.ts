import { closeSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { isatty } from 'node:tty';
import { errnoName } from '../../base/errno.js';
import { Failure } from '../../base/failure.js';
import { printable } from '../../base/printable.js';
import { close, open, openPath, read } from '../../libc/files.js';
import { SecretInput } from '../../libc/memory.js';
import { MOST_TYPED, readLine } from '../../libc/terminal.js';
import { openWithAge, sealForAge } from './age-source.js';
import { fromCommand } from './command-source.js';

const STDIN = 0;
const SOURCES =
  'prompt, -, fd:N, file:PATH, cred:NAME, unix:PATH, age:FILE, share:SRC, cmd:/PROGRAM or parent';

/** What `--with SRC` says: a type where the source implies one (PRODUCT.md, "Meanings that scripts rely on"). */
export interface SecretSource {
  readonly text: string;
  /** New slots of this source are of this type unless `--slot` says otherwise. */
  readonly impliedSlot: 'passphrase' | 'keyfile' | 'age' | 'cmd' | 'parent' | 'split';
  /** Of a share: the text behind `share:`, which says where it is or goes. */
  readonly share?: string;
  /** Reads it, into secret memory. */
  read(options: ReadOptions): Promise<SecretInput>;
  /** Where a new secret is made rather than read: it, and as an age file. */
  make?(): Promise<{ input: SecretInput; sealed: string }>;
}
interface ReadOptions {
  /** A person must type it twice. */
  readonly confirm: boolean;
  readonly what: string;
  readonly allowPrompt: boolean;
  /** What age slots the scope has. */
  readonly sealed?: readonly string[] | undefined;
}

export function secretSource(text: string): SecretSource {
  if (text === 'prompt') {
    return { text, impliedSlot: 'passphrase', read: (options) => prompt(options) };
  }
  if (text === '-') {
    return { text, impliedSlot: 'passphrase', read: async () => fromDescriptor(0, 'standard input') };
  }
  const fd = /^fd:(\d{1,6})$/.exec(text);
  if (fd !== null) {
    const number = Number(fd[1]);
    return { text, impliedSlot: 'keyfile', read: async () => fromDescriptor(number, text, true) };
  }
  if (text.startsWith('file:') && text.length > 5) {
    return { text, impliedSlot: 'keyfile', read: async () => fromFile(text.slice(5)) };
  }
  if (text.startsWith('cred:')) {
    const path = credentialPath(text.slice(5));
    return { text, impliedSlot: 'keyfile', read: async () => fromFile(path) };
  }
  if (text.startsWith('unix:/')) {
    return { text, impliedSlot: 'keyfile', read: () => fromSocket(text.slice(5)) };
  }
  if (text === 'parent') {
    return { text, impliedSlot: 'parent', read: async () => new SecretInput() };
  }
  if (text.startsWith('cmd:/')) {
    return { text, impliedSlot: 'cmd', read: async () => fromCommand(text.slice(4)) };
  }
  if (text.startsWith('age:') && text.length > 4) {
    const path = text.slice(4);
    return {
      text,
      impliedSlot: 'age',
      read: ({ sealed }) => openWithAge(path, sealed ?? []),
      make: () => sealForAge(path),
    };
  }
  if (text.startsWith('share:') && !/^share:(share|age|parent)/.test(text)) {
    const share = text.slice(6);
    const { read } = secretSource(share);
    return { text, impliedSlot: 'split', share, read: (options) => read({ ...options, what: 'share' }) };
  }
  // The text is never repeated: it may be the secret itself.
  throw new Failure('usage', 'not a source of secrets', {
    reason: { name: 'source_form', sources: SOURCES },
  });
}

function fromDescriptor(fd: number, name: string, closeAfter = false): SecretInput {
  const secret = new SecretInput();
  for (;;) {
    const got = secret.fill((address, room) => read(fd, address, room));
    if (got === 0) break;
    if (got < 0) {
      secret.wipe();
      throw new Failure('input_required', `${name} cannot be read (${errnoName(-got)})`);
    }
    if (secret.length === SecretInput.capacity) {
      secret.wipe();
      throw new Failure('usage', `${name} has more than ${SecretInput.capacity} bytes`);
    }
  }
  if (closeAfter) closeSync(fd);
  if (secret.length > 0) return secret;
  secret.wipe();
  throw new Failure('input_required', `${name} is empty`);
}

function fromFile(path: string): SecretInput {
  const fd = openPath(path, open.O_RDONLY);
  if (fd < 0) throw new Failure('input_required', `${path} cannot be opened (${errnoName(-fd)})`);
  try {
    return fromDescriptor(fd, path);
  } finally {
    close(fd);
  }
}

/** A credential that systemd handed to the service (systemd.exec(5), LoadCredential=). */
function credentialPath(name: string): string {
  const directory = process.env.CREDENTIALS_DIRECTORY;
  if (!/^[A-Za-z0-9_.-]{1,255}$/.test(name) || name === '.' || name === '..') {
    throw new Failure('usage', 'not the name of a credential', {
      reason: 'credential_form',
    });
  }
  if (directory === undefined || directory === '') {
    throw new Failure('input_required', `no credential ${name}: this is not a service with credentials`, {
      reason: 'credential_outside_service',
    });
  }
  return join(directory, name);
}

const SOCKET_MS = 30_000;

/** Whatever a service on a Unix socket answers until it closes (as systemd reads LoadCredential= from sockets). */
function fromSocket(path: string): Promise<SecretInput> {
  return new Promise((resolve, reject) => {
    const secret = new SecretInput();
    const socket = connect(path);
    const fail = (failure: Failure): void => {
      socket.destroy();
      secret.wipe();
      reject(failure);
    };
    socket.setTimeout(SOCKET_MS, () =>
      fail(new Failure('input_required', `${path} said nothing for ${SOCKET_MS / 1000} s`)),
    );
    socket.on('error', (error: NodeJS.ErrnoException) =>
      fail(new Failure('input_required', `${path} cannot be read (${error.code ?? error.message})`)),
    );
    socket.on('data', (part: Buffer) => {
      if (!secret.append(part)) {
        fail(new Failure('usage', `${path} gave more than ${SecretInput.capacity} bytes`));
      }
    });
    socket.on('end', () => {
      socket.destroy();
      if (secret.length > 0) resolve(secret);
      else fail(new Failure('input_required', `${path} gave nothing`));
    });
  });
}

async function prompt({ confirm, what, allowPrompt }: ReadOptions): Promise<SecretInput> {
  if (!allowPrompt || !isatty(STDIN)) {
    throw new Failure('input_required', `a ${what} is needed, and nobody can be asked`, {
      reason: 'source_without_terminal',
    });
  }
  const first = await ask(`${what}: `);
  if (!confirm) return first;
  let second: SecretInput | undefined;
  try {
    second = await ask(`${what} again: `);
    if (first.length === second.length && first.view.equals(second.view)) return first;
    throw new Failure('usage', 'the two did not match');
  } catch (error) {
    first.wipe();
    throw error;
  } finally {
    second?.wipe();
  }
}

/** Reads a line without echo. */
async function ask(question: string): Promise<SecretInput> {
  const secret = new SecretInput();
  process.stderr.write(printable(question));
  const came = await readLine(STDIN, secret);
  process.stderr.write('\n');
  const failure = !came
    ? new Failure('input_required', 'nothing was typed')
    : secret.length >= MOST_TYPED
      ? new Failure('usage', `a terminal passes on ${MOST_TYPED - 1} bytes of a line, and cuts longer ones`, {
          reason: 'typed_too_long',
        })
      : undefined;
  if (failure === undefined) return secret;
  secret.wipe();
  throw failure;
}
