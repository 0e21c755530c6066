import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'tap';
import { scan } from '../support/memory-scan.js';
import { Vault } from '../support/mounted.js';
import { needlesOf } from '../support/needles.js';

test('no key of a scope is in the memory of the daemon after a lock, nor secrets in ordinary memory before', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  vault.createScope('a');
  const key = randomBytes(48);
  const path = join(vault.directory, 'mine');
  writeFileSync(path, key, { mode: 0o600 });
  const cli = (...args: string[]) => vault.expect(vault.cli(...args), args.join(' '));
  cli('slot', 'add', 'a', '--new', `file:${path}`, '--label', 'mine');
  writeFileSync(vault.path('a/file'), randomBytes(100_000));
  // A new epoch: this slot then opens it by its key pair, once.
  cli('slot', 'rm', 'a', '0');
  cli('lock', 'a');
  cli('unlock', 'a', '--with', `file:${path}`);
  writeFileSync(vault.path('a/other'), randomBytes(100_000));
  readFileSync(vault.path('a/file'));
  cli('slot', 'test', 'a', '--with', `file:${path}`);

  const needles = await needlesOf(vault, key);
  const names = Object.keys(needles);
  t.equal(names.length, 20, 'two epochs, two files');
  const list = Object.values(needles);
  const before = scan(vault.pid, list);
  names.forEach((name, i) => {
    if (/name key/.test(name)) {
      t.ok((before[i] as number) > 0, `positive control: ${name} is in a live EVP context (${before[i]})`);
    } else if (/^round keys|^file key/.test(name)) {
      // The schedule of a key begins with the key.
      t.ok((before[i] as number) <= 2, `${name}: in live EVP contexts at most (${before[i]})`);
    } else {
      t.equal(before[i], 0, `${name}: in secret memory alone while unlocked`);
    }
  });
  cli('lock', 'a');
  const after = scan(vault.pid, list);
  names.forEach((name, i) => {
    t.equal(after[i], 0, `${name}: ${before[i]} copies before, ${after[i]} after`);
  });
});

test('a key in a request that is no HTTP stays nowhere', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  const send = (...parts: (string | Buffer)[]): Promise<string> =>
    new Promise((resolve) => {
      let said = '';
      const socket = connect(vault.socket, () =>
        socket.write(Buffer.concat(parts.map((part) => Buffer.from(part)))),
      );
      socket.on('data', (part) => {
        said += String(part);
      });
      socket.on('error', () => {});
      socket.on('close', () => resolve(said));
    });
  const head = 'POST /v1/leases?scope=/ HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n';
  const keys = Array.from({ length: 3 }, () => randomBytes(32));
  const [trailing, chunked, plain] = keys as [Buffer, Buffer, Buffer];
  t.match(await send(head, 'content-length: 32\r\n\r\n', trailing, 'xx\n'), /^HTTP\/1.1 400 /);
  t.match(
    await send(head, 'transfer-encoding: chunked\r\n\r\n20\r\n', chunked, '\r\nzz\r\n'),
    /^HTTP\/1.1 400 /,
  );
  t.match(await send(plain, '\r\n\r\n'), /^HTTP\/1.1 400 /);
  // What overwrites them is on its way.
  t.equal(vault.cli('ls').status, 0);
  t.equal(vault.cli('slot', 'test', '/', '--with', `file:${vault.keyFile}`).status, 0);
  t.same(scan(vault.pid, keys), [0, 0, 0]);
});
