import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { errnoName } from '../../src/base/errno.js';
import { libcFunction, result, viewAt } from '../../src/libc/ffi.js';
import { pinned } from '../../src/libc/memory.js';
import { MAP_PRIVATE, MAP_SHARED, map, PAGE, prot, unmap } from '../support/board.js';
import { AsyncWriter } from './aio.js';
import { alice, bob, get, O, outcome, put, sys, withFd } from './sys.js';

/** As scenarios.ts, of what the kernel keeps for every filesystem, and must be told the truth for: watches, locks, mappings. */
export const kernelScenarios: Record<string, () => unknown> = {};

export const BEHIND_THE_END = 'what a mapping stores behind the end of the file is gone when the file grows';

const inotifyInit = libcFunction('inotify_init1', 'i', 'i');
const inotifyAdd = libcFunction('inotify_add_watch', 'i', 'ipu');
const fcntlCall = libcFunction('fcntl', 'i', 'iip');
const readCall = libcFunction('read', 'l', 'ipp');
const buffer = pinned(65_536);
const path = pinned(4096);
const spare = pinned(2 * PAGE);
const skip = (PAGE - (spare.address % PAGE)) % PAGE;
const aligned = { address: spare.address + skip, bytes: spare.bytes.subarray(skip) };

/** inotify(7): names of the bits that programs act on. */
const EVENTS: readonly (readonly [number, string])[] = [
  [0x2, 'modify'],
  [0x4, 'attrib'],
  [0x8, 'close write'],
  [0x10, 'close'],
  [0x20, 'open'],
  [0x40, 'moved from'],
  [0x80, 'moved to'],
  [0x100, 'create'],
  [0x200, 'delete'],
  [0x400, 'delete self'],
  [0x800, 'move self'],
  [0x8000, 'ignored'],
  [0x4000_0000, 'directory'],
];
function watch(fd: number, name: string): number {
  path.bytes[path.bytes.write(name, 0, 'latin1')] = 0;
  return result(inotifyAdd(fd, path.address, 0xfff));
}
/** What was seen since the last call: the watch, the event and the name; cookies of moves as pairs. */
function events(fd: number): string[] {
  const length = result(readCall(fd, buffer.address, 65_536));
  const seen: string[] = [];
  const cookies: number[] = [];
  for (let at = 0; at < length; ) {
    const mask = buffer.bytes.readUInt32LE(at + 4);
    const cookie = buffer.bytes.readUInt32LE(at + 8);
    const room = buffer.bytes.readUInt32LE(at + 12);
    const name = buffer.bytes.toString('latin1', at + 16, at + 16 + room).replace(/\0+$/, '');
    if (cookie !== 0 && !cookies.includes(cookie)) cookies.push(cookie);
    const what = EVENTS.filter(([bit]) => (mask & bit) !== 0).map(([, text]) => text);
    const pair = cookie === 0 ? '' : ` (move ${cookies.indexOf(cookie)})`;
    seen.push(`${buffer.bytes.readInt32LE(at)}: ${what.join(' ')} ${name}${pair}`);
    at += 16 + room;
  }
  return seen;
}

kernelScenarios['inotify tells of a directory and of a file what happens to them'] = () => {
  sys.mkdir('d');
  sys.mkdir('e');
  put('d/f', 'content');
  const fd = result(inotifyInit(O.NONBLOCK));
  const seen: unknown[] = [watch(fd, 'd'), watch(fd, 'd/f'), watch(fd, 'e')];
  const steps: (() => unknown)[] = [
    () => put('d/new', 'x'),
    () => withFd('d/f', O.WRONLY, (file) => sys.write(file, 'more')),
    () => withFd('d/f', O.RDONLY, (file) => sys.read(file, 3)),
    () => sys.truncate('d/f', 1),
    () => sys.chmod('d/f', 0o600),
    () => sys.utimes('d/f', [1, 0], [2, 0]),
    () => sys.rename('d/new', 'd/other'),
    () => sys.rename('d/other', 'e/moved'),
    () => sys.rename('e/moved', 'd/f'),
    () => sys.link('d/f', 'e/linked'),
    () => sys.symlink('x', 'd/l'),
    () => sys.mkdir('d/sub'),
    () => sys.rmdir('d/sub'),
    () => sys.unlink('e/linked'),
    () => sys.unlink('d/f'),
    () => sys.unlink('d/l'),
    () => sys.rmdir('d'),
  ];
  for (const step of steps) {
    step();
    seen.push(events(fd));
  }
  sys.close(fd);
  return seen;
};

