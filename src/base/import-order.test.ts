import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';

/** The rooms of src/ in import order (DESIGN.md): a room imports only rooms above it, types too. */
const rooms = [
  'base',
  'libc',
  'crypto',
  'format',
  'store',
  'keyring',
  'filesystem',
  'fuse',
  'control',
  'daemon',
  'cli',
];
/** Packages and who alone may import them. */
const owners: Record<string, string> = {
  koffi: 'libc',
  'fuse-native': 'fuse',
  '@noble/post-quantum': 'crypto',
  'shamir-secret-sharing': 'crypto',
  'temporal-polyfill': 'keyring',
  'age-encryption': 'cli',
  'better-sqlite3': 'store',
  hono: 'control',
  '@hono/node-server': 'control',
  zod: 'control',
  commander: 'cli',
  pino: 'daemon',
};

const source = join(fileURLToPath(new URL('../../../', import.meta.url)), 'src');
const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((name) =>
  name.endsWith('.ts'),
);
const imports = (name: string): string[] =>
  [...readFileSync(join(source, name), 'utf8').matchAll(/(?:from|import\()\s*'([^']+)'/g)].map(
    (match) => match[1] as string,
  );

test('every room imports only rooms above it', async (t) => {
  t.ok(files.length > 50, 'the test sees the sources');
  for (const name of files) {
    const [room] = name.split('/') as [string];
    t.ok(rooms.includes(room), `${name} is in a room`);
    for (const imported of imports(name).filter((specifier) => specifier.startsWith('.'))) {
      const target = relative(source, join(source, dirname(name), imported)).split('/')[0] as string;
      if (rooms.indexOf(target) > rooms.indexOf(room)) t.fail(`${name} imports ${imported}`);
    }
  }
});

test('each package is imported by one room only', async (t) => {
  for (const name of files.filter((file) => !file.endsWith('.test.ts'))) {
    const [room] = name.split('/') as [string];
    for (const imported of imports(name)) {
      const parts = imported.split('/').slice(0, imported.startsWith('@') ? 2 : 1);
      const owner = owners[parts.join('/')];
      if (owner !== undefined && owner !== room) t.fail(`${name} imports ${imported}: only ${owner}/ may`);
    }
  }
  t.pass('looked at all');
});

test('every room has a README', async (t) => {
  for (const room of rooms) {
    const text = readFileSync(join(source, room, 'README.md'), 'utf8');
    t.ok(text.startsWith(`# ${room}/`), room);
    t.ok(text.split('\n').length <= 70, `${room}: at most a page`);
  }
});
