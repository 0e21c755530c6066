import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';
import ts from 'typescript';

/**
 * The rooms of src/ in import order (DESIGN.md): a file imports only what stands above it here, types and worker files
 * started by name included. A room's own files come before (`< inner`) or after (`inner <`) its inner rooms.
 */
const ROOMS: readonly string[] = [
  'base',
  'libc',
  'crypto',
  'format',
  'format/volume',
  'format/names',
  'format/file',
  'format/scope',
  'store',
  'keyring',
  'keyring/slots',
  'keyring/shares',
  'keyring/leases',
  'filesystem/contract.ts',
  'filesystem/events.ts',
  'filesystem/disk',
  'filesystem/inodes',
  'filesystem/content',
  'filesystem/names',
  'filesystem/handles',
  'filesystem/scopes',
  'filesystem',
  'fuse/mount-table.ts',
  'fuse/abi',
  'fuse',
  'fuse/native',
  'control',
  'control/client',
  'worker/messages.ts',
  'worker/leases',
  'worker',
  'service/secrets',
  'service/scopes/scope-paths.ts',
  'service/audit',
  'service/vault',
  'service/scopes',
  'service/slots',
  'service/leases',
  'service/shred',
  'service',
  'daemon',
  'cli/output.ts',
  'cli/secrets',
  'cli',
  'cli/verbs',
  'cli/verbs.ts',
  'cli/main.ts',
];
/** Packages and who alone may import them. */
const OWNERS: Record<string, string> = {
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
  '@cfworker/json-schema': 'control',
  commander: 'cli',
  pino: 'daemon',
};
/** May load a package by a name of their own: fuse-native is CommonJS, optional, and loaded by who chooses that transport. */
const LOADERS = ['fuse/native/binding.ts'];
const MOST_FILES = 25;

const source = join(fileURLToPath(new URL('../../../', import.meta.url)), 'src');
const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .sort();
/** What only tests load: tests, their rigs, and the processes that they start. */
const isTest = (name: string): boolean => /(^|\/)(test\/|test-)|\.test\.ts$/.test(name);

/** What a file names: specifiers of imports and exports, types too, and of files that it starts; and what it must not do. */
function looked(name: string): { specifiers: string[]; refused: string[] } {
  const text = readFileSync(join(source, name), 'utf8');
  const specifiers: string[] = [];
  const refused: string[] = [];
  const take = (node: ts.Node | undefined): void => {
    if (node !== undefined && ts.isStringLiteralLike(node)) specifiers.push(node.text);
    else refused.push(`a computed specifier: ${node?.getText()}`);
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) take(node.moduleSpecifier);
    else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) take(node.moduleSpecifier);
    else if (ts.isImportTypeNode(node)) take((node.argument as ts.LiteralTypeNode).literal);
    else if (ts.isImportEqualsDeclaration(node)) refused.push('import = require');
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      take(node.arguments[0]);
    } else if (ts.isNewExpression(node) && /import\.meta\.url/.test(node.arguments?.[1]?.getText() ?? '')) {
      take(node.arguments?.[0]);
    } else if (ts.isIdentifier(node) && node.text === 'createRequire') {
      if (!LOADERS.includes(name)) refused.push('createRequire');
    } else if (ts.isMetaProperty(node) && !/^import\.meta\.url/.test(node.parent.getText())) {
      refused.push(node.parent.getText());
    }
    ts.forEachChild(node, visit);
  };
  const file = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true);
  for (const { fileName } of file.referencedFiles) refused.push(`a reference to ${fileName}`);
  visit(file);
  for (const one of specifiers) {
    if (one.startsWith('.') && /\.ts$|\?/.test(one)) refused.push(one);
  }
  return { specifiers, refused };
}
const looks = new Map(files.map((name) => [name, looked(name)]));
const specifiers = (name: string): string[] => looks.get(name)?.specifiers ?? [];
/** The files of src/ that a file imports, or starts by name. */
const graph = new Map(
  files.map((name) => [
    name,
    specifiers(name)
      .filter((one) => one.startsWith('.') && one.endsWith('.js'))
      .map((one) => `${relative(source, join(source, dirname(name), one)).slice(0, -3)}.ts`)
      .filter((target) => files.includes(target)),
  ]),
);

/** Where a file stands in {@link ROOMS}: by its own name, or by the deepest room that it lies in. */
function rank(name: string): number {
  for (let at = name; at !== '.'; at = dirname(at)) {
    const found = ROOMS.indexOf(at);
    if (found >= 0) return found;
  }
  return -1;
}

test('every file imports only what stands above it', async (t) => {
  t.ok(files.length > 200, 'the test sees the sources');
  for (const name of files) t.ok(isTest(name) || rank(name) >= 0, `${name} is in a room`);
  for (const [name, imported] of graph) {
    for (const target of imported) {
      if (isTest(name)) {
        const room = (of: string): number => ROOMS.findIndex((one) => one.split('/')[0] === of.split('/')[0]);
        if (room(target) > room(name)) t.fail(`${name} imports ${target}, of a later room`);
      } else if (isTest(target)) t.fail(`${name} imports ${target}, which is for tests`);
      else if (rank(target) > rank(name)) t.fail(`${name} imports ${target}, which stands below it`);
    }
  }
});

test('a file says by literals what it imports and starts, so that these tests see it', async (t) => {
  for (const [name, { refused }] of looks) if (!isTest(name)) t.same(refused, [], name);
});

test('no circle of files', async (t) => {
  const done = new Set<string>();
  const visit = (name: string, path: readonly string[]): void => {
    if (path.includes(name)) {
      t.fail([...path.slice(path.indexOf(name)), name].join(' -> '));
      return;
    }
    if (done.has(name)) return;
    for (const target of graph.get(name) ?? []) visit(target, [...path, name]);
    done.add(name);
  };
  for (const name of files) visit(name, []);
  t.ok(done.size === files.length, 'looked at all');
});

test('each package is imported by one room only', async (t) => {
  for (const name of files.filter((file) => !file.endsWith('.test.ts'))) {
    const [room] = name.split('/') as [string];
    for (const imported of specifiers(name)) {
      const parts = imported.split('/').slice(0, imported.startsWith('@') ? 2 : 1);
      const owner = OWNERS[parts.join('/')];
      if (owner !== undefined && owner !== room) t.fail(`${name} imports ${imported}: only ${owner}/ may`);
    }
  }
  t.pass('looked at all');
});

test(`no folder has more than ${MOST_FILES} files, and every room has a README`, async (t) => {
  const folders = new Map<string, number>();
  for (const name of files) folders.set(dirname(name), (folders.get(dirname(name)) ?? 0) + 1);
  for (const [folder, count] of folders) t.ok(count <= MOST_FILES, `${folder}: ${count} files`);
  for (const room of new Set(ROOMS.map((one) => one.split('/')[0] as string))) {
    const text = readFileSync(join(source, room, 'README.md'), 'utf8');
    t.ok(text.startsWith(`# ${room}/`), room);
    t.ok(text.split('\n').length <= 70, `${room}: at most a page`);
  }
});
