import { readFileSync, readSync, writeSync } from 'node:fs';
import { combineShares, SHAMIR, splitSecret } from '../../crypto/shamir.js';
import { decapsulate, encapsulate, generate } from '../../crypto/x-wing.js';
import { X_WING } from '../../crypto/x-wing-sizes.js';
import { endOnThrow } from '../../libc/process-end.js';
import { forbidDumps } from '../../libc/system.js';
import { type ChildAnswer, type ChildRequest, childFd } from './child-protocol.js';

/**
 * One operation with a slot's key pair or its shares. The libraries are JavaScript: their secrets lie in the heap of this
 * process, which is undumpable and ends with the operation. What is public goes by JSON, secrets by pipes of their own.
 */
endOnThrow('secrets');
forbidDumps();
const request = JSON.parse(readFileSync(0, 'utf8')) as ChildRequest;

function give(secret: Uint8Array): void {
  writeSync(childFd.out, secret);
  secret.fill(0);
}
/** Not a Buffer: the sharing library refuses subclasses. */
function take(length: number): Uint8Array {
  const secret = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const got = readSync(childFd.in, secret, done, length - done, null);
    if (got === 0) throw new Error('a secret did not arrive');
    done += got;
  }
  return secret;
}
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

/** UTF-8 in normalisation form C (UAX #15); what is not UTF-8 as it is. */
function composed(bytes: Uint8Array): Uint8Array {
  try {
    const read = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return new TextEncoder().encode(read.normalize('NFC'));
  } catch {
    return bytes;
  }
}

async function answer(): Promise<ChildAnswer> {
  switch (request.op) {
    case 'generate': {
      const { privateHalf, publicKey } = generate();
      const { ciphertext, shared } = encapsulate(publicKey);
      give(privateHalf);
      give(shared);
      return { publicKey: text(publicKey), ciphertexts: [text(ciphertext)] };
    }
    case 'encapsulate': {
      const made = request.publicKeys.map((key) => encapsulate(Buffer.from(key, 'base64')));
      for (const { shared } of made) give(shared);
      return { ciphertexts: made.map(({ ciphertext }) => text(ciphertext)) };
    }
    case 'decapsulate':
      give(decapsulate(take(X_WING.privateBytes), Buffer.from(request.ciphertext, 'base64')));
      return {};
    case 'split': {
      const shares = await splitSecret(take(SHAMIR.secretBytes), request.count, request.needed);
      for (const share of shares) give(share);
      return {};
    }
    case 'combine': {
      const shares = Array.from({ length: request.count }, () => take(SHAMIR.shareBytes));
      give(await combineShares(shares));
      return {};
    }
    case 'compose':
      give(composed(take(request.bytes)));
      return {};
  }
}

writeSync(1, JSON.stringify(await answer()));
