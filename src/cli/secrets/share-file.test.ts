import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Test, test } from 'tap';
import type { ScopeId } from '../../base/ids.js';
import type { Client } from '../../control/client/client.js';
import { type Share, writeShares } from '../../keyring/shares/share-text.js';
import { secretOf } from '../../keyring/test-keyring.js';
import { SecretInput } from '../../libc/memory.js';
import { ShareSink, withShareFile } from './share-file.js';

const share = (number: number, type: Share['type'] = 'split'): Share => ({
  type,
  scope: '00'.repeat(16) as ScopeId,
  slot: 1,
  set: '0011223344556677',
  number,
  value: secretOf(Buffer.alloc(type === 'split' ? 32 : 33, number)),
});
const textOf = (...shares: Share[]): string => {
  const text = writeShares(shares);
  const copy = text.view.toString('latin1');
  text.wipe();
  return copy;
};
/** A daemon that renews: the share after the one it is given. */
function client(renewed: string[]): Client {
  const numbers = new Map([1, 2, 3, 4].map((number) => [textOf(share(number)), number]));
  const fake = {
    async call(_name: 'renewShare', _asked: object, present: SecretInput, next: SecretInput): Promise<void> {
      const text = present.view.toString('latin1');
      renewed.push(text);
      await sleep(20);
      next.append(Buffer.from(textOf(share((numbers.get(text) as number) + 1))));
    },
  };
  return fake as unknown as Client;
}
function directoryFor(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-share-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  return directory;
}

test('the renewed share is in its file, with its owner and mode, before it is used', async (t) => {
  const path = join(directoryFor(t), 'share');
  writeFileSync(path, textOf(share(1)), { mode: 0o600 });
  if (process.getuid?.() === 0) chownSync(path, 1234, 1235);
  chmodSync(path, 0o400);
  const used = await withShareFile(client([]), 'a', path, async (input) => {
    t.equal(readFileSync(path, 'latin1'), input.view.toString('latin1'));
    return input.view.toString('latin1');
  });
  t.equal(used, textOf(share(2)));
  const { uid, gid, mode } = statSync(path);
  t.equal(mode & 0o777, 0o400);
  if (process.getuid?.() === 0) t.same([uid, gid], [1234, 1235]);
  await t.rejects(
    withShareFile(client([]), 'a', path, async () => {
      throw new Error('refused');
    }),
    /refused/,
  );
  t.equal(readFileSync(path, 'latin1'), textOf(share(3)), 'what fails later keeps the renewed one');
});

test('commands at the same time renew one share after another, none past the other', async (t) => {
  const path = join(directoryFor(t), 'share');
  writeFileSync(path, textOf(share(1)), { mode: 0o600 });
  const renewed: string[] = [];
  const one = client(renewed);
  await Promise.all([1, 2, 3].map(() => withShareFile(one, 'a', path, () => sleep(10))));
  t.same(
    renewed,
    [1, 2, 3].map((number) => textOf(share(number))),
  );
  t.equal(readFileSync(path, 'latin1'), textOf(share(4)));
});

test('what is no share, or not there, is refused, and its file stays', async (t) => {
  const path = join(directoryFor(t), 'share');
  await t.rejects(
    withShareFile(client([]), 'a', path, async () => {}),
    { code: 'input_required' },
  );
  writeFileSync(path, 'nothing of the kind');
  await t.rejects(
    withShareFile(client([]), 'a', path, async () => {}),
    { code: 'usage' },
  );
  t.equal(readFileSync(path, 'latin1'), 'nothing of the kind');
});

