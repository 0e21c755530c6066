import { test } from 'tap';
import { Failure } from '../../base/failure.js';
import { freshId, type ScopeId } from '../../base/ids.js';
import { GuessLine, MOST_WAITING } from './guess-line.js';

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('one at a time, in order, and each scope for itself', async (t) => {
  const line = new GuessLine();
  const [a, b] = [freshId<ScopeId>(), freshId<ScopeId>()];
  const ends: (() => void)[] = [];
  const began: string[] = [];
  const work = (name: string) => () => {
    began.push(name);
    return new Promise<string>((resolve) => ends.push(() => resolve(name)));
  };
  const all = [line.run(a, 1, work('a1')), line.run(a, 1, work('a2')), line.run(b, 1, work('b1'))];
  await tick();
  t.same(began, ['a1', 'b1']);
  ends[0]?.();
  await tick();
  t.same(began, ['a1', 'b1', 'a2']);
  for (const end of ends) end();
  t.same(await Promise.all(all), ['a1', 'a2', 'b1']);
  await t.rejects(
    line.run(a, 1, () => Promise.reject(new Error('failed'))),
    { message: 'failed' },
  );
  t.equal(await line.run(a, 1, async () => 'next'), 'next', 'a failure gives the turn on');
});

test('of too many, one of the process with the most is refused: who comes alone gets his turn', async (t) => {
  const line = new GuessLine();
  const scope = freshId<ScopeId>();
  let release: () => void = () => {};
  const first = line.run(scope, 1, () => new Promise<void>((resolve) => (release = resolve)));
  const outcome = (work: Promise<string>): Promise<string> =>
    work.catch((error) => (error instanceof Failure ? error.code : 'other'));
  const loud = Array.from({ length: 20 }, () => outcome(line.run(scope, 1, async () => 'tried')));
  const alone = outcome(line.run(scope, 2, async () => 'tried'));
  const more = Array.from({ length: 20 }, () => outcome(line.run(scope, 1, async () => 'tried')));
  await tick();
  release();
  await first;
  t.equal(await alone, 'tried');
  const results = await Promise.all([...loud, ...more]);
  t.equal(results.filter((one) => one === 'tried').length, MOST_WAITING - 1);
  t.equal(results.filter((one) => one === 'throttled').length, 40 - (MOST_WAITING - 1));
});
