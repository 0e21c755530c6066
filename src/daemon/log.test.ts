import { test } from 'tap';
import { SecretInput, SecretMemory } from '../libc/memory.js';
import { openLog } from './log.js';

function written(journal: boolean): { lines: string[]; log: ReturnType<typeof openLog> } {
  const lines: string[] = [];
  return { lines, log: openLog(journal, { write: (line) => lines.push(line) }) };
}

test('a line is one JSON object with time, level, text and facts', async (t) => {
  const { lines, log } = written(false);
  log.warn('repaired\nfile', { path: '/a/b', before: 7 });
  t.equal(lines.length, 1);
  t.ok(lines[0]?.endsWith('}\n'));
  t.match(JSON.parse(lines[0] as string), {
    level: 'warn',
    time: /^\d{4}-\d\d-\d\dT/,
    msg: 'repaired\nfile',
    path: '/a/b',
    before: 7,
  });
});

test('for the journal a line begins with its priority', async (t) => {
  const { lines, log } = written(true);
  log.info('i');
  log.warn('w');
  log.error('e', { error: new Error('why') });
  t.same(
    lines.map((line) => line.slice(0, 4)),
    ['<6>{', '<4>{', '<3>{'],
  );
  t.match(JSON.parse((lines[2] as string).slice(3)), { error: { message: 'why' } });
});

test('secrets are redacted by their type, however deep they lie', async (t) => {
  const { lines, log } = written(false);
  const memory = new SecretMemory(16);
  const secret = memory.allocate(32);
  const input = new SecretInput();
  input.append(Buffer.from('hunter2'));
  log.error('x', { secret, deep: { list: [input] } });
  t.match(JSON.parse(lines[0] as string), { secret: '[secret]', deep: { list: ['[secret]'] } });
  t.notMatch(lines[0], /hunter2/);
});
