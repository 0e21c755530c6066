import { test } from 'tap';
import { Failure } from '../../base/failure.js';
import { anything } from './test-callers.js';
import { ANY, parseVisibility, type Visibility, visibilityText } from './visibility.js';

const parse = (text: string): Visibility => parseVisibility(text, anything);

test('visibility reads what it writes, each once and in one order', async (t) => {
  t.same(parse('any'), ANY);
  t.equal(visibilityText(ANY), 'any');
  const mixed = parse('uid:1000,tree:42,cgroup:/a/b/,unit:mail@x.service,gid:5,uid:1000');
  t.equal(visibilityText(mixed), 'cgroup:/a/b,gid:5,tree:42,uid:1000,unit:mail@x.service');
  t.same(parse(visibilityText(mixed)), mixed);
  t.equal(visibilityText(parse('uid:007')), 'uid:7', 'the same id is the same caller');
  t.equal(visibilityText(parse('cgroup:/')), 'cgroup:/');
});

test('what is not a kind of caller is refused by name', async (t) => {
  for (const bad of [
    '',
    'uid',
    'uid:',
    'uid:-1',
    'uid:4294967295',
    'uid:99999999999',
    'uid:1e3',
    'uid:0x10',
    'tree:0',
    'tree:me',
    'cgroup:a',
    'cgroup:/a/../b',
    'unit:mail',
    'unit:../x.service',
    'unit:user.slice',
    'any,uid:1',
    'uid:1,',
    'pid:3',
  ]) {
    try {
      parse(bad);
      t.fail(`took ${bad}`);
    } catch (error) {
      t.ok(error instanceof Failure && error.code === 'usage', bad);
    }
  }
});

test('what is named is judged, each once, and stands for what it is', async (t) => {
  const asked: unknown[] = [];
  const text = visibilityText(
    parseVisibility('tree:5,tree:self,cgroup:/a/,unit:a.service,uid:3', {
      process: (named) => {
        asked.push(named);
        return { id: named === 'self' ? 70 : named * 10, started: 1 };
      },
      cgroup: (path) => asked.push(path),
      unit: (name) => asked.push(name),
    }),
  );
  t.same(asked, [5, 'self', '/a', 'a.service']);
  t.equal(text, 'cgroup:/a,tree:50,tree:70,uid:3,unit:a.service');
});
