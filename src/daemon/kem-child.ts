import { readFileSync, readSync, writeSync } from 'node:fs';
import { decapsulate, encapsulate, generate, X_WING } from '../crypto/x-wing.js';
import { endOnThrow } from '../libc/process-end.js';
import { forbidDumps } from '../libc/system.js';
import { type KemAnswer, type KemRequest, kemFd } from './kem.js';

/**
 * One operation with a slot's key pair. X-Wing is JavaScript: its secrets lie in the heap of this process, which is
 * undumpable and ends with the operation. What is public goes by JSON, secrets by pipes of their own.
 */
endOnThrow('key pairs');
forbidDumps();
const request = JSON.parse(readFileSync(0, 'utf8')) as KemRequest;

function give(secret: Uint8Array): void {
  writeSync(kemFd.out, secret);
  secret.fill(0);
}
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

let answer: KemAnswer;
if (request.op === 'generate') {
  const { privateHalf, publicKey } = generate();
  const { ciphertext, shared } = encapsulate(publicKey);
  give(privateHalf);
  give(shared);
  answer = { publicKey: text(publicKey), ciphertexts: [text(ciphertext)] };
} else if (request.op === 'encapsulate') {
  const made = request.publicKeys.map((key) => encapsulate(Buffer.from(key, 'base64')));
  for (const { shared } of made) give(shared);
  answer = { ciphertexts: made.map(({ ciphertext }) => text(ciphertext)) };
} else {
  const privateHalf = Buffer.alloc(X_WING.privateBytes);
  readSync(kemFd.in, privateHalf);
  give(decapsulate(privateHalf, Buffer.from(request.ciphertext, 'base64')));
  privateHalf.fill(0);
  answer = { ciphertexts: [] };
}
writeSync(1, JSON.stringify(answer));
