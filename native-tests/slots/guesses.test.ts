import { randomBytes } from 'node:crypto';
import { Agent, request } from 'node:http';
import { type Test, test } from 'tap';
import { Failure } from '../../src/base/failure.js';
import { SecretInput } from '../../src/libc/memory.js';
import { Rig, sleep } from '../support/probe.js';

/** Who guesses, and who has the right key beside him: the same user, and the same process (a web service). */

const WORD = 'grüne Äpfel schwimmen';

async function stage(t: Test): Promise<Rig> {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  await rig.lease('/a', {});
  await rig.client.addSlot('/a', { slot: 'passphrase' }, input(WORD));
  await rig.lock('/a');
  return rig;
}
function input(text: string | Buffer): SecretInput {
  const secret = new SecretInput();
  secret.append(Buffer.from(text));
  return secret;
}
/** Whether a key opens the scope: `opened`, or why not. */
async function unlock(rig: Rig, key: string | Buffer): Promise<string> {
  const secret = input(key);
  try {
    const { id } = await rig.client.createLease('/a', {}, secret);
    await rig.client.endLease(id);
    return 'opened';
  } catch (error) {
    return error instanceof Failure ? error.code : String(error);
  } finally {
    secret.wipe();
  }
}

test('five wrong passphrases a second keep nobody out who has the right key', async (t) => {
  const rig = await stage(t);
  const wrong: Promise<string>[] = [];
  let guessing = true;
  const guesser = (async () => {
    for (let i = 0; guessing; i++) {
      wrong.push(unlock(rig, `guess ${i}`));
      await sleep(200);
    }
  })();
  await sleep(2_000);
  const files: string[] = [];
  for (let i = 0; i < 5; i++) {
    files.push(
      await rig.lease('/a', {}).then(
        () => 'opened',
        (error: Failure) => error.code,
      ),
    );
    await rig.lock('/a');
  }
  t.same(files, ['opened', 'opened', 'opened', 'opened', 'opened'], 'a key file is tried at once');
  let tries = 0;
  let word = '';
  for (; word !== 'opened' && tries < 30; tries++) {
    word = await unlock(rig, WORD);
    if (word === 'throttled') await sleep(1_000);
  }
  t.equal(word, 'opened', `the passphrase, at try ${tries}`);
  guessing = false;
  await guesser;
  const answers = await Promise.all(wrong);
  t.same(
    [...new Set(answers)].sort().filter((one) => one !== 'throttled'),
    ['bad_key'],
  );
  const tried = answers.filter((one) => one === 'bad_key').length;
  t.ok(tried < answers.length, `of ${answers.length} guesses ${tried} were tried, the rest was refused`);
});

test('wrong key files are tried as they come, and fill no audit', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.remove());
  rig.createScope('/a');
  const before = (await rig.client.call('audit', { limit: '1000' })).length;
  const codes = await Promise.all(Array.from({ length: 300 }, () => unlock(rig, randomBytes(32))));
  t.same([...new Set(codes)], ['bad_key']);
  t.equal(await rig.lease('/a', {}).then(({ path }) => path), '/a');
  const rows = (await rig.client.call('audit', { limit: '1000' })).slice(0, -before || undefined);
  t.ok(rows.length < 12, `${rows.length} rows of the audit stand for 300 wrong keys`);
});

test('on one connection the answers to wrong keys come later and later', async (t) => {
  const rig = await stage(t);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => agent.destroy());
  const guess = (): Promise<number> =>
    new Promise((resolve, reject) => {
      const asked = request(
        {
          socketPath: rig.vault.socket,
          agent,
          method: 'POST',
          path: '/v1/leases?scope=%2Fa',
          headers: { 'content-type': 'application/octet-stream' },
        },
        (reply) => reply.resume().once('end', () => resolve(reply.statusCode ?? 0)),
      );
      asked.once('error', reject);
      asked.end(randomBytes(31));
    });
  const took: number[] = [];
  for (let i = 0; i < 6; i++) {
    const began = performance.now();
    t.equal(await guess(), 401);
    took.push(performance.now() - began);
  }
  // The pause is a part of what is promised: no less than that, however fast the machine.
  t.ok((took[4] as number) >= 1_000 && (took[5] as number) >= 2_000, took.map(Math.round).join(' '));
});
