import { libcFunction, result } from '../../src/libc/ffi.js';
import { pinned } from '../../src/libc/memory.js';

const pipeCall = libcFunction('pipe2', 'i', 'pi');
const sendfileCall = libcFunction('sendfile', 'l', 'iipp');
const spliceCall = libcFunction('splice', 'l', 'ipippu');
const copyCall = libcFunction('copy_file_range', 'l', 'ipippu');

const O_CLOEXEC_NONBLOCK = 0o2004000;
const descriptors = pinned(8);
const position = pinned(8);

/** pipe2(2), neither end blocks: the ends to read from and to write to, or -errno twice. */
export function pipe(): { from: number; to: number } {
  const done = result(pipeCall(descriptors.address, O_CLOEXEC_NONBLOCK));
  if (done < 0) return { from: done, to: done };
  return { from: descriptors.bytes.readInt32LE(0), to: descriptors.bytes.readInt32LE(4) };
}

function at(offset: number): number {
  position.bytes.writeBigInt64LE(BigInt(offset));
  return position.address;
}

/** Calls that move bytes of a file to another descriptor inside the kernel: bytes moved, or -errno. */
export const transfers = {
  sendfile: (from: number, to: number, offset: number, length: number) =>
    result(sendfileCall(to, from, at(offset), length)),
  splice: (from: number, to: number, offset: number, length: number) =>
    result(spliceCall(from, at(offset), to, 0, length, 0)),
  copy_file_range: (from: number, to: number, offset: number, length: number) =>
    result(copyCall(from, at(offset), to, 0, length, 0)),
} as const;
export type Transfer = keyof typeof transfers;
