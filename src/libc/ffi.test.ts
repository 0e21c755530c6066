import { createHash } from 'node:crypto';
import { test } from 'tap';
import { findOpenssl, opensslLibrary } from './ffi.js';
import { pinned } from './memory.js';

test('OpenSSL is the node binary’s own where it exports one, else the system’s', async (t) => {
  t.equal(opensslLibrary, undefined, 'this node binary has its own');
  t.equal(findOpenssl([null])?.name, null);
  t.equal(findOpenssl(['libc.so.6', 'libnone.so.7']), undefined, 'no library with other symbols will do');
  const found = findOpenssl(['libnone.so.7', 'libc.so.6', 'libcrypto.so.3']);
  t.equal(found?.name, 'libcrypto.so.3');
  // It works by address, as ours does: SHA256(data, length, out).
  const call = found?.library.func('SHA256', 'uint64_t', ['uint64_t', 'uint64_t', 'uint64_t']);
  const data = pinned(64);
  data.bytes.write('abc');
  (call as unknown as (...args: number[]) => number)(data.address, 3, data.address + 32);
  t.same(data.bytes.subarray(32), createHash('sha256').update('abc').digest());
});
