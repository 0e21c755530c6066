import { test } from 'tap';
import { type Claim, DESCRIPTOR, FileQueue, Turn, WHOLE } from './file-queue.js';

const read = (from: number, to: number): Claim => ({ from, to, exclusive: false });
const write = (from: number, to: number): Claim => ({ from, to, exclusive: true });

class TestTurn extends Turn {
  readonly #start: (turn: Turn) => void;
  readonly refused: () => void;
  constructor(claim: Claim, start: (turn: Turn) => void, refused: () => void = () => {}) {
    super(claim, undefined);
    this.#start = start;
    this.refused = refused;
  }
  start(): void {
    this.#start(this);
  }
}

/** Who is inside, by name. */
class Board {
  readonly queue = new FileQueue();
  readonly inside = new Map<string, Turn>();
  readonly log: string[] = [];
  enter(name: string, claim: Claim): void {
    this.queue.enter(
      new TestTurn(
        claim,
        (turn) => this.inside.set(name, turn),
        () => this.log.push(`${name} refused`),
      ),
    );
  }
  leave(name: string): void {
    const turn = this.inside.get(name);
    this.inside.delete(name);
    if (turn !== undefined) this.queue.leave(turn);
  }
  /** A turn that is inside. */
  turn(name: string): Turn {
    return this.inside.get(name) as Turn;
  }
  get names(): string {
    return [...this.inside.keys()].sort().join(' ');
  }
}

test('reads go together, writes to other bytes too, the same bytes one after another', async (t) => {
  const board = new Board();
  board.enter('r1', read(0, 10));
  board.enter('r2', read(5, 20));
  t.equal(board.names, 'r1 r2');
  board.enter('w1', write(20, 30));
  t.equal(board.names, 'r1 r2 w1', 'a write beside them');
  board.enter('w2', write(8, 12));
  board.enter('r3', read(9, 10));
  t.equal(board.names, 'r1 r2 w1', 'a read does not overtake the write that waits for its bytes');
  board.enter('r4', read(40, 50));
  t.equal(board.names, 'r1 r2 r4 w1', 'one of other bytes does');
  board.leave('r1');
  t.equal(board.names, 'r2 r4 w1');
  board.leave('r2');
  t.equal(board.names, 'r4 w1 w2');
  board.leave('w2');
  t.equal(board.names, 'r3 r4 w1');
});

test('the whole file waits for all, and narrowing lets others in', async (t) => {
  const board = new Board();
  board.enter('r', read(0, 10));
  board.enter('whole', WHOLE);
  board.enter('late', read(0, 10));
  t.equal(board.names, 'r');
  board.leave('r');
  t.equal(board.names, 'whole');
  board.queue.narrow(board.turn('whole'), DESCRIPTOR);
  t.equal(board.names, 'late whole');
  let idle = 0;
  board.queue.whenIdle(() => idle++);
  board.queue.whenIdle(() => idle++);
  board.leave('late');
  t.equal(idle, 0, 'a descriptor in use is not idle');
  board.leave('whole');
  t.equal(idle, 2, 'each is told');
});

test('whoever needs more than it asked for goes before those who came later', async (t) => {
  const board = new Board();
  board.enter('r', read(0, 10));
  board.enter('w', write(20, 30));
  board.queue.widen(board.turn('w'), WHOLE);
  board.inside.delete('w');
  board.enter('late', read(40, 50));
  t.equal(board.names, 'r');
  board.leave('r');
  t.equal(board.names, 'w');
  board.leave('w');
  t.equal(board.names, 'late');
});

test('a dead file refuses whoever waits and whoever comes', async (t) => {
  const board = new Board();
  board.enter('in', WHOLE);
  board.enter('waits', read(0, 1));
  board.queue.kill();
  board.enter('comes', read(0, 1));
  t.same(board.log, ['waits refused', 'comes refused']);
  t.ok(board.queue.busy, 'a job may still use the descriptor');
  board.leave('in');
  t.notOk(board.queue.busy);
});

test('20,000 operations that end at once cost no stack', async (t) => {
  const queue = new FileQueue();
  let first: Turn | undefined;
  let done = 0;
  queue.enter(
    new TestTurn(WHOLE, (turn) => {
      first = turn;
    }),
  );
  for (let i = 0; i < 20_000; i++) {
    queue.enter(
      new TestTurn(read(0, 1), (turn) => {
        done++;
        queue.leave(turn);
      }),
    );
  }
  if (first !== undefined) queue.leave(first);
  t.equal(done, 20_000);
});

test('a file is not idle while somebody waits', async (t) => {
  const queue = new FileQueue();
  const log: string[] = [];
  let first: Turn | undefined;
  queue.enter(
    new TestTurn(WHOLE, (turn) => {
      first = turn;
    }),
  );
  queue.enter(
    new TestTurn(WHOLE, (turn) => {
      log.push('second');
      queue.leave(turn);
      queue.whenIdle(() => log.push('idle'));
    }),
  );
  queue.enter(
    new TestTurn(WHOLE, (turn) => {
      log.push('third');
      queue.leave(turn);
    }),
  );
  if (first !== undefined) queue.leave(first);
  t.same(log, ['second', 'third', 'idle']);
});