/** fcntl(2): struct flock. */
const [F_GETLK, F_SETLK, F_OFD_GETLK, F_OFD_SETLK] = [5, 6, 36, 37];
const [F_RDLCK, F_WRLCK, F_UNLCK] = [0, 1, 2];
function lock(fd: number, command: number, type: number, start: number, length: number): string {
  buffer.bytes.fill(0, 0, 32);
  buffer.bytes.writeInt16LE(type, 0);
  buffer.bytes.writeBigInt64LE(BigInt(start), 8);
  buffer.bytes.writeBigInt64LE(BigInt(length), 16);
  const done = result(fcntlCall(fd, command, buffer.address));
  if (done < 0) return errnoName(-done);
  if (command !== F_GETLK && command !== F_OFD_GETLK) return 'ok';
  const [found, from, held] = [
    buffer.bytes.readInt16LE(0),
    buffer.bytes.readBigInt64LE(8),
    buffer.bytes.readBigInt64LE(16),
  ];
  return found === F_UNLCK ? 'free' : `${found === F_RDLCK ? 'read' : 'write'} ${from}+${held}`;
}
/** What another process is told of a lock. */
function elsewhere(program: string): string {
  const done = spawnSync('python3', ['-c', `import fcntl,os,errno\nf=os.open('f',os.O_RDWR)\n${program}`], {
    encoding: 'utf8',
  });
  return `${done.stdout.trim()}${done.stderr.trim().split('\n').at(-1)}`;
}
const attempt = (call: string): string =>
  `try:\n  ${call}; print('ok')\nexcept OSError as e: print(errno.errorcode[e.errno])`;

kernelScenarios['locks: of a file, of ranges by process and by open file, and what ends them'] = () => {
  put('f', 'x'.repeat(1000));
  const [one, other] = [sys.open('f', O.RDWR), sys.open('f', O.RDWR)];
  const seen: unknown[] = [
    outcome(sys.flock(one, 2)),
    outcome(sys.flock(other, 1 | 4)),
    elsewhere(attempt('fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)')),
    outcome(sys.flock(one, 1)),
    outcome(sys.flock(other, 1 | 4)),
    elsewhere(attempt('fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)')),
    outcome(sys.flock(one, 8)),
    outcome(sys.flock(other, 8)),
    lock(one, F_SETLK, F_WRLCK, 0, 100),
    // A process's own locks do not conflict.
    lock(other, F_SETLK, F_WRLCK, 50, 100),
    elsewhere(attempt('fcntl.lockf(f, fcntl.LOCK_SH | fcntl.LOCK_NB, 10, 140)')),
    elsewhere(attempt('fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 150)')),
    lock(one, F_OFD_SETLK, F_RDLCK, 200, 100),
    lock(other, F_OFD_SETLK, F_RDLCK, 250, 100),
    lock(other, F_OFD_SETLK, F_WRLCK, 240, 20),
    lock(other, F_OFD_GETLK, F_WRLCK, 240, 20),
    lock(one, F_OFD_SETLK, F_UNLCK, 0, 0),
    lock(other, F_OFD_SETLK, F_WRLCK, 240, 20),
    elsewhere(attempt('fcntl.lockf(f, fcntl.LOCK_SH | fcntl.LOCK_NB, 10, 245)')),
  ];
  // The last close of an open file ends its own locks, and any close those of the process.
  sys.close(other);
  seen.push(
    elsewhere(attempt('fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 245)')),
    elsewhere(attempt('fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)')),
  );
  sys.close(one);
  return seen;
};

