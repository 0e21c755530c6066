import { test } from 'tap';
import { ByteReader, ByteWriter } from './cursor.js';
import { parseDuration } from './duration.js';
import { check, Errno, errnoName } from './errno.js';
import { Failure, isFailureCode } from './failure.js';
import { freshId, isId, type ScopeId, scopeId } from './ids.js';

test('a cursor reads what another wrote; past the end it is short, and stays so', async (t) => {
  const bytes = Buffer.alloc(32);
  const writer = new ByteWriter(bytes)
    .u8(1)
    .u16(2)
    .u32(3)
    .i32(-4)
    .u64(2 ** 53 - 1);
  writer.bytes(Buffer.from('ab\0'));
  t.equal(writer.at, 22);
  const reader = new ByteReader(bytes);
  t.same([reader.u8(), reader.u16(), reader.u32(), reader.i32(), reader.u64()], [1, 2, 3, -4, 2 ** 53 - 1]);
  t.equal(reader.cstring(), 'ab');
  t.equal(reader.left, 10);
  t.notOk(reader.short);
  t.equal(reader.bytes(11).length, 0);
  t.ok(reader.short);
  t.equal(reader.u8(), 0, 'nothing is read after that');
  t.throws(() => writer.bytes(Buffer.alloc(11)), RangeError);
  t.throws(() => writer.u64(-1), RangeError);
  t.throws(() => writer.u64(2 ** 53), RangeError);
  t.ok(Number.isNaN(new ByteReader(Buffer.alloc(8, 0xff)).u64()), 'a number beyond 2^53 is none');
  const open = new ByteReader(Buffer.from('no end'));
  t.equal(open.cstring(), '');
  t.ok(open.short);
});

test('durations are a number and a unit, nothing else', async (t) => {
  t.same(['30s', '15m', '2h', '1d'].map(parseDuration), [30_000, 900_000, 7_200_000, 86_400_000]);
  for (const text of ['', '5', 's', '1.5h', '-1s', '0s', '1w', '1s ', '99999999999s', '3651d']) {
    t.throws(() => parseDuration(text), { code: 'usage' }, JSON.stringify(text));
  }
});

test('errors name the call, its subject and the errno', async (t) => {
  t.equal(check(5, 'read'), 5);
  t.throws(() => check(-28, 'pwrite', 'file'), { message: 'pwrite file: ENOSPC', number: 28 });
  t.equal(new Errno(999, 'x').code, 'errno 999');
  t.equal(errnoName(126), 'ENOKEY');
});

test('a failure has one code, and from it its statuses', async (t) => {
  const exits = {
    usage: 2,
    locked: 3,
    not_found: 4,
    bad_key: 5,
    input_required: 5,
    forbidden: 6,
    busy: 7,
    conflict: 8,
    integrity: 9,
    unreachable: 10,
    throttled: 12,
    internal: 1,
  } as const;
  for (const [code, exit] of Object.entries(exits)) {
    t.ok(isFailureCode(code));
    t.equal(new Failure(code as keyof typeof exits, 'x').exitStatus, exit, code);
  }
  t.equal(new Failure('locked', 'x').httpStatus, 423);
  t.equal(new Failure('busy', 'x').httpStatus, 409);
  t.equal(new Failure('no_space', 'x').httpStatus, 507);
  t.notOk(isFailureCode('toString'));
});

test('ids are 32 characters of lower-case hexadecimal', async (t) => {
  const id = freshId<ScopeId>();
  t.ok(isId(id));
  t.not(freshId<ScopeId>(), id);
  for (const text of ['', 'g'.repeat(32), 'A'.repeat(32), `${id}0`])
    t.throws(() => scopeId(text), RangeError);
});

test('a failure of a thing within another names both, and is the same otherwise', async (t) => {
  const cause = new Error('EIO');
  const inner = new Failure('integrity', 'slot 2 is damaged', {
    reason: 'slot_unlisted',
    details: { slot: 2 },
    cause,
  });
  t.match(inner.of('/users/alice'), {
    code: 'integrity',
    message: '/users/alice: slot 2 is damaged',
    reason: 'slot_unlisted',
    details: { slot: 2 },
    cause,
  });
  t.equal(new Failure('io', 'x').of('/a').reason, undefined);
});