test('in a directory of somebody else no link is followed, and nobody else can read or keep the share', async (t) => {
  const directory = directoryFor(t);
  const path = join(directory, 'share');
  const victim = join(directory, 'victim');
  writeFileSync(victim, 'root:x:secret', { mode: 0o600 });
  writeFileSync(path, textOf(share(1)), { mode: 0o600 });
  symlinkSync(victim, `${path}.new`);
  await withShareFile(client([]), 'a', path, async () => {});
  t.equal(readFileSync(victim, 'utf8'), 'root:x:secret');
  t.equal(readFileSync(path, 'latin1'), textOf(share(2)));
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.same(readdirSync(directory).sort(), ['share', 'share.new', 'victim'], 'nothing else is left');
  const link = join(directory, 'link');
  symlinkSync('share', link);
  await withShareFile(client([]), 'a', link, async () => {});
  t.ok(lstatSync(link).isSymbolicLink(), 'a link to a share stays one');
  t.equal(readFileSync(path, 'latin1'), textOf(share(3)), 'and what it leads to is renewed');
});

test('a daemon that gives something else than the next share: the file keeps its own, and nothing is used', async (t) => {
  const path = join(directoryFor(t), 'share');
  writeFileSync(path, textOf(share(1)), { mode: 0o600 });
  for (const [what, text] of [
    ['nothing', ''],
    ['no share', 'nothing of the kind\n'],
    ['the present one', textOf(share(1))],
    ['one too far', textOf(share(3))],
    ['two', textOf(share(2), share(2))],
    ["another slot's", textOf({ ...share(2), slot: 2 })],
    ['of another set', textOf({ ...share(2), set: '7766554433221100' })],
    ['of another kind', textOf(share(2, 'threshold'))],
  ] as const) {
    const fake = {
      call: async (_n: string, _a: object, _p: unknown, next: SecretInput) => next.append(Buffer.from(text)),
    };
    const use = (): Promise<void> => t.fail('used') as never;
    await t.rejects(withShareFile(fake as unknown as Client, 'a', path, use), { code: 'unreachable' }, what);
    t.equal(readFileSync(path, 'latin1'), textOf(share(1)), what);
  }
});

test('shares of a threshold slot are used as they are', async (t) => {
  const path = join(directoryFor(t), 'share');
  const text = textOf(share(1, 'threshold'), share(2, 'threshold'));
  writeFileSync(path, text, { mode: 0o600 });
  const renewed: string[] = [];
  t.equal(
    await withShareFile(client(renewed), 'a', path, async (input) => input.view.toString('latin1')),
    text,
  );
  t.same(renewed, []);
});

test('new shares get files of their own; what is there stays, and nothing is left where none came', async (t) => {
  const path = join(directoryFor(t), 'board');
  const shares = writeShares([1, 2, 3].map((number) => share(number, 'threshold')));
  const sink = new ShareSink(`file:${path}`, 3);
  t.same(
    sink.write(shares),
    [1, 2, 3].map((number) => `${path}.${number}`),
  );
  for (const number of [1, 2, 3]) {
    t.equal(readFileSync(`${path}.${number}`, 'latin1'), textOf(share(number, 'threshold')));
    t.equal(statSync(`${path}.${number}`).mode & 0o777, 0o600);
  }
  rmSync(`${path}.1`);
  t.throws(() => new ShareSink(`file:${path}`, 3), { code: 'conflict' });
  t.throws(() => statSync(`${path}.1`), { code: 'ENOENT' });
  t.equal(readFileSync(`${path}.2`, 'latin1'), textOf(share(2, 'threshold')));
  new ShareSink(`file:${path}-new`, 1).abandon();
  t.throws(() => statSync(`${path}-new`), { code: 'ENOENT' });
  for (const wrong of ['file:', 'cred:x', '', 'fd:', 'prompt']) {
    t.throws(() => new ShareSink(wrong, 1), { code: 'usage' }, wrong);
  }
  t.throws(() => new ShareSink(`file:${path}/none/x`, 1), { code: 'io' });
});

test('fewer shares than were asked for: no file of them stays', async (t) => {
  const path = join(directoryFor(t), 'board');
  for (const text of ['', '{}', textOf(share(1, 'threshold'), share(2, 'threshold'))]) {
    const sink = new ShareSink(`file:${path}`, 3);
    const given = new SecretInput();
    given.append(Buffer.from(text));
    t.throws(() => sink.write(given), { code: 'unreachable' });
    given.wipe();
    for (const number of [1, 2, 3]) t.throws(() => statSync(`${path}.${number}`), { code: 'ENOENT' });
  }
});