kernelScenarios['mappings: shared ones are the file, private ones are not'] = () => {
  put('f', 'a'.repeat(3 * PAGE - 10));
  const length = 3 * PAGE;
  const fd = sys.open('f', O.RDWR);
  const readOnly = sys.open('f', O.RDONLY);
  const seen: unknown[] = [
    outcome(map(readOnly, length, prot.READ | prot.WRITE, MAP_SHARED)),
    outcome(unmap(map(readOnly, length, prot.READ | prot.WRITE, MAP_PRIVATE), length)),
  ];
  const shared = map(fd, length, prot.READ | prot.WRITE, MAP_SHARED);
  if (shared < 0) return outcome(shared);
  const again = map(readOnly, length, prot.READ, MAP_SHARED);
  const own = map(fd, length, prot.READ | prot.WRITE, MAP_PRIVATE);
  const [mine, theirs, copy] = [viewAt(shared, length), viewAt(again, length), viewAt(own, length)];
  const look = (): string =>
    [mine, theirs, copy].map((view) => `${view.toString('latin1', PAGE - 2, PAGE + 2)}`).join(' ');
  seen.push(look());
  mine.write('SHAR', PAGE - 2, 'latin1');
  seen.push(look(), get('f').slice(PAGE - 2, PAGE + 2));
  copy.write('PRIV', PAGE - 2, 'latin1');
  seen.push(look(), get('f').slice(PAGE - 2, PAGE + 2));
  sys.pwrite(fd, 'CALL', PAGE - 2);
  seen.push(look());
  // A name that is gone, and closed descriptors, change nothing.
  sys.unlink('f');
  sys.close(fd);
  sys.close(readOnly);
  mine.write('GONE', 0, 'latin1');
  seen.push(theirs.toString('latin1', 0, 4));
  for (const address of [shared, again, own]) seen.push(outcome(unmap(address, length)));
  return seen;
};

kernelScenarios[BEHIND_THE_END] = () => {
  put('f', 'a'.repeat(PAGE - 10));
  const fd = sys.open('f', O.RDWR);
  const address = map(fd, PAGE, prot.READ | prot.WRITE, MAP_SHARED);
  if (address < 0) return outcome(address);
  const view = viewAt(address, PAGE);
  const seen: unknown[] = [view[PAGE - 1], sys.fstat(fd).size];
  view[PAGE - 1] = 120;
  sys.ftruncate(fd, PAGE);
  seen.push(get('f').charCodeAt(PAGE - 1), sys.fstat(fd).size, outcome(unmap(address, PAGE)));
  sys.close(fd);
  return seen;
};

/** Interval timers that interrupt calls, without SA_RESTART: errors of calls on files, by name. */
const INTERRUPTED = `
use Time::HiRes qw(ualarm); use Fcntl; use POSIX qw(sigaction SIGALRM);
my $alarms = 0;
my $action = POSIX::SigAction->new(sub { $alarms++ }, POSIX::SigSet->new, 0); $action->safe(1);
sigaction(SIGALRM, $action);
my %errors; my $note = sub { $errors{$!+0}++ unless $_[0] };
ualarm(300, 300);
for my $i (1..400) {
  $note->(sysopen(my $f, "s$i", O_RDWR | O_CREAT, 0644));
  $note->(syswrite($f, "y" x 40000)); $note->(sysseek($f, 0, 0)); $note->(sysread($f, my $got, 40000));
  $note->(length($got // "") == 40000); $note->(truncate($f, 10)); $note->(close($f));
  $note->(rename("s$i", "t$i")); my @s = stat("t$i"); $note->(@s > 0); $note->(mkdir("e$i")); $note->(rmdir("e$i"));
  $note->(unlink("t$i"));
}
ualarm(0); print $alarms > 20 ? "interrupted" : "not interrupted", " ", join(",", %errors);
`;
kernelScenarios['signals interrupt no call on a file'] = () => {
  const done = spawnSync('perl', ['-e', INTERRUPTED], { encoding: 'utf8' });
  return done.stdout;
};

