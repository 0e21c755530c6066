import { createHash, randomBytes } from 'node:crypto';
import * as files from '../../src/libc/files.js';
import { pinned } from '../../src/libc/memory.js';
import { Board, monotonic } from './board.js';

/**
 * A process that writes and reads its own file through locks and unlocks until the board says stop. Each record of
 * 8 KiB carries its number and a hash, so no wrong byte passes. Board words from `first`: [1] number acknowledged by
 * fsync, [2] reads that worked while the board said locked, [3] wrong records, [4] reads that worked, [5] errors other
 * than ENOKEY. It prints what its file may hold, and the calls that failed with another error than ENOKEY.
 */
const [path = '', boardPath = '', firstWord = '0', seconds = '60'] = process.argv.slice(2);
const { words } = new Board(boardPath, 256);
const first = Number(firstWord);
/** Odd while the scope is certainly locked: from a lock's return until the next unlock is asked for. */
const EPOCH = 1;
const RECORD = 8192;
const RECORDS = 32;
const buffer = pinned(RECORD);
const ENOKEY = -126;

function fill(number: number): void {
  randomBytes(RECORD - 40).copy(buffer.bytes, 40);
  buffer.bytes.writeDoubleLE(number, 0);
  createHash('sha256')
    .update(buffer.bytes.subarray(40))
    .update(buffer.bytes.subarray(0, 8))
    .digest()
    .copy(buffer.bytes, 8);
}
/** The record's number, or NaN where it is not whole. */
function judge(): number {
  const hash = createHash('sha256')
    .update(buffer.bytes.subarray(40))
    .update(buffer.bytes.subarray(0, 8))
    .digest();
  return hash.equals(buffer.bytes.subarray(8, 40)) ? buffer.bytes.readDoubleLE(0) : Number.NaN;
}
function bump(word: number): void {
  words[first + word] = (words[first + word] as number) + 1;
}
/** Calls that failed otherwise, with their errno: the first few. */
const unexpected: string[] = [];
function failed(call: string, result: number): void {
  if (result === ENOKEY) return;
  bump(5);
  if (unexpected.length < 20) unexpected.push(`${call} ${result}`);
}

/** Numbers that a slot of the file may hold: the last acknowledged write and what was tried after it. */
const allowed: number[][] = Array.from({ length: RECORDS }, () => [0]);
let number = 0;
let fd = -1;
const end = monotonic() + Number(seconds) * 1_000;
while (words[0] === 0 && monotonic() < end) {
  if (fd < 0) {
    fd = files.openPath(path, files.open.O_RDWR | files.open.O_CREAT, 0o600);
    if (fd < 0) {
      failed('open', fd);
      continue;
    }
  }
  number++;
  const slot = number % RECORDS;
  fill(number);
  allowed[slot]?.push(number);
  let result = files.pwrite(fd, buffer.address, RECORD, slot * RECORD);
  if (result >= 0 && result !== RECORD) failed('short write', -5);
  const synced = result === RECORD && number % 4 === 0;
  if (synced) {
    result = files.fsync(fd);
    if (result === 0) words[first + 1] = number;
  }
  if (result === RECORD || result === 0) allowed[slot] = [number];
  const reading = Math.floor(Math.random() * RECORDS);
  const before = words[EPOCH] as number;
  const got = files.pread(fd, buffer.address, RECORD, reading * RECORD);
  if (got >= 0) {
    bump(4);
    // Locked when the read began and still the same lock when it had ended: nobody may read then.
    if (before % 2 === 1 && words[EPOCH] === before) bump(2);
    if (got === RECORD) {
      const found = judge();
      const hole = allowed[reading]?.includes(0) === true && buffer.bytes.every((byte) => byte === 0);
      if (!hole && allowed[reading]?.includes(found) !== true) bump(3);
    } else if (got !== 0 || allowed[reading]?.includes(0) !== true) {
      // Short of the end: only where that record was never written.
      if (allowed[reading]?.includes(0) !== true) bump(3);
    }
  }
  if (result < 0 || got < 0) {
    if (result < 0) failed(synced ? 'fsync' : 'write', result);
    else failed('read', got);
    files.close(fd);
    fd = -1;
  }
}
if (fd >= 0) files.close(fd);
// What must be there now: for each slot the numbers that it may hold.
process.stdout.write(JSON.stringify({ allowed, unexpected }));
