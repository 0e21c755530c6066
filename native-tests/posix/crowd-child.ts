import { Random } from '../support/seeded.js';
import {
  content,
  DIRECTORIES,
  isContent,
  PROCESSES,
  record,
  STABLE,
  STRIPE,
  STRIPES,
  stripe,
  type Tally,
} from './crowd-content.js';
import { get, O, outcome, sys } from './sys.js';

/**
 * One of several processes that work in the same directories at once: `crowd-child.js DIRECTORY SEED INDEX STEPS`.
 * Says what it did as one line of JSON; what must hold for whoever looks is checked on the way.
 */
const [directory = '.', seedText, indexText, stepsText] = process.argv.slice(2);
const [seed, index, steps] = [Number(seedText), Number(indexText), Number(stepsText)];
process.chdir(directory);

const NOREPLACE = 1;
const EXCHANGE = 2;
const random = new Random(seed * 31 + index);
const tally: Tally = { names: 0, records: 0, stripes: {}, replaced: 0, wrong: [], done: {} };
const wrong = (what: string): void => {
  if (tally.wrong.length < 20) tally.wrong.push(what);
};
const holder = (): string => {
  const top = `d${random.below(DIRECTORIES)}`;
  return random.below(3) === 0 ? `${top}/e${random.below(3)}` : top;
};
/** Fewer names further down, so that directories are empty at times. */
const any = (): string => {
  const path = holder();
  return `${path}/n${random.below(path.includes('/') ? 2 : 8)}`;
};
const anyDirectory = (): string => `d${random.below(DIRECTORIES)}/e${random.below(3)}`;
let number = 0;
const names = (result: number, change: number): number => {
  if (result >= 0) tally.names += change;
  return result;
};
/** Writes everything, or says what happened. */
function store(fd: number, bytes: Buffer): number {
  const done = sys.write(fd, bytes);
  if (done !== bytes.length) wrong(`write of ${bytes.length}: ${done}`);
  sys.close(fd);
  return done;
}
function listed(path: string): string[] | undefined {
  const fd = sys.open(path, O.RDONLY | O.DIRECTORY);
  if (fd < 0) return undefined;
  const found: string[] = [];
  for (;;) {
    const length = sys.getdents(fd, 512);
    if (length <= 0) break;
    const bytes = sys.bytes(length);
    for (let at = 0; at < length; at += bytes.readUInt16LE(at + 16)) {
      found.push(bytes.toString('latin1', at + 19, bytes.indexOf(0, at + 19)));
    }
  }
  sys.close(fd);
  return found;
}

const operations: Record<string, () => number> = {
  create: () => {
    const fd = sys.open(any(), O.WRONLY | O.CREAT | O.EXCL, 0o644);
    if (fd < 0) return fd;
    tally.names++;
    return store(fd, content(index, ++number, random.below(40_000)));
  },
  unlink: () => names(sys.unlink(any()), -1),
  unlinkBelow: () => names(sys.unlink(`${anyDirectory()}/n${random.below(2)}`), -1),
  link: () => names(sys.link(any(), any()), 1),
  symlink: () => names(sys.symlink('../target', any()), 1),
  rename: () => sys.rename(any(), any(), NOREPLACE),
  exchange: () => sys.rename(any(), any(), EXCHANGE),
  mkdir: () => names(sys.mkdir(anyDirectory()), 1),
  rmdir: () => names(sys.rmdir(anyDirectory()), -1),
  renameDirectory: () => sys.rename(anyDirectory(), anyDirectory(), NOREPLACE),
  read: () => {
    const bytes = get(any());
    if (/^E[A-Z0-9]+$/.test(bytes)) {
      if (!['ENOENT', 'ENOTDIR', 'ELOOP', 'EISDIR'].includes(bytes)) wrong(`read: ${bytes}`);
      return -1;
    }
    if (!isContent(bytes, false)) wrong(`content of ${bytes.length} bytes: ${bytes.slice(0, 60)}`);
    return 0;
  },
  stat: () => {
    const found = sys.stat(any());
    if (typeof found === 'number') return found;
    // Unlinked meanwhile: then nothing is left that was found.
    if (found.nlink > PROCESSES * 200) wrong(`${found.nlink} links`);
    return 0;
  },
  // Whoever opens the name sees all of the old or all of the new.
  replace: () => {
    const fd = sys.open(`tmp${index}`, O.WRONLY | O.CREAT | O.TRUNC, 0o644);
    if (fd < 0) return fd;
    store(fd, content(index, ++tally.replaced, 100 + random.below(30_000)));
    return sys.rename(`tmp${index}`, `whole${index}`);
  },
  readWhole: () => {
    const bytes = get(`whole${random.below(PROCESSES)}`);
    if (bytes === 'ENOENT') return -2;
    if (!isContent(bytes, true)) wrong(`replaced: ${bytes.length} bytes, ${bytes.slice(0, 60)}`);
    return 0;
  },
  append: () => {
    const fd = sys.open('log', O.WRONLY | O.APPEND);
    return fd < 0 ? fd : store(fd, Buffer.from(record(index, ++tally.records)));
  },
  stripe: () => {
    const at = index + PROCESSES * random.below(STRIPES / PROCESSES);
    const fd = sys.open('stripes', O.RDWR);
    if (fd < 0) return fd;
    const held = tally.stripes[at];
    const length = sys.pread(fd, STRIPE, at * STRIPE);
    if (held !== undefined && !sys.bytes(Math.max(0, length)).equals(stripe(index, at, held)))
      wrong(`stripe ${at}`);
    const bytes = stripe(index, at, ++number);
    const done = sys.pwrite(fd, bytes, at * STRIPE);
    if (done === STRIPE) tally.stripes[at] = number;
    else wrong(`stripe ${at}: ${done}`);
    sys.close(fd);
    return done;
  },
  list: () => {
    const found = listed(`d${random.below(DIRECTORIES)}`);
    if (found === undefined) wrong('a directory that nobody removes is gone');
    else {
      for (let i = 0; i < STABLE; i++) {
        const times = found.filter((name) => name === `stable${i}`).length;
        if (times !== 1) wrong(`stable${i} was listed ${times} times`);
      }
    }
    return 0;
  },
};

const kinds = Object.keys(operations);
const FORBIDDEN = new Set(['EIO', 'ESTALE', 'ENOKEY', 'ENOSYS', 'EBADF', 'ENOMEM']);
for (let step = 0; step < steps; step++) {
  const kind = random.pick(kinds);
  const result = (operations[kind] as () => number)();
  if (result >= 0) tally.done[kind] = (tally.done[kind] ?? 0) + 1;
  else if (FORBIDDEN.has(outcome(result))) wrong(`${kind}: ${outcome(result)}`);
}
process.stdout.write(`${JSON.stringify(tally)}\n`);
