import { type Application, eachOf, type User } from '../support/application.js';
import { quantile } from './results.js';

/** Milliseconds of one request, a value a user. */
export interface Latencies {
  /** The scope is locked: the request opens it, and reads what no cache has. */
  readonly opening: number[];
  /** The scope is open and its file read before: the request still has a lease of its own. */
  readonly joining: number[];
  /** The same without a lease. */
  readonly open: number[];
  /** What opening added to the same user's request. */
  readonly added: number[];
}

/** The same request of each user, with its scope opened for it and with one that is open, `clients` at a time. */
export async function addedLatency(
  application: Application,
  users: readonly User[],
  clients: number,
): Promise<Latencies> {
  const found: Latencies = { opening: [], joining: [], open: [], added: [] };
  const timed = async (path: string, { profile }: User): Promise<number> => {
    const started = performance.now();
    const { status, body } = await application.ask(path);
    const took = performance.now() - started;
    if (status !== 200 || !body.equals(profile))
      throw new Error(`${path}: status ${status}, ${body.length} bytes`);
    return took;
  };
  await eachOf(users, clients, async (user) => {
    const opening = await timed(`/${user.name}`, user);
    await application.opened(user, async () => {
      await timed(`/${user.name}?open`, user);
      const open = await timed(`/${user.name}?open`, user);
      found.joining.push(await timed(`/${user.name}`, user));
      found.opening.push(opening);
      found.open.push(open);
      found.added.push(opening - open);
    });
  });
  return found;
}

export const quantiles = (values: readonly number[]): string =>
  [0.5, 0.99].map((share) => `p${share * 100} ${quantile(values, share).toFixed(1)}`).join(', ');
