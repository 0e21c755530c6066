import type { IncomingMessage, ServerResponse } from 'node:http';
import { Failure } from '../base/failure.js';
import { SecretInput } from '../libc/memory.js';
import type { ParserBuffer } from './parser-buffer.js';
import { RESULT_HEADER } from './routes.js';

/** A body is a secret of at most 4,096 bytes and perhaps a newline. */
const BODY_LIMIT = 4097;
const OCTETS = 'application/octet-stream';

/** The raw body, into secret memory; every chunk is overwritten. */
function readSecret(incoming: IncomingMessage): Promise<SecretInput> {
  return new Promise((resolve, reject) => {
    const secret = new SecretInput();
    const fail = (failure: Failure): void => {
      secret.wipe();
      reject(failure);
    };
    incoming.on('data', (chunk: Buffer) => {
      if (secret.length + chunk.length > BODY_LIMIT) {
        chunk.fill(0);
        incoming.removeAllListeners('data');
        incoming.resume();
        fail(new Failure('too_large', `the secret is longer than ${BODY_LIMIT - 1} bytes`));
      } else {
        secret.append(chunk);
      }
    });
    incoming.on('end', () => resolve(secret));
    incoming.on('error', () => fail(new Failure('io', 'the request was cut short')));
    incoming.on('aborted', () => fail(new Failure('io', 'the request was cut short')));
  });
}

/** Calls `use` with the body. It is wiped, and the parser's copy of it is gone, before anything is answered. */
export async function withSecret<T>(
  incoming: IncomingMessage,
  parser: ParserBuffer,
  use: (secret: SecretInput) => Promise<T>,
): Promise<T> {
  let secret: SecretInput | undefined;
  let overwritten: Promise<void> | undefined;
  try {
    // What is refused may be a key all the same.
    secret = await readSecret(incoming);
    // The body has passed: beside what it is for.
    overwritten = parser.overwrite();
    if (incoming.headers['content-type'] !== OCTETS) {
      throw new Failure('usage', `a secret is sent as ${OCTETS}`);
    }
    return await use(secret);
  } finally {
    secret?.wipe();
    await (overwritten ?? parser.overwrite());
  }
}

/** A body where none belongs may be a key all the same, sent to the wrong route. */
export async function overwriteStray(incoming: IncomingMessage, parser: ParserBuffer): Promise<void> {
  const { headers } = incoming;
  if (headers['content-length'] === undefined && headers['transfer-encoding'] === undefined) return;
  incoming.on('data', (part: Buffer) => part.fill(0));
  await parser.overwrite();
}

/**
 * A reply that carries shares: they are its body, written from secret memory and wiped (a Response would copy them), and the
 * JSON is in a header.
 */
export function sendShares(
  outgoing: ServerResponse,
  shares: SecretInput,
  view: unknown,
  { status, requestId }: { status: number; requestId: string },
): void {
  outgoing.once('close', () => shares.wipe());
  // The caller is gone: a renewed share can be asked for again, a slot be made anew.
  if (outgoing.destroyed || outgoing.closed || outgoing.socket?.destroyed !== false) {
    shares.wipe();
    return;
  }
  outgoing.writeHead(status, {
    'content-type': OCTETS,
    'content-length': shares.length,
    'cache-control': 'no-store',
    'x-request-id': requestId,
    // Text that is not Latin-1 may not stand in a header.
    [RESULT_HEADER]: encodeURIComponent(JSON.stringify(view)),
  });
  outgoing.end(shares.view);
}
