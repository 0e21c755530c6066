import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import {
  leaseSchema,
  receiptsSchema,
  scopeSchema,
  scopesSchema,
  versionSchema,
} from '../../src/control/schemas.js';
import { scopefs } from '../support/mounted.js';

test('--json of every verb parses and has its fields; -q says nothing', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'scopefs-json-'));
  const vault = join(directory, 'vault');
  const mount = join(directory, 'mount');
  const host = ['--host', `unix://${join(directory, 'socket')}`];
  const key = `file:${join(directory, 'key')}`;
  mkdirSync(mount);
  writeFileSync(join(directory, 'key'), randomBytes(32));
  t.teardown(() => {
    scopefs(['unmount', mount, ...host]);
    rmSync(directory, { recursive: true, force: true });
  });
  const json = (args: string[], status = 0): unknown => {
    const done = scopefs([...args, '--json']);
    t.equal(done.status, status, `${args.slice(0, 2).join(' ')}: ${done.stderr}`);
    t.equal(done.stderr, '', `${args[0]}: nothing on standard error`);
    return JSON.parse(done.stdout);
  };
  const id = /^[0-9a-f]{32}$/;

  t.match(json(['version']), {
    version: String,
    format: 1,
    format_draft: true,
    node: String,
    openssl: String,
  });
  t.match(json(['init', vault, '--with', key]), {
    vault,
    volume: id,
    root_scope: id,
    slot: 'keyfile',
    chunk_size: 16_384,
  });
  t.match(json(['mount', vault, mount, '--with', key, ...host]), {
    vault,
    mount,
    volume: id,
    socket: join(directory, 'socket'),
    pid: Number,
    unclean: false,
  });
  const made = scopeSchema.parse(json(['create', 'a', '--with', key, ...host]));
  t.match(made, { path: '/a', state: 'unlocked', leases: 1, slots: 1, generation: 1, expires: null });
  const { scopes } = scopesSchema.parse(json(['ls', ...host]));
  t.same(
    scopes.map((scope) => scope.path),
    ['/', '/a'],
  );
  const { receipts } = receiptsSchema.parse(json(['lock', 'a', '--reason', 'because', ...host]));
  t.match(receipts, [
    { scope: made.id, path: '/a', reason: 'because', leases_ended: 1, errors: [], generation: 1 },
  ]);
  t.same(receiptsSchema.parse(json(['lock', 'a', ...host])).receipts, [], 'locked already: no receipt');
  t.match(scopeSchema.parse(json(['status', 'a', ...host], 3)), { state: 'locked', leases: 0 });
  const unlocked = json(['unlock', made.id, '--with', key, '--ttl', '1h', ...host]) as { leases: unknown[] };
  const lease = leaseSchema.parse(unlocked.leases[0]);
  t.match(lease, { scope: made.id, path: '/a', holder: { uid: 0 } });
  t.ok(Math.abs((lease.expires_seconds ?? 0) - 3600) < 30);
  t.match(scopeSchema.parse(json(['status', made.id, ...host])), { state: 'unlocked', generation: 2 });
  const facts = json(['status', ...host]) as { scopes: number; unlocked: number };
  versionSchema.parse(facts);
  t.match(facts, { mount, vault, scopes: 2, unlocked: 2 });
  const all = receiptsSchema.parse(json(['lock', '-a', ...host])).receipts;
  t.same(
    all.map((receipt) => receipt.path),
    ['/a', '/'],
    'children first',
  );
  const quiet = scopefs(['status', 'a', '-q', ...host]);
  t.same([quiet.status, quiet.stdout, quiet.stderr], [3, '', '']);
  t.match(json(['unmount', mount, ...host]), { unmounted: true, mount });
});
