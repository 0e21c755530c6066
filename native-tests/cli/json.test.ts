import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import { failureResult, type ResultName, results } from '../../src/control/results.js';
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
  const seen = new Set<string>();
  const json = (args: string[], status = 0): unknown => {
    const done = scopefs([...args, '--json']);
    t.equal(done.status, status, `${args.slice(0, 2).join(' ')}: ${done.stderr}`);
    t.match(done.stderr, /^(wrote \S+\n)?$/, `${args[0]}: nothing on standard error but where shares went`);
    const value: unknown = JSON.parse(done.stdout);
    const verb = ['slot', 'audit', 'lease', 'window'].includes(args[0] as string)
      ? `${args[0]} ${args[1]}`
      : (args[0] as string);
    const named = verb === 'status' && args[1] !== '--host' ? 'status SCOPE' : verb;
    seen.add(named);
    const schema = results[named as ResultName] as { strict?: () => typeof results.version };
    // Strict: a field that the published schema does not have is a change of the interface.
    const parsed = (schema.strict?.() ?? results.version).safeParse(value);
    t.ok(parsed.success, `${named} is as its schema says: ${parsed.error?.message ?? ''}`);
    return value;
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
    locked: false,
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
  t.match(json(['lease', 'list', ...host]), { leases: [{ path: '/' }, { path: '/a', bound_to: [] }] });
  t.match(json(['lease', 'show', lease.id, ...host]), { id: lease.id, purpose: '' });
  t.match(json(['lease', 'shorten', lease.id, '--ttl', '30m', ...host]), { id: lease.id });
  const renewed = leaseSchema.parse(json(['lease', 'renew', lease.id, '--ttl', '2h', ...host]));
  t.ok(Math.abs((renewed.expires_seconds ?? 0) - 7200) < 30);
  for (const [verb, ttl] of [
    ['shorten', '3h'],
    ['renew', '1m'],
  ] as const) {
    t.equal(scopefs(['lease', verb, lease.id, '--ttl', ttl, ...host]).status, 8, `${verb} does what it says`);
  }
  t.equal(scopefs(['lease', 'show', 'none', ...host]).status, 4);
  const again = json(['unlock', 'a', '--with', key, ...host]) as { leases: { id: string }[] };
  t.match(json(['lease', 'revoke', again.leases[0]?.id ?? '', ...host]), { receipts: [] }, 'one is left');
  t.match(scopeSchema.parse(json(['status', made.id, ...host])), { state: 'unlocked', generation: 2 });
  const facts = json(['status', ...host]) as { scopes: number; unlocked: number };
  versionSchema.parse(facts);
  t.match(facts, { mount, vault, scopes: 2, unlocked: 2 });
  const [second, third] = ['second', 'third'].map((name) => {
    const file = join(directory, name);
    writeFileSync(file, randomBytes(32));
    return `file:${file}`;
  }) as [string, string];
  t.match(json(['slot', 'add', 'a', '--new', second, '--label', 'b', ...host]), { number: 1, label: 'b' });
  t.match(json(['slot', 'test', 'a', '--with', second, ...host]), { number: 1, type: 'keyfile' });
  t.match(json(['slot', 'rotate', 'a', 'b', '--new', third, ...host]), { epoch: 2 });
  t.match(json(['window', 'set', 'a', 'b', '--at', '02:00', '--for', '15m', ...host]), {
    window: /^at:02:00,/,
  });
  t.match(json(['window', 'list', 'a', ...host]), { slots: [{ number: 1 }] });
  t.match(json(['window', 'rm', 'a', 'b', ...host]), { window: null });
  t.match(json(['slot', 'rm', 'a', '0', ...host]), { epoch: 3, still_readable: { epochs: [1, 2] } });
  t.match(json(['slot', 'list', 'a', ...host]), { slots: [{ number: 1, status: 'ok' }] });
  const recovery = join(directory, 'recovery');
  writeFileSync(recovery, 'c'.repeat(64));
  json(['slot', 'add', 'a', '--slot', 'recovery', '--new', `file:${recovery}`, ...host]);
  const share = ['one', 'two'].map((name) => `share:file:${join(directory, name)}`) as [string, string];
  t.match(json(['slot', 'add', 'a', '--slot', 'split', '--new', share[0], ...host]), { type: 'split' });
  t.match(json(['slot', 'renew', 'a', '--with', share[0], '--new', share[1], ...host]), { type: 'split' });
  const { entries } = json(['audit', 'tail', ...host]) as { entries: { event: string }[] };
  t.equal(entries.at(-1)?.event, 'share_renew');
  json(['create', 'gone', '--with', key, ...host]);
  t.match(json(['rm', 'gone', '--shred', '--yes=gone', ...host]), {
    path: '/gone',
    receipts: [{ path: '/gone' }],
  });
  const all = receiptsSchema.parse(json(['lock', '-a', ...host])).receipts;
  t.same(
    all.map((receipt) => receipt.path),
    ['/a', '/'],
    'children first',
  );
  const quiet = scopefs(['status', 'a', '-q', ...host]);
  t.same([quiet.status, quiet.stdout, quiet.stderr], [3, '', '']);
  t.match(json(['unmount', mount, ...host]), { unmounted: true, mount });
  t.same(
    [...seen].sort(),
    Object.keys(results)
      .filter((verb) => verb !== 'daemons')
      .sort(),
    'every verb that prints JSON was looked at',
  );

  const published = JSON.parse(scopefs(['schema']).stdout) as Record<string, { type: string }>;
  t.same(Object.keys(published).sort(), [...Object.keys(results), 'failure'].sort());
  t.match(JSON.parse(scopefs(['schema', 'slot', 'list']).stdout), { type: 'object', required: ['slots'] });
  const failed = scopefs(['schema', 'none', '--json']);
  t.equal(failed.status, 4);
  t.match(failureResult.parse(JSON.parse(failed.stderr)), { error: { code: 'not_found', exit_status: 4 } });
});
