import { test } from 'tap';
import { Failure } from '../../base/failure.js';
import { ANY, parseVisibility, visibilityText } from './visibility.js';

test('visibility reads what it writes, each once and in one order', async (t) => {
  t.same(parseVisibility('any'), ANY);
  t.equal(visibilityText(ANY), 'any');
  const mixed = parseVisibility('uid:1000,tree:42,cgroup:/a/b/,unit:mail@x.service,gid:5,uid:1000');
  t.equal(visibilityText(mixed), 'cgroup:/a/b,gid:5,tree:42,uid:1000,unit:mail@x.service');
  t.same(parseVisibility(visibilityText(mixed)), mixed);
  t.equal(visibilityText(parseVisibility('uid:007')), 'uid:7', 'the same id is the same caller');
  t.equal(visibilityText(parseVisibility('cgroup:/')), 'cgroup:/');
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
      parseVisibility(bad);
      t.fail(`took ${bad}`);
    } catch (error) {
      t.ok(error instanceof Failure && error.code === 'usage', bad);
    }
  }
});
