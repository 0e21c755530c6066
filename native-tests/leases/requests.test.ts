import { readFileSync } from 'node:fs';
import { test } from 'tap';
import { addedLatency, quantiles } from '../bench/added-latency.js';
import { O, outcome, sys } from '../posix/sys.js';
import { Application, contentOf, eachOf, type User } from '../support/application.js';
import { sleep } from '../support/probe.js';
import { Random } from '../support/seeded.js';

/** An application with a scope for each user, open for the length of that user's requests. */

const USERS = 200;
const CLIENTS = 20;
const REQUESTS = 600;
/** So many users have half of all requests: these come while their scope opens, is open, and locks. */
const BUSY = 10;
const KILLS = 3;

/** What is still open or leased, once nothing is or after 20 s. */
async function leftOver(application: Application): Promise<string[]> {
  for (let i = 0; i < 200; i++) {
    if ((await application.left()).length === 0) return [];
    await sleep(100);
  }
  return application.left();
}
/** Users whose profile an open(2) does not find locked. */
const readable = ({ users, vault }: Application): string[] =>
  users.flatMap(({ name }) => {
    const fd = sys.open(vault.path(name, 'profile'), O.RDONLY);
    if (fd >= 0) sys.close(fd);
    return outcome(fd) === 'ENOKEY' ? [] : [`${name}: ${outcome(fd)}`];
  });

test('a scope a user, open for a request: nobody gets what is another’s, and nothing stays open', async (t) => {
  const application = new Application(USERS);
  t.teardown(() => application.remove());
  await application.prepare();
  await application.start();
  const { users } = application;
  t.same(await leftOver(application), [], 'all are locked before the first request');
  const random = new Random(7);
  const wrong: string[] = [];
  const counts = { read: 0, written: 0, 'hung up at some moment': 0, 'hung up in the middle': 0 };
  const written: { user: User; name: string; body: Buffer }[] = [];
  const requests = Array.from({ length: REQUESTS }, (_, number) => {
    const user = users[random.below(random.below(2) === 0 ? BUSY : USERS)] as User;
    return { number, user, kind: random.below(20), delay: random.below(40) };
  });
  const check = (what: string, status: number, body: Buffer, expected: Buffer): void => {
    if (status === 200 && body.equals(expected)) return;
    wrong.push(`${what}: status ${status}, ${body.toString('latin1', 0, 100)}`);
  };
  await eachOf(requests, CLIENTS, async ({ number, user, kind, delay }) => {
    const what = `request ${number} of ${user.name}`;
    if (kind < 2) {
      await application.hangUp(`/${user.name}`, delay);
      counts['hung up at some moment']++;
    } else if (kind < 3) {
      const { first, hangUp } = await application.begin(user);
      check(what, 200, first, user.profile.subarray(0, first.length));
      hangUp();
      counts['hung up in the middle']++;
    } else if (kind < 8) {
      const name = `written-${number}`;
      const body = contentOf(user.name);
      const answer = await application.ask(`/${user.name}/${name}`, { method: 'PUT', body });
      check(what, answer.status, answer.body, body);
      written.push({ user, name, body });
      counts.written++;
    } else {
      const answer = await application.ask(`/${user.name}`);
      check(what, answer.status, answer.body, user.profile);
      counts.read++;
    }
  });
  t.comment(JSON.stringify(counts));
  t.same(wrong, [], 'each request was answered with its own user’s content');
  t.ok(Math.min(...Object.values(counts)) > 10, 'of each kind there were some');
  t.same(await leftOver(application), [], 'no scope is open and no lease is left');
  t.same(readable(application), [], 'nobody reads any of it');
  const lost: string[] = [];
  for (const { user, name, body } of written) {
    await application.opened(user, async () => {
      if (!readFileSync(application.vault.path(user.name, name)).equals(body)) lost.push(name);
    });
  }
  t.same(lost, [], `what ${written.length} requests wrote is there`);

  const latency = await addedLatency(application, users.slice(0, 100), 1);
  t.comment(
    `milliseconds a request, one at a time: opens its scope ${quantiles(latency.opening)}; scope open ` +
      `${quantiles(latency.open)}; added ${quantiles(latency.added)}; its own lease on an open scope ${quantiles(latency.joining)}`,
  );
  t.same(await leftOver(application), [], 'and again nothing is left');
});

test('the application is killed in the middle of requests: all its users’ scopes are locked', async (t) => {
  const application = new Application(USERS);
  t.teardown(() => application.remove());
  await application.prepare();
  const long = application.users.slice(0, 10);
  for (let round = 1; round <= KILLS; round++) {
    await application.start();
    const begun = await Promise.all(long.map((user) => application.begin(user)));
    // Beside them requests that end, and begin again, until nobody answers.
    let answered = 0;
    const wrong: string[] = [];
    const others = application.users.slice(10 * round).slice(0, CLIENTS - long.length);
    const asking = others.map(async (user) => {
      for (;;) {
        const answer = await application.ask(`/${user.name}`).catch(() => undefined);
        if (answer === undefined) return;
        answered++;
        if (!answer.body.equals(user.profile)) wrong.push(`${user.name}: ${answer.status}`);
      }
    });
    while (answered < 100) await sleep(1);
    const before = await application.left();
    const open = long.filter(({ name }) => before.includes(`/${name}`));
    t.equal(open.length, long.length, `round ${round}: ${before.length} scopes and leases are there`);
    await application.kill();
    await Promise.all(asking);
    for (const { hangUp } of begun) hangUp();
    t.same(wrong, [], 'until then all got their own');
    t.same(await leftOver(application), [], 'all are locked, and no lease is left');
    t.same(readable(application), [], 'nobody reads any of it');
  }
  const audit = await application.client.audit(10_000);
  const why = new Set(audit.filter(({ event }) => event === 'lock').map(({ detail }) => detail));
  t.same([...why].sort(), ['asked', 'connection closed'], 'the audit says why');
  await application.start();
  const [user] = long as [User];
  const { body } = await application.ask(`/${user.name}`);
  t.ok(body.equals(user.profile), 'another process serves them');
  t.same(await leftOver(application), [], 'and leaves nothing open');
});