/** What was written to a file whose times are still to be written back, and which is deleted, is nobody's error. */
kernelScenarios['syncfs after files were deleted'] = () => {
  const seen: unknown[] = [];
  for (const name of ['f', 'g']) {
    put(name, 'content');
    if (name === 'g') sys.link('g', 'h');
    sys.unlink(name);
    const done = spawnSync('sync', ['-f', '.'], { encoding: 'utf8' });
    seen.push([done.status, done.stderr]);
  }
  return seen;
};

/**
 * The mode alone (statx(2) with STATX_MODE), as `stat -c %a` and the kernel's execve ask for it, after calls that clear
 * set-user-id: the kernel asks again for what a write changes by itself, times and size.
 */
kernelScenarios['the mode alone after writes that clear set-user-id, and what an exec makes of it'] = () => {
  const { uid, gid } = alice;
  const seen: unknown[] = [];
  const direct = 'if=/dev/zero of=f bs=4096 count=1 conv=notrunc status=none oflag=direct';
  for (const command of [
    `dd ${direct}`,
    `dd ${direct} bs=1M`,
    'dd if=/dev/zero of=f bs=100 count=1 conv=notrunc status=none',
    'fallocate -l 100000 f',
    'fallocate -p -o 4096 -l 4096 f',
    'fallocate -z -o 0 -l 4096 f',
    'truncate -s 8192 f',
    'dd if=/dev/null of=f status=none',
  ]) {
    // One that asks who runs it: its first page stays as it is only where the call leaves it alone.
    sys.unlink('f');
    copyFileSync('/usr/bin/id', 'f');
    sys.chown('f', uid, gid);
    sys.chmod('f', 0o6755);
    const mode = (): string => spawnSync('stat', ['-c', '%a', 'f'], { encoding: 'utf8' }).stdout.trim();
    const before = mode();
    const [program = '', ...options] = command.split(' ');
    const done = spawnSync(program, options, { uid, gid, encoding: 'utf8' });
    seen.push([command, before, done.status, done.stderr, mode()]);
  }
  // Content as it was, bits cleared by a direct write of the same page.
  sys.unlink('f');
  copyFileSync('/usr/bin/id', 'f');
  sys.chown('f', uid, gid);
  sys.chmod('f', 0o6755);
  const [other, first] = [
    { uid: bob.uid, gid: bob.gid, encoding: 'utf8' } as const,
    'if=/usr/bin/id of=f bs=4096',
  ];
  const effective = (): string => spawnSync('./f', ['-u'], other).stdout;
  seen.push(effective());
  const args = [...first.split(' '), 'count=1', 'conv=notrunc', 'status=none', 'oflag=direct'];
  spawnSync('dd', args, { uid, gid });
  seen.push(effective());
  return seen;
};

/** A database with asynchronous direct writes (InnoDB), and a backup that reads by the page cache meanwhile. */
kernelScenarios['what an asynchronous direct write has written is what others read'] = () => {
  put('f', 'o'.repeat(16 * PAGE));
  const direct = sys.open('f', O.RDWR | O.DIRECT);
  if (direct < 0) return outcome(direct);
  const reader = sys.open('f', O.RDONLY);
  const read = 'open F, "<", "f"; while (1) { sysseek F, 0, 0; sysread F, $x, 65536 }';
  const others = spawn('perl', ['-e', read], { stdio: 'ignore' });
  const writer = new AsyncWriter();
  const seen = { failed: 0, stale: 0 };
  for (let round = 0; round < 400; round++) {
    const at = (round % 16) * PAGE;
    aligned.bytes.fill(round % 251, 0, PAGE);
    if (writer.write(direct, aligned.address, PAGE, at) !== PAGE) seen.failed++;
    sys.pread(reader, PAGE, at);
    if (sys.bytes(1)[0] !== round % 251) seen.stale++;
  }
  others.kill('SIGKILL');
  writer.close();
  sys.close(reader);
  sys.close(direct);
  return seen;
};
