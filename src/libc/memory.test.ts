import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { inspect } from 'node:util';
import { test } from 'tap';
import { copyMemory, ioBuffer, pinned, SecretInput, SecretMemory } from './memory.js';
import { systemClock } from './system.js';

test('a secret prints as [secret], is gone after its wipe, and its slot is used again', async (t) => {
  const memory = new SecretMemory(64);
  t.ok(['memfd_secret', 'mlock'].includes(memory.backing));
  const secret = memory.allocate(32);
  t.equal(`${secret}`, '[secret]');
  t.equal(JSON.stringify({ secret }), '{"secret":"[secret]"}');
  t.equal(inspect({ secret }), '{ secret: [secret] }');
  const known = pinned(32);
  known.bytes.fill(0x5a);
  copyMemory(secret.address, known.address, 32);
  const { address } = secret;
  secret.wipe();
  secret.wipe();
  t.throws(() => secret.address, /wiped/);
  t.equal(memory.used, 0);
  const seen = pinned(32);
  copyMemory(seen.address, address, 32);
  t.not(seen.bytes.toString('hex'), known.bytes.toString('hex'), 'overwritten');
  t.not(seen.bytes.toString('hex'), '00'.repeat(32), 'not with zeros');
  t.equal(memory.allocate(64).address, address);
  t.throws(() => memory.allocate(65), RangeError);
});

test('secret memory is bounded and says when it is full', async (t) => {
  const memory = new SecretMemory(64);
  for (let i = 0; i < 64; i++) memory.allocate(1);
  t.throws(() => memory.allocate(1), /full/);
});

test('memfd_secret leaves no descriptor behind that somebody could map', async (t) => {
  t.ok(new SecretMemory(64));

  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  });
  t.notOk(links.some((link) => link.includes('secretmem')));
});

test('an input takes bytes over, overwrites their source and refuses too many', async (t) => {
  const input = new SecretInput();
  const typed = Buffer.from('pass\n');
  t.ok(input.append(typed));
  t.same(typed, Buffer.alloc(5), 'the source is overwritten');
  t.equal(input.length, 5);
  t.equal(input.lengthWithoutNewline, 4);
  input.erase(1);
  t.equal(input.lengthWithoutNewline, 4);
  t.same(Buffer.from(input.view), Buffer.from('pass'));
  t.notOk(input.append(Buffer.alloc(SecretInput.capacity)));
  t.equal(inspect(input), '[secret]');
  input.wipe();
  t.throws(() => input.view, /wiped/);
});

test('I/O buffers are page-aligned and outside core dumps', async (t) => {
  const buffer = ioBuffer(8192);
  t.equal(buffer.address % 4096, 0);
  const start = buffer.address.toString(16);
  const smaps = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const mapping = smaps.find((text) => {
    const [from = '', to = ''] = text.split(' ')[0]?.split('-') ?? [];
    const at = BigInt(`0x${start}`);
    return BigInt(`0x${from}`) <= at && at < BigInt(`0x${to}`);
  });
  t.match(mapping, /VmFlags:.* dd/, 'dd: do not include in core dump (proc(5))');
});

test('the clock goes forward in milliseconds', async (t) => {
  const first = systemClock.boottime();
  t.ok(systemClock.boottime() >= first);
  t.ok(Math.abs(systemClock.wall() - Date.now()) < 1000);
});
